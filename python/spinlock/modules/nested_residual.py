"""Residual quantization of several categories at once, each level on nested coordinates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spinlock.errors import InputError, LayoutError
from spinlock.layout import CodebookLayout
from spinlock.modules._options import CodebookInit, Reduction
from spinlock.modules._rows import index_rows, latent_rows
from spinlock.modules.outputs import QuantizerOutput, QuantizerUsage, UsageSummary
from spinlock.modules.quantizer import Quantizer
from spinlock.modules.revival import dead_codes
from spinlock.modules.sampling import sample_rows
from spinlock.ops._autograd import quantization_losses, straight_through
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

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
        levels = _check_levels(codebook_sizes, dims)
        super().__init__(
            CodebookLayout(_by_level(codebook_sizes), _by_level(dims), alignment),
            decay=decay,
            commitment_weight=commitment_weight,
            commitment_reduction=commitment_reduction,
            use_ema=use_ema,
            init=init,
            backend=backend,
            seed=seed,
        )
        self.num_levels, self.num_categories = levels, len(dims)
        self.category_widths = tuple(max(widths) for widths in dims)
        self._register_orders()

    @property
    def latent_width(self) -> int:
        """Columns of the latents: the sum of ``category_widths``."""
        return sum(self.category_widths)

    def forward(self, latents: Tensor | Sequence[Tensor]) -> QuantizerOutput:
        """Quantizes latents [..., latent_width], or a list of [..., category_widths[c]].

        A level whose coordinates of a row are not finite gives its code 0, without gradient, and
        the row enters neither its losses nor its statistics.

        Raises:
            InputError: latents of another shape or type.
        """
        rows = latent_rows(latents, self.category_widths)
        detached = rows.detach()
        if self.training and not self.bank.initialized:
            self._initialize(detached, self.bank.generator(None), only_missing=True)
        levels, codes, indices = self._descend(detached)
        # Values of the residuals, gradients of the latents they came from.
        attached = straight_through(rows.index_select(1, self._level_columns), levels)
        usable = usable_rows(levels, self.layout)
        commitment, codebook_loss = quantization_losses(
            attached, self.bank.weight, codes, indices, self.layout, usable
        )
        quantized = self._sum_levels(codes).to(rows.dtype)
        # Together the levels see every coordinate: where all can be used, all rows are finite.
        keep = None if usable is None else self._keep(detached)
        usage = self._learn(levels, indices)
        tokens = indices.index_select(1, self._token_order)
        lead = latents.shape[:-1] if isinstance(latents, Tensor) else latents[0].shape[:-1]
        return QuantizerOutput(
            straight_through(rows, quantized, keep).view(*lead, self.latent_width),
            tokens.view(*lead, self.indices_width),
            self._losses(
                commitment.index_select(0, self._token_order),
                codebook_loss.index_select(0, self._token_order),
            ),
            QuantizerUsage(usage.counts.index_select(0, self._code_order)),
        )

    def decode(self, indices: Tensor) -> Tensor:
        """Indices [..., C * L] -> [..., latent_width] in the module's dtype (float32 at first).

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        rows = index_rows(indices, self.indices_width).index_select(1, self._bank_order)
        decoded = self._sum_levels(self.bank.gather(rows)).to(self._dtype_anchor.dtype)
        return decoded.view(*indices.shape[:-1], self.latent_width)

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
    def _descend(self, rows: Tensor, visit: _Visit | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [B, latent_width] -> level latents and their codes, [B, input_width], and indices.

        All are level-major, indices [B, Q].  Level latents are float32 or wider: residuals in half
        precision would round away.
        """
        residual = rows.to(torch.promote_types(rows.dtype, torch.float32))
        parts, gathered, chosen = [], [], []
        for level in range(self.num_levels):
            start, stop = level * self.num_categories, (level + 1) * self.num_categories
            columns = slice(*self.layout.input_range(start, stop))
            part = residual.index_select(1, self._level_columns[columns])
            if visit is not None:
                visit(start, stop, part)
            indices = self.bank.nearest(part, start, stop)
            codes = self.bank.gather(indices, start, stop)
            residual = residual - self._widen(codes, level)
            parts.append(part)
            gathered.append(codes)
            chosen.append(indices)
        return torch.cat(parts, dim=1), torch.cat(gathered, dim=1), torch.cat(chosen, dim=1)

    def _sum_levels(self, codes: Tensor) -> Tensor:
        """Level-major codes [B, input_width] -> float32 or wider [B, latent_width], L0 first."""
        codes = codes.to(torch.promote_types(codes.dtype, torch.float32))
        total = codes.new_zeros(len(codes), self.latent_width)
        for level in range(self.num_levels):
            start, stop = level * self.num_categories, (level + 1) * self.num_categories
            columns = slice(*self.layout.input_range(start, stop))
            total = total + self._widen(codes[:, columns], level)
        return total

    def _widen(self, codes: Tensor, level: int) -> Tensor:
        """Codes of one level [B, sum over c of D_{c,l}] -> [B, latent_width], zeros between."""
        padded = torch.cat([codes, codes.new_zeros(len(codes), 1)], dim=1)
        return padded.index_select(1, self._level_places[level])

    def _keep(self, rows: Tensor) -> Tensor | None:
        """bool [B, latent_width]: False in categories of rows that are not finite."""
        categories = CodebookLayout((1,) * self.num_categories, self.category_widths)
        usable = usable_rows(rows, categories)
        if usable is None:
            return None
        return usable.index_select(1, padding_plan(categories, rows.device).column_quantizer)

    def _register_orders(self) -> None:
        categories, levels = self.num_categories, self.num_levels
        quantizers = torch.arange(levels * categories)
        token_order = quantizers.view(levels, categories).t().reshape(-1)
        offsets = torch.tensor((0, *self.category_widths)).cumsum(0)
        columns, places = [], []
        for level in range(levels):
            widths = self.layout.dims[level * categories : (level + 1) * categories]
            level_columns = torch.cat(
                [offsets[c] + torch.arange(width) for c, width in enumerate(widths)]
            )
            place = torch.full((self.latent_width,), len(level_columns))
            place[level_columns] = torch.arange(len(level_columns))
            columns.append(level_columns)
            places.append(place)
        codes = [torch.arange(*self.layout.code_range(q, q + 1)) for q in token_order.tolist()]
        orders = {
            "_level_columns": torch.cat(columns),
            "_level_places": torch.stack(places),
            "_token_order": token_order,
            "_bank_order": token_order.argsort(),
            "_code_order": torch.cat(codes),
        }
        for name, order in orders.items():
            self.register_buffer(name, order, persistent=False)


def _by_level(values: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Per category per level -> level-major: (c0 L0, c1 L0, .., c0 L1, ..)."""
    return tuple(value for level in zip(*values, strict=True) for value in level)


def _check_levels(codebook_sizes: Sequence[Sequence[int]], dims: Sequence[Sequence[int]]) -> int:
    """The number of levels, the same for all categories."""
    for name, values in (("codebook_sizes", codebook_sizes), ("dims", dims)):
        nested = isinstance(values, Sequence) and all(isinstance(v, Sequence) for v in values)
        if not nested or not values:
            raise LayoutError(
                f"{name}: expected a list with one list per category, got {values!r}; "
                "wrap a single category in a list"
            )
    sizes_levels, dims_levels = [len(v) for v in codebook_sizes], [len(v) for v in dims]
    if sizes_levels != dims_levels or len(set(dims_levels)) != 1 or dims_levels[0] < 1:
        raise LayoutError(
            "codebook_sizes and dims: expected the same number of levels, at least 1, for every "
            f"category, got {sizes_levels} and {dims_levels}; give each category one entry per "
            "level in both lists"
        )
    return dims_levels[0]
