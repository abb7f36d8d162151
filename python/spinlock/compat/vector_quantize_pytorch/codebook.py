"""A bank of codebooks with the names, shapes and checkpoint keys of the original."""

from typing import Any

import torch
from torch import Tensor, nn

from spinlock.modules.code_learning import refresh_codes
from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.codebook_views import even_codebooks
from spinlock.modules.row_quantizer import codebook_layout

__all__ = ["Codebook"]


class Codebook(CodebookBank):
    """H codebooks of K codes with D dimensions.

    Attributes:
        embed: [H, K, D], the codes.
        cluster_size: float32 [H, K], moving average of rows per code.
        embed_avg: float32 [H, K, D], moving average of their sums.
        initted: bool scalar, whether no codebook waits for its k-means.

    >>> codebook = Codebook(1, 8, 4)
    >>> sorted(codebook.state_dict())
    ['cluster_size', 'embed', 'embed_avg', 'initted']
    """

    def __init__(self, heads: int, size: int, dim: int, **options: Any) -> None:
        super().__init__(codebook_layout(heads, size, dim), use_ema=True, **options)
        self.num_codebooks, self.codebook_size, self.dim = heads, size, dim
        codes = torch.empty(heads, size, dim, dtype=torch.float32)
        if self.init == "uniform":
            nn.init.kaiming_uniform_(codes)
            codes = nn.functional.normalize(codes, dim=-1, eps=1e-6) if self.unit_codes else codes
        else:
            codes.zero_()
        if not self.weight.is_meta:
            with torch.no_grad():
                self.embed.copy_(codes)
                self.embed_avg.copy_(codes)

    @property
    def embed(self) -> Tensor:
        """[H, K, D], a view."""
        return even_codebooks(self.weight, self.layout)

    @property
    def cluster_size(self) -> Tensor:
        """float32 [H, K], a view."""
        return self.ema_counts.view(self.num_codebooks, self.codebook_size)

    @property
    def embed_avg(self) -> Tensor:
        """float32 [H, K, D], a view."""
        assert self.ema_sums is not None
        return even_codebooks(self.ema_sums, self.layout)

    @property
    def initted(self) -> Tensor:
        """bool scalar."""
        return self.initialized_codebooks.all()

    def update_ema(self) -> None:
        """Sets the codes from the averages, for ``manual_ema_update=True``."""
        refresh_codes(self)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name in ("initted", "cluster_size", "embed_avg", "embed"):
            value = getattr(self, name)
            destination[prefix + name] = value if keep_vars else value.detach().contiguous()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        del local_metadata
        names = ("initted", "cluster_size", "embed_avg", "embed")
        for name in names:
            key = prefix + name
            if key not in state_dict:
                missing_keys.append(key)
                continue
            value, own = state_dict[key], getattr(self, name)
            if value.shape != own.shape:
                error_msgs.append(
                    f"{key}: expected shape {list(own.shape)}, got {list(value.shape)}; build the "
                    "module with the checkpoint's sizes"
                )
                continue
            with torch.no_grad():
                own = self.initialized_codebooks if name == "initted" else own
                own.copy_(value)
        known = {prefix + name for name in names}
        if strict:
            unexpected_keys += [k for k in state_dict if k.startswith(prefix) and k not in known]
        self.note_initialized()
