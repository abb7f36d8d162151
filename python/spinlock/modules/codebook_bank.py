"""Q codebooks: looked up, learned, initialised and revived together."""

import torch
from torch import Tensor

from spinlock.distributed.world import World, several
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules._traced_init import initialize_traced
from spinlock.modules.codebook_state import CodebookState
from spinlock.modules.codebook_views import CodebookViews
from spinlock.modules.ema import ema_step
from spinlock.modules.initialisation import initialize_codebooks
from spinlock.modules.revival import revive_codes
from spinlock.modules.shared_statistics import SharedStatistics, copy_from_first
from spinlock.ops import (
    Quantized,
    accumulate_codes,
    gather_codes,
    nearest_codes,
    quantize,
    quantize_and_update,
)
from spinlock.ops._averages import normalize_codes
from spinlock.ops._backend import AverageState
from spinlock.ops._traced import is_traced
from spinlock.ops._validate import check_latents

__all__ = ["CodebookBank"]


class CodebookBank(CodebookState):
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
        may_wait: False once every codebook is known to be initialised.
        frozen: codes and averages stay as they are; see :meth:`Quantizer.freeze`.
        initialized_codebooks: bool [Q].
        gathered: counts and sums of batches that wait for the next step of the averages.
        synchronize: processes of torch.distributed learn together; None: where there are several.

    Args:
        layout: sizes and dims of the codebooks.
        use_ema: codes follow the moving average of their rows; otherwise gradients move them.
        decay: of the moving averages, 0 <= decay < 1.
        epsilon: Laplace smoothing of the counts, > 0.
        init: ``"kmeans"`` (from data, see :meth:`initialize_from`) or ``"uniform"`` (+-1 / K_q).
        unit_codes: codes have length 1, and are scaled back to it after every step.
        backend: as in :func:`spinlock.ops.nearest_codes`.
        seed: of the first codes and of every draw made without a generator.
        learnable: codes are a parameter; None: exactly where ``use_ema`` is False.

    Raises:
        ConfigError: an option out of its range.
    """

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
            unit_codes=self.unit_codes,
            backend=self.backend,
        )

    @torch.no_grad()
    def initialize_missing(self, latents: Tensor) -> None:
        """Sets the codebooks that wait for data, in the first training steps; see
        :meth:`initialize_from`.

        Args:
            latents: [B, input_width].
        """
        if self.frozen:
            return
        if is_traced(latents, self.weight):
            state = (self.weight, self.ema_counts, self.ema_sums, self.initialized_codebooks)
            options = (self.seed, self.init_rows, self.unit_codes, self.layout, self.backend)
            initialize_traced(latents, state, *options)
            return
        if not self.initialized and self.draws:
            self.initialize_from(latents.detach(), only_missing=True)
        self.note_drawn()

    @property
    def learns_together(self) -> bool:
        """Whether several processes learn these codebooks from what they have together."""
        return several(self.synchronize)

    @property
    def draws(self) -> bool:
        """Whether this process makes the first codes: of several, process 0 does."""
        return not self.learns_together or World().first

    def note_drawn(self) -> None:
        """All processes take the first codes of the one that :attr:`draws`."""
        if self.learns_together:
            copy_from_first(self)
        self.note_initialized()

    @torch.no_grad()
    def learn_together(self, latents: Tensor, indices: Tensor, mask: Tensor | None = None) -> None:
        """:meth:`update` by what all processes have; each calls it in every step, in one order.

        Args:
            latents: [B, input_width] of all quantizers; B may be 0, and another in each process.
            indices: int64 [B, Q], the codes they were given.
            mask: bool, True at the rows that count; None: all do.
        """
        statistics = SharedStatistics(self)
        counts, sums = accumulate_codes(latents, indices, self.layout, backend=self.backend)
        statistics.counts.copy_(counts)
        statistics.rows.fill_(len(latents))
        if mask is not None:
            statistics.rows.copy_(mask.sum())
        if statistics.sums is not None:
            statistics.sums.copy_(sums)
        statistics.settle()

    def views(self) -> CodebookViews:
        """The state of all codebooks."""
        return self._part(0, None)

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
        decay = 1.0 if self.frozen else self.decay
        ema_step(views, counts, sums, decay=decay, epsilon=self.epsilon)
        if self.unit_codes and not self.frozen:
            normalize_codes(views.weight, views.layout, counts)
        rows = counts.to(torch.int64)
        views.count_rows(rows, len(latents))
        return rows

    def quantize(
        self,
        latents: Tensor,
        *,
        learn: bool,
        rotation: bool = False,
        start: int = 0,
        layout: CodebookLayout | None = None,
    ) -> Quantized:
        """Looks up codebooks and, to ``learn``, does :meth:`update` as well, in one call.

        A frozen bank learns nothing, but counts its rows.

        Args:
            latents: [B, input_width].
            learn: in training mode.
            rotation: as in :func:`spinlock.ops.quantize`.
            start: the first codebook.
            layout: of the codebooks from ``start`` on that are meant; None: of the whole bank.

        Returns:
            what :func:`spinlock.ops.quantize` returns, with the codes before the update.
        """
        part = self._part(start, layout)
        of, weight, backend = part.layout, part.weight, self.backend
        if not learn:
            return quantize(latents, weight, of, rotation=rotation, backend=backend)
        state = self.average_state(part)
        return quantize_and_update(latents, weight, of, state, rotation=rotation, backend=backend)

    def average_state(self, part: CodebookViews | None = None) -> AverageState:
        """What a train step moves, of a part of the codebooks or of all; only counts if frozen."""
        part = self._part(0, None) if part is None else part
        return AverageState(
            part.counts,
            None if self.frozen else part.sums,
            part.epoch_counts,
            part.epoch_skipped,
            1.0 if self.frozen else self.decay,
            self.epsilon,
            self.unit_codes,
        )

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
            how many codes were revived; 0 in a frozen bank.

        Raises:
            InputError: latents that do not fit, or a threshold that is no number >= 0.
        """
        if not threshold >= 0:
            raise InputError(f"threshold: expected a number >= 0, got {threshold}; 0 revives none")
        views = self._views(start, stop)
        check_latents(latents, views.layout)
        generator = self.generator(generator)
        if self.frozen:
            return 0
        return revive_codes(views, latents, threshold, generator, backend=self.backend)

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
