"""Audio codecs of the transformers library with their codes looked up by spinlock.

>>> from transformers import EncodecConfig, EncodecModel
>>> from spinlock.integrations.transformers import swap_quantizers
>>> config = EncodecConfig(num_filters=4, hidden_size=16, codebook_size=32, num_lstm_layers=1)
>>> model = EncodecModel(config).eval()
>>> print(swap_quantizers(model))
quantizer: EncodecResidualVectorQuantizer, 64 levels x 32 codes, D 16
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import normalize

from spinlock.errors import ConfigError
from spinlock.modules.residual_codes import residual_codes

try:
    from transformers.integrations.accelerate import force_accelerate_hooks
    from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer, DacVectorQuantize
    from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer
    from transformers.models.mimi.modeling_mimi import (
        MimiEuclideanCodebook,
        MimiResidualVectorQuantizer,
    )
    from transformers.models.xcodec.modeling_xcodec import XcodecResidualVectorQuantization
except ImportError as error:
    raise ConfigError(
        "spinlock.integrations.transformers needs transformers 5.24 or newer "
        f"({error}): pip install 'spinlock-vq[transformers]'"
    ) from error

__all__ = ["SwapReport", "SwappedQuantizer", "swap_quantizers"]

_State: TypeAlias = "list[tuple[Tensor, int]] | None"


@dataclass(frozen=True)
class SwappedQuantizer:
    """One residual quantizer whose codes spinlock looks up.

    Attributes:
        name: of the module within the model, as in ``named_modules``.
        kind: the class that transformers gave it.
        codebook_sizes: K of each level.
        dim: D of a code.
    """

    name: str
    kind: str
    codebook_sizes: tuple[int, ...]
    dim: int

    def __str__(self) -> str:
        sizes = sorted(set(self.codebook_sizes))
        codes = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        levels = len(self.codebook_sizes)
        return f"{self.name}: {self.kind}, {levels} levels x {codes} codes, D {self.dim}"


@dataclass(frozen=True)
class SwapReport:
    """What :func:`swap_quantizers` found.

    Attributes:
        quantizers: all that spinlock looks codes up for, by this call or an earlier one.
    """

    quantizers: tuple[SwappedQuantizer, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.quantizers))


class _LooksUp:
    """Marks modules that were swapped."""


class SwappedEncodec(_LooksUp, EncodecResidualVectorQuantizer):
    """Encodec's residual quantizer."""

    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        """Codes [L, B, T] of embeddings [B, D, T]."""
        count = self.get_num_quantizers_for_bandwidth(bandwidth)
        return _level_codes(embeddings, self.layers[:count])


class SwappedXcodec(_LooksUp, XcodecResidualVectorQuantization):
    """X-codec's residual quantizer."""

    def encode(self, embeddings: Tensor, bandwidth: float | None = None) -> Tensor:
        """Codes [L, B, T] of embeddings [B, D, T]."""
        count = self.get_num_quantizers_for_bandwidth(bandwidth)
        return _level_codes(embeddings, self.quantizers[:count])


class SwappedMimi(_LooksUp, MimiResidualVectorQuantizer):
    """Mimi's residual quantizer, of which a model has two."""

    def encode(self, embeddings: Tensor, num_quantizers: int | None = None) -> Tensor:
        """Codes [L, B, T] of embeddings [B, hidden_size, T]."""
        if self.input_proj is not None:
            embeddings = self.input_proj(embeddings)
        count = self.num_quantizers if num_quantizers is None else num_quantizers
        return _level_codes(embeddings, self.layers[:count])


class SwappedMimiCodebook(_LooksUp, MimiEuclideanCodebook):
    """Mimi's codebook: its codes are a quotient of two buffers, which it keeps."""

    _kept: Tensor
    _made_of: _State = None

    @property
    def embed(self) -> Tensor:
        """[K, D], anew where a buffer was moved, replaced or written to since it was kept."""
        made_of = _state(self.embed_sum, self.cluster_usage)
        if made_of is None or not _same(made_of, self._made_of):
            usage = self.cluster_usage.clamp(min=self.epsilon)
            self._kept, self._made_of = self.embed_sum / usage[:, None], made_of
        return self._kept


