"""Residual quantization of several categories at once, each level on nested coordinates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules._beam import categories_searched
from spinlock.modules._levels import attach_levels, by_level, check_levels, level_orders
from spinlock.modules._nested_core import NestedCore
from spinlock.modules._options import CodebookInit, Reduction
from spinlock.modules._rows import index_rows, latent_rows, masked_rows
from spinlock.modules.outputs import QuantizerOutput, QuantizerUsage, UsageSummary
from spinlock.modules.quantizer import Quantizer
from spinlock.modules.revival import dead_codes
from spinlock.modules.sampling import sample_rows
from spinlock.ops._backend import Quantized, Step
from spinlock.ops._fused import with_gradients
from spinlock.ops._steps import working_dtype
from spinlock.ops._traced import is_traced

__all__ = ["NestedResidualQuantizer"]

# Called with (first quantizer, end, level latents) before the level is looked up.
_Visit = Callable[[int, int, Tensor], None]


class NestedResidualQuantizer(Quantizer):
    """Residual levels per category; level l sees the first D_{c,l} coordinates of what is left.

    Category c has one latent vector of ``category_widths[c]`` = max over l of D_{c,l} columns.
    Its level 0 quantizes the first D_{c,0} of them, level l the first D_{c,l} of the residual that
    the levels before left; codes are detached, so that gradients reach the latents only.  The
    quantized vector is the sum of the levels' codes, each filled up with zeros.

    ``indices``, losses and usage are category-major: (c0 L0, c0 L1, .., c1 L0, ..).  The bank is
    level-major, quantizer ``q = l * C + c``, so that a level is a contiguous slice of it.

    Args:
        codebook_sizes: K >= 1 per category a list with one entry per level.
        dims: D >= 1 likewise.
        decay, commitment_weight, commitment_reduction, use_ema, init, alignment, backend, seed:
            as in :class:`RaggedVectorQuantizer`.

    Raises:
        LayoutError: lists that do not fit together, or sizes that describe no layout.
        ConfigError: another option out of its range.
        InputError: an unknown backend.

    >>> quantizer = NestedResidualQuantizer([[16, 8], [4, 4]], [[2, 5], [3, 3]])
    >>> quantizer.category_widths, quantizer.layout.dims
    ((5, 3), (2, 3, 5, 3))
    >>> latents = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> output = quantizer.eval()(latents)
    >>> output.quantized.shape, output.indices.shape
    (torch.Size([100, 8]), torch.Size([100, 4]))
    >>> torch.equal(quantizer.decode(output.indices), output.quantized)
    True
    """

    _level_columns: Tensor
    _level_places: Tensor
    _token_order: Tensor
    _bank_order: Tensor
    _code_order: Tensor
    _widest_codes: Tensor
    _widest_categories: Tensor

    def __init__(
        self,
        codebook_sizes: Sequence[Sequence[int]],
        dims: Sequence[Sequence[int]],
        *,
        decay: float = 0.99,
        commitment_weight: float = 1.0,
        commitment_reduction: Reduction = "mean",
        use_ema: bool = True,
        init: CodebookInit = "kmeans",
        alignment: int = 4,
        backend: str | None = None,
        seed: int = 0,
    ) -> None:
        levels = check_levels(codebook_sizes, dims)
        super().__init__(
            CodebookLayout(by_level(codebook_sizes), by_level(dims), alignment),
            decay=decay,
            commitment_weight=commitment_weight,
            commitment_reduction=commitment_reduction,
            use_ema=use_ema,
            init=init,
            backend=backend,
            seed=seed,
        )
        self.bank.synchronize = None
        self.num_levels, self.num_categories = levels, len(dims)
        self.category_widths = tuple(max(widths) for widths in dims)
        self._level_layouts = tuple(
            self.layout.slice(level * len(dims), (level + 1) * len(dims)) for level in range(levels)
        )
        self._core = NestedCore(self._level_layouts, self.category_widths)
        self._categories = CodebookLayout((1,) * len(dims), self.category_widths)
        self._level_ranges, orders = level_orders(self.layout, levels, self.category_widths)
        for name, order in orders.items():
            self.register_buffer(f"_{name}", order, persistent=False)

    @property
    def latent_width(self) -> int:
        """Columns of the latents: the sum of ``category_widths``."""
        return sum(self.category_widths)

    def forward(
        self, latents: Tensor | Sequence[Tensor], mask: Tensor | None = None
    ) -> QuantizerOutput:
        """Quantizes latents [..., latent_width], or a list of [..., category_widths[c]].

        A level whose coordinates of a row are not finite gives its code 0, without gradient, and
        the row enters neither its losses nor its statistics.

        Raises:
            InputError: latents, or a mask (see :class:`Quantizer`), of another shape or type.
        """
        rows = latent_rows(latents, self.category_widths)
        lead = latents.shape[:-1] if isinstance(latents, Tensor) else latents[0].shape[:-1]
        if mask is not None:
            rows = masked_rows(rows, mask, lead)
        detached = rows.detach()
        if self.training and self.bank.may_wait:
            self._initialize_missing(detached)
        at_once = self._core.step(rows, self.bank, learn=self.training) if mask is None else None
        if at_once is not None:
            tokens = at_once.indices.permute(1, 2, 0).reshape(len(rows), self.indices_width)
            losses = at_once.commitment, at_once.commitment.detach()
            return self._output(lead, at_once.quantized, tokens, losses, at_once.counts)
        together = self.training and self.bank.learns_together
        levels, step, summed = self._descend(detached, learn=self.training and not together)
        if together:
            self.bank.learn_together(levels, step.indices, mask)
        elif self.training and mask is not None:
            self._uncount(mask)
        attached = attach_levels(rows, levels, self._level_columns)
        result = with_gradients(
            attached, self.bank.weight, self.layout, step, backend=self.bank.backend
        )
        quantized = self._straight_through(rows, summed.to(levels.dtype), step).to(rows.dtype)
        tokens = step.indices.index_select(1, self._token_order)
        losses = result.commitment, result.codebook_loss
        return self._output(lead, quantized, tokens, losses, step.counts)

    def decode(self, indices: Tensor) -> Tensor:
        """Indices [..., C * L] -> [..., latent_width] in the module's dtype (float32 at first).

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        rows = index_rows(indices, self.indices_width).index_select(1, self._bank_order)
        decoded = self._sum_levels(self.bank.gather(rows)).to(self.dtype)
        return decoded.view(*indices.shape[:-1], self.latent_width)

    @torch.no_grad()
    def search(self, latents: Tensor | Sequence[Tensor], beam: int) -> Tensor:
        """Indices [..., C * L] by beam search over the levels of each category; writes no state.

        The decoded rows are never farther from the latents than those of the module itself, which
        takes the nearest code of each level and is what ``beam=1`` gives.

        Raises:
            InputError: latents of another shape or type, or ``beam`` below 1.
        """
        if beam < 1:
            raise InputError(f"beam: expected at least 1, got {beam}; 1 takes each nearest code")
        rows = latent_rows(latents, self.category_widths)
        lead = latents.shape[:-1] if isinstance(latents, Tensor) else latents[0].shape[:-1]
        _, step, _ = self._descend(rows)
        tokens = step.indices.index_select(1, self._token_order)
        if beam > 1:
            wide = rows.to(working_dtype(rows, self.bank.weight))
            codes = [
                [self.codebook(category, level) for level in range(self.num_levels)]
                for category in range(self.num_categories)
            ]
            tokens = categories_searched(wide, self.category_widths, codes, beam, tokens)
        return tokens.view(*lead, self.indices_width)

    def codebook(self, category: int, level: int) -> Tensor:
        """The view [K, D] of one codebook; writing to it changes the codes.

        Raises:
            InputError: a category or level that does not exist.
        """
        if not (0 <= category < self.num_categories and 0 <= level < self.num_levels):
            raise InputError(
                f"codebook: expected category in 0..{self.num_categories - 1} and level in "
                f"0..{self.num_levels - 1}, got category={category}, level={level}; count from 0"
            )
        return self.bank.codebook(level * self.num_categories + category)

    @torch.no_grad()
    def initialize_from(
        self, latents: Tensor | Sequence[Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Sets the codebooks level by level; see :meth:`CodebookBank.initialize_from`."""
        rows = latent_rows(latents, self.category_widths)
        self._initialize(rows, self.bank.generator(generator), only_missing=False)

    @torch.no_grad()
    def revive(
        self,
        latents: Tensor | Sequence[Tensor],
        threshold: float,
        generator: torch.Generator | None = None,
    ) -> int:
        """Revives level by level, each on what the revived levels before it leave over."""
        source = self.bank.generator(generator)
        rows, revived = latent_rows(latents, self.category_widths), []

        def visit(start: int, stop: int, part: Tensor) -> None:
            revived.append(self.bank.revive(part, threshold, source, start=start, stop=stop))

        dead, _ = dead_codes(self.bank.ema_counts, self.layout, threshold)
        if dead.any() or not threshold >= 0:  # such a threshold the bank refuses
            self._descend(rows, visit)
        return sum(revived)

    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, category-major."""
        usage = self.bank.usage()
        order = self._token_order
        return UsageSummary(
            usage.utilization[order], usage.perplexity[order], usage.dead, usage.skipped[order]
        )

    def _output(
        self,
        lead: Sequence[int],
        quantized: Tensor,
        tokens: Tensor,
        losses: tuple[Tensor, Tensor],
        counts: Tensor,
    ) -> QuantizerOutput:
        """Rows, tokens that are category-major; losses and counts that are level-major."""
        commitment, codebook = (each.index_select(0, self._token_order) for each in losses)
        return QuantizerOutput(
            quantized.view(*lead, self.latent_width),
            tokens.view(*lead, self.indices_width),
            self._losses(commitment, codebook),
            QuantizerUsage(counts.index_select(0, self._code_order)),
        )

    def _initialize_missing(self, rows: Tensor) -> None:
        if self.bank.frozen:
            return
        if is_traced(rows, self.bank.weight):
            raise InputError(
                "codebooks: expected initialised ones in a traced call, got some that wait for "
                "data; run one training batch, or initialize_from(latents), before compiling"
            )
        if not self.bank.initialized and self.bank.draws:
            self._initialize(rows, self.bank.generator(None), only_missing=True)
        self.bank.note_drawn()

    def _initialize(self, rows: Tensor, generator: torch.Generator, *, only_missing: bool) -> None:
        def visit(start: int, stop: int, part: Tensor) -> None:
            self.bank.initialize_from(
                part,
                generator,
                max_rows=len(part),
                start=start,
                stop=stop,
                only_missing=only_missing,
            )

        self._descend(sample_rows(rows, self.bank.init_rows, generator), visit)

    @torch.no_grad()
    def _descend(
        self, rows: Tensor, visit: _Visit | None = None, *, learn: bool = False
    ) -> tuple[Tensor, Step, Tensor]:
        """Rows [B, latent_width] -> level latents, the step on them, and the sum of their codes.

        Level latents [B, input_width] and step are level-major, the sum is [B, latent_width].
        Level latents are float32 or wider: residuals in half precision would round away.  A level
        learns as soon as it was looked up, for no other sees its codes.
        """
        residual = rows.to(working_dtype(rows, self.bank.weight))
        total = torch.zeros_like(residual, dtype=working_dtype(self.bank.weight))
        parts: list[Tensor] = []
        levels: list[Quantized] = []
        for level, layout in enumerate(self._level_layouts):
            start = level * self.num_categories
            part = residual.index_select(1, self._level_columns[slice(*self._level_ranges[level])])
            if visit is not None:
                visit(start, start + self.num_categories, part)
            found = self.bank.quantize(part, learn=learn, start=start, layout=layout)
            wide = self._widen(found.quantized, level)
            residual = residual - wide
            total = total + wide.to(total.dtype)
            parts.append(part)
            levels.append(found)
        step = Step(
            torch.cat([found.quantized for found in levels], dim=1),
            torch.cat([found.indices for found in levels], dim=1),
            torch.cat([found.commitment for found in levels]),
            torch.cat([found.counts for found in levels]),
        )
        return torch.cat(parts, dim=1), step, total

    def _sum_levels(self, codes: Tensor) -> Tensor:
        """Level-major codes [B, input_width] -> float32 or wider [B, latent_width], L0 first."""
        codes = codes.to(working_dtype(self.bank.weight))
        total = codes.new_zeros(codes.shape[0], self.latent_width)
        for level in range(self.num_levels):
            start, stop = level * self.num_categories, (level + 1) * self.num_categories
            first, end = self.layout.input_range(start, stop)
            total = total + self._widen(codes.narrow(1, first, end - first), level)
        return total

    def _widen(self, codes: Tensor, level: int) -> Tensor:
        """Codes of one level [B, sum over c of D_{c,l}] -> [B, latent_width], zeros between."""
        padded = torch.cat([codes, codes.new_zeros(codes.shape[0], 1)], dim=1)
        return padded.index_select(1, self._level_places[level])

    def _straight_through(self, rows: Tensor, quantized: Tensor, step: Step) -> Tensor:
        """``quantized`` whose gradient goes to the rows, not to categories that are not finite."""
        # Together the levels see every coordinate: the widest tells which rows can be used.
        counts = step.counts.new_zeros(self.num_categories)
        used = step.counts.index_select(0, self._widest_codes)
        counts.index_add_(0, self._widest_categories, used)
        nothing = quantized.new_zeros(self.num_categories)
        whole = Step(quantized, step.indices, nothing, counts, nothing[0])
        weight = self.bank.weight.detach()
        backend = self.bank.backend
        return with_gradients(rows, weight, self._categories, whole, backend=backend).quantized
