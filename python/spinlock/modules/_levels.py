"""How residual levels lie side by side, and the way back to the rows they came from."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from spinlock.errors import LayoutError
from spinlock.layout import CodebookLayout
from spinlock.modules.initialisation import default_device

__all__ = ["attach_levels", "by_level", "check_levels", "level_orders"]

Ranges = tuple[tuple[int, int], ...]


def attach_levels(rows: Tensor, levels: Tensor, columns: Tensor) -> Tensor:
    """``levels`` whose gradient goes to the coordinates of the rows that they are residuals of.

    Args:
        rows: [B, latent_width].
        levels: [B, input_width], level-major, without gradient.
        columns: int64 [input_width], the coordinate of each column.
    """
    if not (torch.is_grad_enabled() and rows.requires_grad):
        return levels
    seen = rows.index_select(1, columns)
    return levels + (seen - seen.detach())  # zeros: the values keep their bits


def level_orders(
    layout: CodebookLayout, levels: int, category_widths: Sequence[int]
) -> tuple[Ranges, dict[str, Tensor]]:
    """The columns of each level, and the orders between level-major and category-major.

    Args:
        layout: level-major.
        levels: L.
        category_widths: C widths of the latents.

    Returns:
        (first, end) columns of each level among all level latents, and int64 index tensors:
        ``level_columns`` [input_width], the coordinate that each column of the level latents is;
        ``level_places`` [L, latent_width], the column of each coordinate within a level, or the
        level's width where it has none; ``token_order`` and ``bank_order`` [Q], quantizers from
        level-major to category-major and back; ``code_order`` [total_codes], the same for codes;
        ``widest_codes`` and ``widest_categories``, the codes of the widest level of each category
        and the category of each.
    """
    with torch.device("cpu"):  # they are read here, whatever device modules are made on
        ranges, orders = _level_orders(layout, levels, category_widths)
    device = default_device()
    return ranges, {name: order.to(device) for name, order in orders.items()}


def _level_orders(
    layout: CodebookLayout, levels: int, category_widths: Sequence[int]
) -> tuple[Ranges, dict[str, Tensor]]:
    categories, width = len(category_widths), sum(category_widths)
    token_order = torch.arange(levels * categories).view(levels, categories).t().reshape(-1)
    offsets = torch.tensor((0, *category_widths)).cumsum(0)
    columns, places = [], []
    for level in range(levels):
        widths = layout.dims[level * categories : (level + 1) * categories]
        seen = torch.cat([offsets[c] + torch.arange(dim) for c, dim in enumerate(widths)])
        place = torch.full((width,), len(seen))
        place[seen] = torch.arange(len(seen))
        columns.append(seen)
        places.append(place)
    widest = [
        max(range(c, levels * categories, categories), key=layout.dims.__getitem__)
        for c in range(categories)
    ]
    codes_of = [torch.arange(*layout.code_range(q, q + 1)) for q in range(layout.num_quantizers)]
    sizes = torch.tensor([layout.codebook_sizes[q] for q in widest])
    ends = torch.tensor([0, *map(len, columns)]).cumsum(0).tolist()
    return tuple(pairwise(ends)), {
        "level_columns": torch.cat(columns),
        "level_places": torch.stack(places),
        "token_order": token_order,
        "bank_order": token_order.argsort(),
        "code_order": torch.cat([codes_of[q] for q in token_order.tolist()]),
        "widest_codes": torch.cat([codes_of[q] for q in widest]),
        "widest_categories": torch.arange(categories).repeat_interleave(sizes),
    }


def by_level(values: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Per category per level -> level-major: (c0 L0, c1 L0, .., c0 L1, ..)."""
    return tuple(value for level in zip(*values, strict=True) for value in level)


def check_levels(codebook_sizes: Sequence[Sequence[int]], dims: Sequence[Sequence[int]]) -> int:
    """The number of levels, the same for all categories.

    Raises:
        LayoutError: lists that do not fit together.
    """
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
