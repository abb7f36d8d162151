"""The state of Q codebooks: codes, EMA statistics, usage counters."""

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules._options import CodebookInit, check_choice, check_decay, check_positive
from spinlock.modules._traced_init import initialize_traced
from spinlock.modules.codebook_views import CodebookViews, codebook_view, slice_layout
from spinlock.modules.ema import ema_step
from spinlock.modules.initialisation import initialize_codebooks, uniform_codes
from spinlock.modules.outputs import UsageSummary, summarise_usage
from spinlock.modules.revival import revive_codes
from spinlock.ops import (
    Quantized,
    accumulate_codes,
    gather_codes,
    nearest_codes,
    quantize,
    quantize_and_update,
)
from spinlock.ops._backend import AverageState, check_backend
from spinlock.ops._traced import is_traced
from spinlock.ops._validate import check_latents
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = ["CodebookBank"]


class CodebookBank(nn.Module):
    """Codes of Q ragged codebooks in one flat buffer, with their statistics.

    Statistics are float32 whatever the module is converted to; so are EMA codes, which are
    statistics too.  Learnable codes (``use_ema=False``) are a parameter and convert as such.

    Attributes:
        layout: where codebooks lie.
        weight: [weight_size], the codes; a buffer, or a parameter if ``use_ema=False``.
        ema_counts: float32 [total_codes], moving average of rows per code and step.
        ema_sums: float32 [weight_size], moving average of their sums; None if ``use_ema=False``.
        epoch_counts: int64 [total_codes], rows per code since :meth:`reset_usage`.
        epoch_skipped: int64 [Q], non-finite rows since then.
        initialized_codebooks: bool [Q].

    Args:
        layout: sizes and dims of the codebooks.
        use_ema: codes follow the moving average of their rows; otherwise gradients move them.
        decay: of the moving averages, 0 <= decay < 1.
        epsilon: Laplace smoothing of the counts, > 0.
        init: ``"kmeans"`` (from data, see :meth:`initialize_from`) or ``"uniform"`` (+-1 / K_q).
        backend: as in :func:`spinlock.ops.nearest_codes`.
        seed: of the first codes and of every draw made without a generator.

    Raises:
        ConfigError: an option out of its range.
    """

    weight: Tensor
    ema_counts: Tensor
    ema_sums: Tensor | None
    epoch_counts: Tensor
    epoch_skipped: Tensor
    initialized_codebooks: Tensor

    def __init__(
        self,
        layout: CodebookLayout,
        *,
        use_ema: bool = True,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        init: CodebookInit = "kmeans",
        backend: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_decay(decay)
        check_positive("epsilon", epsilon, usual=1e-5)
        check_choice("init", init, CodebookInit)
        check_backend(backend)
        self.layout = layout
        self.use_ema, self.decay, self.epsilon = use_ema, decay, epsilon
        self.init, self.backend, self.seed = init, backend, seed
        self.frozen = False
        # Asked in every step, where reading the tensor would make compilers and devices wait.
        self._may_wait = init != "uniform"
        weight = uniform_codes(layout, torch.Generator().manual_seed(seed))
        if use_ema:
            self.register_buffer("weight", weight)
        else:
            self.weight = nn.Parameter(weight)
        self.register_buffer("ema_counts", torch.ones(layout.total_codes, dtype=torch.float32))
        # One row per code: sums = weight * counts holds from the first step on.
        self.register_buffer("ema_sums", weight.clone() if use_ema else None)
        count = layout.num_quantizers
        self.register_buffer("epoch_counts", torch.zeros(layout.total_codes, dtype=torch.int64))
        self.register_buffer("epoch_skipped", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("initialized_codebooks", torch.full((count,), init == "uniform"))

    @property
    def initialized(self) -> bool:
        """Whether no codebook waits for data."""
        return bool(self.initialized_codebooks.all())

    def codebook(self, q: int) -> Tensor:
        """The view [K_q, D_q] of codebook q, 0 <= q < Q.

        Raises:
            InputError: another q.
        """
        count = self.layout.num_quantizers
        if not 0 <= q < count:
            raise InputError(f"q: expected a codebook in 0..{count - 1}, got {q}; count from 0")
        return codebook_view(self.weight, self.layout, q)

    def gather(self, indices: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """int64 [B, Q] -> codes [B, input_width]: see :func:`spinlock.ops.gather_codes`."""
        views = self._views(start, stop)
        return gather_codes(indices, views.weight, views.layout)

    @torch.no_grad()
    def nearest(self, latents: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """[B, input_width] -> int64 [B, Q]: see :func:`spinlock.ops.nearest_codes`."""
        views = self._views(start, stop)
        return nearest_codes(latents, views.weight, views.layout, backend=self.backend)

    @torch.no_grad()
    def initialize_from(
        self,
        latents: Tensor,
        generator: torch.Generator | None = None,
        *,
        max_rows: int | None = None,
        start: int = 0,
        stop: int | None = None,
        only_missing: bool = False,
    ) -> None:
        """Sets codes by k-means++ and some Lloyd steps on the rows, if ``init="kmeans"``.

        Uniform codes need no data and stay as they are.  Counts start at rows / K_q and sums at
        code * count.

        Args:
            latents: [B, input_width] of the quantizers ``start .. stop - 1``.
            generator: on the CPU; None takes a new one seeded with ``seed``.
            max_rows: rows drawn from the latents; None: 2,048, or 4 per code of the largest
                codebook if that is more.
            start, stop: the quantizers; all by default.
            only_missing: leave codebooks alone that are initialised already, and those that have
                no usable row in ``latents``.

        Raises:
            InputError: a quantizer without any finite row, unless ``only_missing``.
        """
        views = self._views(start, stop)
        check_latents(latents, views.layout)
        if self.init == "uniform":
            return
        initialize_codebooks(
            views,
            latents,
            self.generator(generator),
            max_rows=max_rows or self.init_rows,
            first=start,
            only_missing=only_missing,
            backend=self.backend,
        )

    @torch.no_grad()
    def initialize_missing(self, latents: Tensor) -> None:
        """Sets the codebooks that wait for data, in the first training steps; see
        :meth:`initialize_from`.

        Args:
            latents: [B, input_width].
        """
        if not self._may_wait:
            return
        if is_traced(latents, self.weight):
            state = (self.weight, self.ema_counts, self.ema_sums, self.initialized_codebooks)
            initialize_traced(latents, state, self.seed, self.init_rows, self.layout, self.backend)
            return
        if not self.initialized:
            self.initialize_from(latents.detach(), only_missing=True)
        self._may_wait = not self.initialized

    @torch.no_grad()
    def update(
        self, latents: Tensor, indices: Tensor, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Learns from one batch: EMA step (counts only for learnable codes) and usage counters.

        Args:
            latents: [B, input_width] of the quantizers ``start .. stop - 1``.
            indices: int64 [B, Q], the codes they were given.
            start, stop: the quantizers; all by default.

        Returns:
            int64, rows of this batch per code of these quantizers.
        """
        views = self._views(start, stop)
        counts, sums = accumulate_codes(latents, indices, views.layout, backend=self.backend)
        ema_step(views, counts, sums, decay=self.decay, epsilon=self.epsilon)
        rows = counts.to(torch.int64)
        views.count_rows(rows, len(latents))
        return rows

    def quantize(self, latents: Tensor, *, learn: bool, rotation: bool = False) -> Quantized:
        """Looks up all quantizers and, to ``learn``, does :meth:`update` as well, in one call.

        A frozen bank learns nothing, but counts its rows.

        Args:
            latents: [B, input_width].
            learn: in training mode.
            rotation: as in :func:`spinlock.ops.quantize`.

        Returns:
            what :func:`spinlock.ops.quantize` returns, with the codes before the update.
        """
        if not learn:
            return quantize(
                latents, self.weight, self.layout, rotation=rotation, backend=self.backend
            )
        state = AverageState(
            self.ema_counts,
            None if self.frozen else self.ema_sums,
            self.epoch_counts,
            self.epoch_skipped,
            1.0 if self.frozen else self.decay,
            self.epsilon,
        )
        return quantize_and_update(
            latents, self.weight, self.layout, state, rotation=rotation, backend=self.backend
        )

    def count(self, latents: Tensor, indices: Tensor) -> Tensor:
        """int64 [total_codes]: rows of a batch per code, written nowhere."""
        ids = indices + padding_plan(self.layout, indices.device).code_offsets
        usable = usable_rows(latents, self.layout)
        if usable is not None:
            ids = ids[usable]
        return torch.bincount(ids.flatten(), minlength=self.layout.total_codes)

    @torch.no_grad()
    def revive(
        self,
        latents: Tensor,
        threshold: float,
        generator: torch.Generator | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> int:
        """Moves dead codes onto rows that are represented badly.

        A code is dead if its EMA count is below ``threshold`` times the mean of its codebook.
        Donors are distinct rows drawn with probability proportional to their squared error; rows
        without error are none, so that fewer codes than dead ones may be revived.  A revived code
        has the mean count, and sum = code * count.

        Args:
            latents: [B, input_width] of the quantizers ``start .. stop - 1``.
            threshold: >= 0; 0.02 is gentle, 0.1 measurably harms.
            generator: on the CPU; None takes a new one seeded with ``seed``.
            start, stop: the quantizers; all by default.

        Returns:
            how many codes were revived.

        Raises:
            InputError: latents that do not fit, or a threshold that is no number >= 0.
        """
        if not threshold >= 0:
            raise InputError(f"threshold: expected a number >= 0, got {threshold}; 0 revives none")
        views = self._views(start, stop)
        check_latents(latents, views.layout)
        generator = self.generator(generator)
        return revive_codes(views, latents, threshold, generator, backend=self.backend)

    def usage(self) -> UsageSummary:
        """Utilization, perplexity and dead codes of the training rows since the last reset."""
        return summarise_usage(self.epoch_counts, self.epoch_skipped.clone(), self.layout)

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        self.epoch_counts.zero_()
        self.epoch_skipped.zero_()

    @property
    def init_rows(self) -> int:
        """Rows that k-means++ looks at by default: 2,048, or 4 per code of the largest codebook."""
        return max(2048, 4 * max(self.layout.codebook_sizes))

    def generator(self, given: torch.Generator | None) -> torch.Generator:
        """The generator given, or a new one with the bank's seed.

        Raises:
            InputError: a generator that is not on the CPU.
        """
        if given is None:
            return torch.Generator().manual_seed(self.seed)
        if given.device.type != "cpu":
            raise InputError(
                f"generator: expected one on the cpu, got {given.device}; draws are made there so "
                "that every device sees the same ones: pass torch.Generator().manual_seed(..)"
            )
        return given

    def extra_repr(self) -> str:
        """The line that ``print(bank)`` shows."""
        return (
            f"{self.layout.num_quantizers} codebooks, {self.layout.total_codes} codes, "
            f"use_ema={self.use_ema}, decay={self.decay}, init={self.init!r}"
        )

    def _views(self, start: int, stop: int | None) -> CodebookViews:
        stop = self.layout.num_quantizers if stop is None else stop
        elements = slice(*self.layout.weight_range(start, stop))
        codes = slice(*self.layout.code_range(start, stop))
        return CodebookViews(
            layout=slice_layout(self.layout, start, stop),
            weight=self.weight[elements],
            counts=self.ema_counts[codes],
            sums=None if self.ema_sums is None else self.ema_sums[elements],
            epoch_counts=self.epoch_counts[codes],
            epoch_skipped=self.epoch_skipped[start:stop],
            initialized=self.initialized_codebooks[start:stop],
        )

    def _load_from_state_dict(self, *args: Any) -> None:
        self._may_wait = self.init != "uniform"
        super()._load_from_state_dict(*args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves like any module, but converts no buffer: statistics stay float32."""
        buffers = {id(buffer) for buffer in self.buffers()}

        def keeping_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            kept = id(tensor) not in buffers or moved.dtype == tensor.dtype
            return moved if kept else tensor.to(moved.device)

        return cast(Self, super()._apply(keeping_dtype, recurse))  # type: ignore[no-untyped-call]