class SwappedDac(_LooksUp, DacResidualVectorQuantizer):
    """DAC's residual quantizer, whose levels are swapped."""


class SwappedDacLevel(_LooksUp, DacVectorQuantize):
    """A level of DAC: it searches among directions, and gives codes of any length."""

    @force_accelerate_hooks("codebook")
    def decode_latents(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [B, D, T], and their indices [B, T], of projected latents [B, D, T]."""
        batch, width, length = hidden_states.shape
        rows = hidden_states.detach().transpose(1, 2).reshape(batch * length, width)
        directions = normalize(self.codebook.weight.detach())
        indices = residual_codes(normalize(rows), [directions]).reshape(batch, length)
        return self.codebook(indices).transpose(1, 2), indices


_SWAPPED: dict[type[nn.Module], type[nn.Module]] = {
    EncodecResidualVectorQuantizer: SwappedEncodec,
    MimiResidualVectorQuantizer: SwappedMimi,
    MimiEuclideanCodebook: SwappedMimiCodebook,
    DacResidualVectorQuantizer: SwappedDac,
    DacVectorQuantize: SwappedDacLevel,
    XcodecResidualVectorQuantization: SwappedXcodec,
}
_PARTS = (MimiEuclideanCodebook, DacVectorQuantize)


def swap_quantizers(model: nn.Module) -> SwapReport:
    """Lets spinlock look up the codes of every residual quantizer in a model, in place.

    Works on EncodecModel, MimiModel, DacModel and XcodecModel, and on models that hold one of them.
    Parameters, buffers and their names stay, so that ``state_dict``, ``save_pretrained``, ``.to``
    and training work as before; a model that is loaded anew is swapped anew.

    Codes are exactly the nearest ones.  transformers rounds distances in the dtype of the model;
    its codes are the same but where two codes are equally near up to that rounding, or where a
    codebook of DAC has a code of length 0.

    Args:
        model: anything with such quantizers inside.

    Returns:
        what was found; a second call finds the same and changes nothing.

    Raises:
        ConfigError: no quantizer that is known.
    """
    found = []
    for name, module in model.named_modules():
        swapped = _SWAPPED.get(type(module))
        if swapped is not None:
            module.__class__ = swapped
        if isinstance(module, _LooksUp) and not isinstance(module, _PARTS):
            found.append(_described(name, module))
    if not found:
        known = sorted(kind.__name__ for kind in _SWAPPED if kind not in _PARTS)
        raise ConfigError(
            f"{type(model).__name__} holds no quantizer that is known; known are "
            f"{', '.join(known)}, as in EncodecModel, MimiModel, DacModel and XcodecModel"
        )
    return SwapReport(tuple(found))


def _described(name: str, module: Any) -> SwappedQuantizer:
    levels = module.layers if hasattr(module, "layers") else module.quantizers
    books = [level.codebook for level in levels]
    codes = [book.embed if hasattr(book, "embed") else book.weight for book in books]
    shapes = [tuple(code.shape) for code in codes]
    kind = type(module).__bases__[1].__name__
    return SwappedQuantizer(name, kind, tuple(shape[0] for shape in shapes), shapes[0][1])


def _level_codes(embeddings: Tensor, levels: Any) -> Tensor:
    """int64 [L, B, T] of ``embeddings [B, D, T]``, as the library's residual quantizers give."""
    batch, width, length = embeddings.shape
    rows = embeddings.transpose(1, 2).reshape(batch * length, width)
    codes = residual_codes(rows, [level.codebook.embed for level in levels])
    return codes.T.reshape(-1, batch, length)


def _state(*buffers: Tensor) -> _State:
    """What shows whether buffers are as they were; None where nothing shows it."""
    if any(buffer.is_inference() for buffer in buffers):
        return None
    # Memory that is still held is not given to another tensor.
    return [(buffer.detach(), buffer._version) for buffer in buffers]


def _same(now: _State, before: _State) -> bool:
    if now is None or before is None:
        return False
    return all(
        a.data_ptr() == b.data_ptr() and a.dtype == b.dtype and a.device == b.device and v == w
        for (a, v), (b, w) in zip(now, before, strict=True)
    )
