"""``ResidualVQ`` with the original's arguments, results and checkpoints."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spinlock.compat.vector_quantize_pytorch.descent import Descent, descend
from spinlock.compat.vector_quantize_pytorch.levels import draw_last_level
from spinlock.compat.vector_quantize_pytorch.options import require
from spinlock.compat.vector_quantize_pytorch.places import Places, to_sequences
from spinlock.compat.vector_quantize_pytorch.refused import refuse_options
from spinlock.compat.vector_quantize_pytorch.vector_quantize import VectorQuantize
from spinlock.errors import InputError
from spinlock.modules.messages import one_message
from spinlock.modules.row_shapes import Placement, length_mask

__all__ = ["ResidualVQ"]


class ResidualVQ(nn.Module):
    """Every level quantizes what the levels before it left; arguments are those of the original.

    >>> rvq = ResidualVQ(dim=16, num_quantizers=4, codebook_size=8)
    >>> quantized, indices, losses = rvq(torch.randn(2, 10, 16))
    >>> quantized.shape, indices.shape, losses.shape
    (torch.Size([2, 10, 16]), torch.Size([2, 10, 4]), torch.Size([4]))
    >>> rvq.eval().get_output_from_indices(indices).shape
    torch.Size([2, 10, 16])
    """

    def __init__(
        self,
        *,
        dim: int,
        num_quantizers: int | None = None,
        codebook_size: int | tuple[int, ...],
        codebook_dim: int | None = None,
        shared_codebook: bool = False,
        diveq: bool = False,
        heads: int = 1,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        accept_image_fmap: bool = False,
        implicit_neural_codebook: bool = False,
        mlp_kwargs: dict[str, Any] | None = None,
        beam_size: int | None = None,
        eval_beam_size: int | None = None,
        beam_score_quantizer_weights: Sequence[float] | None = None,
        quant_grad_frac: float = 0.0,
        return_zeros_for_masked_padding: bool = True,
        **vq_kwargs: Any,
    ) -> None:
        super().__init__()
        del mlp_kwargs  # of implicit_neural_codebook
        refuse_options(diveq=diveq, implicit_neural_codebook=implicit_neural_codebook)
        require(heads == 1, "heads", f"1, got {heads}", "use GroupedResidualVQ(groups=..)")
        sizes = codebook_size if isinstance(codebook_size, tuple) else None
        if sizes is None:
            require(
                num_quantizers is not None,
                "num_quantizers",
                "a number, got None with one codebook_size",
                "give one of them per level",
            )
            sizes = (cast(int, codebook_size),) * cast(int, num_quantizers)
        levels = len(sizes) if num_quantizers is None else num_quantizers
        require(
            len(sizes) == levels,
            "codebook_size",
            f"{levels} sizes, got {len(sizes)}",
            "give one per level",
        )
        weights = tuple(beam_score_quantizer_weights or (1.0,) * levels)
        require(
            len(weights) == levels,
            "beam_score_quantizer_weights",
            f"{levels} numbers, got {len(weights)}",
            "give one per level",
        )
        require(
            eval_beam_size is None or beam_size is not None,
            "eval_beam_size",
            "beam_size as well",
            "pass both",
        )
        require(
            not shared_codebook or len(set(sizes)) == 1,
            "codebook_size",
            f"one size with shared_codebook=True, got {sizes}",
            "give one number",
        )
        codebook_dim = dim if codebook_dim is None else codebook_dim
        self.dim, self.codebook_dim = dim, codebook_dim
        self.has_projections = codebook_dim != dim
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if self.has_projections:
            self.project_in = nn.Linear(dim, codebook_dim)
            self.project_out = nn.Linear(codebook_dim, dim)
        # Levels see rows; what their places are is this module's affair.
        self.accept_image_fmap = accept_image_fmap
        self.accept_3d_fmap = bool(vq_kwargs.pop("accept_3d_fmap", False))
        self.channel_last = bool(vq_kwargs.pop("channel_last", True))
        if shared_codebook:
            vq_kwargs["manual_ema_update"] = True
        self.layers = nn.ModuleList(
            VectorQuantize(dim=codebook_dim, codebook_size=size, **vq_kwargs) for size in sizes
        )
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding
        self.num_quantizers, self.codebook_sizes = levels, sizes
        self.uniform_codebook_size = len(set(sizes)) == 1
        self.quantize_dropout = quantize_dropout and levels > 1
        require(
            0 <= quantize_dropout_cutoff_index < levels,
            "quantize_dropout_cutoff_index",
            f"0..{levels - 1}, got {quantize_dropout_cutoff_index}",
            "levels up to it are always used",
        )
        self.quantize_dropout_cutoff_index = quantize_dropout_cutoff_index
        self.quantize_dropout_multiple_of = quantize_dropout_multiple_of
        self.quant_grad_frac = quant_grad_frac
        self.beam_size = beam_size
        self.eval_beam_size = beam_size if eval_beam_size is None else eval_beam_size
        self.beam_score_weights = weights
        self.shared_codebook = shared_codebook
        if shared_codebook:
            for layer in self._levels[1:]:
                layer._codebook = self._levels[0]._codebook

    @property
    def _levels(self) -> list[VectorQuantize]:
        return cast("list[VectorQuantize]", list(self.layers))

    @property
    def codebook_size(self) -> int:
        """K of the first level."""
        return self._levels[0].codebook_size

    @property
    def codebooks(self) -> Tensor | tuple[Tensor, ...]:
        """[levels, K, D], or a tuple of [K, D] where sizes differ."""
        codebooks = tuple(layer.codebook for layer in self._levels)
        return torch.stack(codebooks) if self.uniform_codebook_size else codebooks

    @property
    def channels_first(self) -> bool:
        """Whether the channels of inputs are dimension 1."""
        return not self.channel_last or self.accept_image_fmap or self.accept_3d_fmap

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Indices [batch, *places, L] -> codes [levels, batch, *places, D]; -1 gives zeros.

        L below the number of levels gives zeros for the levels left out.

        Raises:
            InputError: more levels than there are, or an index out of range.
        """
        given = indices.shape[-1]
        if given > self.num_quantizers:
            raise InputError(
                f"indices: expected at most {self.num_quantizers} levels in the last dimension, "
                f"got {list(indices.shape)}; pass indices as forward returns them"
            )
        missing = self.num_quantizers - given
        indices = nn.functional.pad(indices, (0, missing), value=-1)
        codes = []
        for layer, tokens in zip(self._levels, indices.unbind(dim=-1), strict=True):
            level = layer.decode_rows(tokens.reshape(-1, 1))
            level = level.view(*tokens.shape, level.shape[1])
            codes.append(level.masked_fill(tokens[..., None] < 0, 0.0))
        return torch.stack(codes)

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """What forward returned as quantized for these indices, in eval mode."""
        summed = self.get_codes_from_indices(indices).sum(dim=0)
        output: Tensor = self.project_out(summed.to(self._levels[0].dtype))
        return output.movedim(-1, 1) if self.channels_first and output.ndim > 2 else output

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        indices: Tensor | list[Tensor] | None = None,
        return_all_codes: bool = False,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool = False,
        beam_size: int | None = None,
        rand_quantize_dropout_fixed_seed: int | None = None,
        *,
        last_level: int | Tensor | None = None,
    ) -> tuple[Any, ...]:
        """(quantized, indices [.., L], losses [L]), and the codes of all levels if asked.

        With ``indices`` given: (quantized, the sum of the levels' cross entropies); each level sees
        what the nearest codes of the levels before it leave.

        Args:
            x: [batch, n, dim] or [batch, dim]; images [batch, dim, h, w] with accept_image_fmap.
            mask: bool [batch, n], False for padding.
            indices: [batch, n, L], codes whose cross entropy is asked.
            return_all_codes: return [levels, batch, n, codebook_dim] as well.
            sample_codebook_temp: instead of the option of that name.
            freeze_codebook: learn nothing.
            beam_size: paths that are followed; None: the module's.
            rand_quantize_dropout_fixed_seed: of the draw of levels.
            last_level: the last level that is used, instead of a draw.

        Raises:
            InputError: a tensor of another shape or type.
        """
        num_dims = 3 if self.accept_3d_fmap else 2 if self.accept_image_fmap else 1
        sequences, places = to_sequences(x, self.dim, self.channels_first, num_dims)
        batch, positions = sequences.shape[:2]
        kept = length_mask(Placement((batch, *places.shape), False), mask, None)
        if self.training and self.quantize_dropout and indices is None and last_level is None:
            last_level = draw_last_level(
                rand_quantize_dropout_fixed_seed,
                x.device,
                self.quantize_dropout_cutoff_index,
                self.num_quantizers,
                self.quantize_dropout_multiple_of,
            )
        if beam_size is None:
            beam_size = self.beam_size if self.training else self.eval_beam_size
        given = torch.stack(indices) if isinstance(indices, list) else indices
        with one_message():
            result = descend(
                self._levels,
                self.project_in(sequences).flatten(0, 1),
                kept,
                positions=positions,
                last_level=last_level,
                gradient_share=self.quant_grad_frac,
                beam=beam_size or 1,
                beam_weights=self.beam_score_weights,
                temperature=sample_codebook_temp,
                frozen=freeze_codebook or self._levels[0].freeze_codebook,
                shared=self.shared_codebook,
                targets=None if given is None else given.reshape(-1, self.num_quantizers),
            )
        rows = self.project_out(result.quantized.to(x.dtype))
        if kept is not None:
            zeros = self.return_zeros_for_masked_padding
            flat = sequences.flatten(0, 1)
            rows = torch.where(kept.unsqueeze(1), rows, torch.zeros_like(rows) if zeros else flat)
        quantized = places.restore(rows.view(batch, positions, rows.shape[1]))
        if given is not None:
            return quantized, result.losses.sum()
        tokens = places.restore_indices(
            result.indices.view(batch, positions, result.indices.shape[1])
        )
        if not return_all_codes:
            return quantized, tokens, result.losses
        return quantized, tokens, result.losses, self._all_codes(result, batch, places)

    def _all_codes(self, result: Descent, batch: int, places: Places) -> Tensor:
        codes = result.codes
        return codes.view(len(codes), batch, *places.shape, codes.shape[-1])
