"""``VectorQuantize`` with the original's arguments, results and checkpoints."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spinlock.compat.vector_quantize_pytorch.codebook import Codebook
from spinlock.compat.vector_quantize_pytorch.layer import Layer
from spinlock.compat.vector_quantize_pytorch.options import (
    lookup_options,
    regularizer_options,
    require,
    update_options,
)
from spinlock.compat.vector_quantize_pytorch.places import Places, to_sequences
from spinlock.compat.vector_quantize_pytorch.refused import refuse_options
from spinlock.compat.vector_quantize_pytorch.topk import several_codes
from spinlock.errors import InputError
from spinlock.modules.code_learning import LearningStep, StepWeight
from spinlock.modules.row_shapes import Placement, length_mask

__all__ = ["VectorQuantize"]


class VectorQuantize(Layer):
    """One codebook, or one per head; arguments and defaults are those of the original.

    ``kmeans_init`` seeds with k-means++ and takes six Lloyd steps, so that ``kmeans_iters`` has
    nothing to say.  Options without a counterpart raise ConfigError with what to use instead.

    >>> vq = VectorQuantize(dim=16, codebook_size=8, accept_image_fmap=True)
    >>> quantized, indices, loss = vq(torch.randn(2, 16, 4, 4))
    >>> quantized.shape, indices.shape, loss.shape
    (torch.Size([2, 16, 4, 4]), torch.Size([2, 4, 4]), torch.Size([]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        decay: float = 0.8,
        eps: float = 1e-5,
        freeze_codebook: bool = False,
        kmeans_init: bool = False,
        kmeans_iters: int = 10,
        sync_kmeans: bool = True,
        use_cosine_sim: bool = False,
        layernorm_after_project_in: bool = False,
        threshold_ema_dead_code: float = 0,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        commitment_weight: float = 1.0,
        commitment_use_cross_entropy_loss: bool = False,
        orthogonal_reg_weight: float = 0.0,
        orthogonal_reg_active_codes_only: bool = False,
        orthogonal_reg_max_codes: int | None = None,
        codebook_diversity_loss_weight: float = 0.0,
        codebook_diversity_temperature: float = 100.0,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 1.0,
        straight_through: bool = False,
        rotation_trick: bool | None = None,
        directional_reparam: bool = False,
        directional_reparam_variance: float = 5e-3,
        sync_codebook: bool | None = None,
        sync_affine_param: bool = False,
        ema_update: bool | None = None,
        vq_bridge: Any = None,
        manual_ema_update: bool = False,
        learnable_codebook: bool | None = None,
        in_place_codebook_optimizer: Any = None,
        manual_in_place_optimizer_update: bool = False,
        affine_param: bool = False,
        affine_param_batch_decay: float = 0.99,
        affine_param_codebook_decay: float = 0.9,
        sync_update_v: float = 0.0,
        return_zeros_for_masked_padding: bool = True,
        route_gradients_to_input: bool = True,
    ) -> None:
        del kmeans_iters, sync_kmeans, directional_reparam_variance
        del affine_param_batch_decay, affine_param_codebook_decay
        refuse_options(
            affine_param=affine_param,
            sync_affine_param=sync_affine_param,
            directional_reparam=directional_reparam,
            vq_bridge=vq_bridge,
            in_place_codebook_optimizer=in_place_codebook_optimizer,
        )
        del manual_in_place_optimizer_update  # says when an optimizer runs that is refused above
        lookup = lookup_options(
            dim=dim,
            use_cosine_sim=use_cosine_sim,
            rotation_trick=rotation_trick,
            straight_through=straight_through,
            route_gradients_to_input=route_gradients_to_input,
            stochastic_sample_codes=stochastic_sample_codes,
            sample_codebook_temp=sample_codebook_temp,
        )
        update = update_options(
            ema_update=ema_update,
            learnable_codebook=learnable_codebook,
            use_cosine_sim=use_cosine_sim,
            decay=decay,
            eps=eps,
            kmeans_init=kmeans_init,
            threshold_ema_dead_code=threshold_ema_dead_code,
            sync_codebook=sync_codebook,
        )
        require(
            0 <= sync_update_v <= 1 and (sync_update_v == 0 or update.learns),
            "sync_update_v",
            "0..1, and 0 unless learnable_codebook=True",
            "see arXiv:2305.08842 for what it does",
        )
        codebook_dim = dim if codebook_dim is None else codebook_dim
        inner = codebook_dim * heads
        projects = inner != dim
        super().__init__(
            heads,
            lookup,
            update,
            regularizer_options(
                commitment_weight=commitment_weight,
                commitment_use_cross_entropy_loss=commitment_use_cross_entropy_loss,
                orthogonal_reg_weight=orthogonal_reg_weight,
                orthogonal_reg_active_codes_only=orthogonal_reg_active_codes_only,
                orthogonal_reg_max_codes=orthogonal_reg_max_codes,
                codebook_diversity_loss_weight=codebook_diversity_loss_weight,
                codebook_diversity_temperature=codebook_diversity_temperature,
            ),
            sync_update_v=sync_update_v,
            manual_ema_update=manual_ema_update,
            ema_update=True if ema_update is None else ema_update,
        )
        # Made in the original's order: its draws, and its order of parameters.
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if projects:
            self.project_in = nn.Linear(dim, inner)
            if layernorm_after_project_in:
                self.project_in = nn.Sequential(self.project_in, nn.LayerNorm(inner))
            self.project_out = nn.Linear(inner, dim)
        self._codebook = Codebook(
            heads if separate_codebook_per_head else 1,
            codebook_size,
            codebook_dim,
            decay=decay,
            epsilon=eps,
            init=update.init,
            unit_codes=use_cosine_sim,
            learnable=update.learns or orthogonal_reg_weight > 0,
        )
        self.has_projections = projects
        self.dim, self.codebook_size, self.eps = dim, codebook_size, eps
        self.separate_codebook_per_head = separate_codebook_per_head
        self.commitment_weight = commitment_weight
        self.has_commitment_loss = commitment_weight > 0
        self.learnable_codebook = update.learns
        self.use_cosine_sim = use_cosine_sim
        self.rotation_trick = lookup.estimator == "rotation"
        self.channel_last = channel_last
        self.accept_image_fmap, self.accept_3d_fmap = accept_image_fmap, accept_3d_fmap
        self.return_zeros_for_masked_padding = return_zeros_for_masked_padding
        self.freeze_codebook = freeze_codebook

    @property
    def ema_update(self) -> bool:
        """Whether codes follow moving averages."""
        return self.averages

    @property
    def codebook(self) -> Tensor:
        """[K, D], or [H, K, D] with separate codebooks; setting it copies the values."""
        embed = self._codebook.embed
        return embed if self.separate_codebook_per_head else embed[0]

    @codebook.setter
    def codebook(self, codes: Tensor) -> None:
        with torch.no_grad():
            self._codebook.embed.copy_(codes)

    @property
    def channels_first(self) -> bool:
        """Whether the channels of inputs are dimension 1."""
        return not self.channel_last or self.accept_image_fmap or self.accept_3d_fmap

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Indices as forward returns them -> [.., H * D], or [batch, H * D, ..] channels first.

        -1, which stands for padding, gives zeros.
        """
        codes, last = self._codes(indices)
        return codes.movedim(-1, 1) if self.channels_first and last else codes

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """What forward returned as quantized for these indices, in eval mode."""
        codes, last = self._codes(indices)
        output: Tensor = self.project_out(codes)
        return output.movedim(-1, 1) if self.channels_first and last else output

    def _codes(self, indices: Tensor) -> tuple[Tensor, bool]:
        """Codes, channels last, and whether there are places besides the batch."""
        tokens = indices[..., None] if self.heads == 1 else indices
        flat = tokens.reshape(-1, self.heads)
        codes = self.decode_rows(flat).to(self.dtype)
        codes = codes.view(*tokens.shape[:-1], codes.shape[1])
        known = (tokens >= 0).all(dim=-1, keepdim=True)
        return codes * known.to(codes.dtype), codes.ndim > 2

    def expire_codes_(self, x: Tensor) -> None:
        """Moves rarely used codes onto rows of x [.., H * D], in training mode."""
        if self.training:
            self.expire_rows(self.compared_rows(x.reshape(-1, x.shape[-1])))

    def update_indices(self, x: Tensor, indices: Tensor, mask: Tensor | None = None) -> None:
        """Moves averages and codes by inputs and the indices that they were given elsewhere."""
        sequences, _ = self._sequences(x)
        rows = self.project_in(sequences).flatten(0, 1)
        kept = None if mask is None else mask.reshape(-1)
        self.learn(rows, indices.reshape(-1, self.heads), kept)

    update_ema_indices = update_indices

    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = None,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        topk: int | None = None,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool | None = None,
        return_loss_breakdown: bool = False,
        codebook_transform_fn: Callable[..., Any] | None = None,
        ema_update_weight: StepWeight = None,
        accum_ema_update: bool = False,
        ema_update: bool | None = None,
    ) -> tuple[Any, ...]:
        """(quantized, indices, loss), and the terms of the loss if asked.

        With ``indices`` given: (quantized, their cross entropy).  With ``topk``: one dimension
        more, of that many nearest codes, before the channels; the loss is one per code.

        Raises:
            InputError: a tensor of another shape or type, or arguments that do not go together.
            ConfigError: an argument that spinlock does not have.
        """
        refuse_options(codebook_transform_fn=codebook_transform_fn)
        frozen = self.freeze_codebook if freeze_codebook is None else freeze_codebook
        sequences, places = self._sequences(x)
        batch, positions = sequences.shape[:2]
        placement = Placement((batch, *places.shape), False)
        kept = length_mask(placement, mask, lens)
        if topk is not None:
            options = {"frozen": frozen, "breakdown": return_loss_breakdown}
            return several_codes(self, sequences, kept, places, int(topk), **options)
        result = self.quantize(
            self.project_in(sequences).flatten(0, 1),
            kept,
            positions=positions,
            temperature=sample_codebook_temp,
            frozen=frozen,
            score=indices is not None,
            learning=LearningStep(ema_update_weight, accum_ema_update, ema=ema_update),
        )
        rows = self.project_out(result.quantized.to(x.dtype))
        found = result.indices
        if kept is not None:
            rows = torch.where(kept.unsqueeze(1), rows, self.padding(sequences.flatten(0, 1)))
            found = found.where(kept.unsqueeze(1), -1)
        quantized = places.restore(rows.view(batch, positions, rows.shape[1]))
        if indices is not None:
            return quantized, self.cross_entropy(result, indices.reshape(-1, self.heads))
        shape = (batch, positions) if self.heads == 1 else (batch, positions, self.heads)
        returned = (quantized, places.restore_indices(found.view(shape)), result.loss)
        return (*returned, result.terms) if return_loss_breakdown else returned

    def padding(self, rows: Tensor) -> Tensor:
        """What the quantized rows hold where a mask is False."""
        return torch.zeros_like(rows) if self.return_zeros_for_masked_padding else rows

    def _sequences(self, x: Tensor) -> tuple[Tensor, Places]:
        if not isinstance(x, Tensor):
            raise InputError(f"x: expected a torch.Tensor, got {type(x).__name__}; convert it")
        num_dims = 3 if self.accept_3d_fmap else 2 if self.accept_image_fmap else 1
        return to_sequences(x, self.dim, self.channels_first, num_dims)
