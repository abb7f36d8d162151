"""First codes inside a traced call: an operator, for what it does depends on data."""

from typing import Any

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import CodebookViews
from spinlock.modules.initialisation import initialize_codebooks
from spinlock.ops._library import LIBRARY, layout_of, layout_spec

__all__ = ["initialize_traced"]

LIBRARY.define(
    "initialize_codebooks(Tensor latents, Tensor(a!) weight, Tensor(b!) counts, Tensor(c!)? sums, "
    "Tensor(d!) initialized, int seed, int max_rows, bool unit_codes, int[] codebook_sizes, "
    "int[] dims, int alignment, str? backend) -> ()",
    tags=torch.Tag.pt2_compliant_tag,
)


def initialize_traced(
    latents: Tensor,
    state: tuple[Tensor, Tensor, Tensor | None, Tensor],
    seed: int,
    max_rows: int,
    unit_codes: bool,
    layout: CodebookLayout,
    backend: str | None,
) -> None:
    """:func:`initialize_codebooks` on the codebooks that still wait, when the trace runs.

    Args:
        latents: [B, input_width].
        state: weight, counts, sums and initialized of :class:`CodebookViews`.
        seed: of the draws.
        max_rows: rows drawn from the latents.
        unit_codes: codes are scaled to length 1.
        layout: of the codebooks.
        backend: as in :func:`spinlock.ops.nearest_codes`.
    """
    operator: Any = torch.ops.spinlock.initialize_codebooks
    operator(latents, *state, seed, max_rows, unit_codes, *layout_spec(layout), backend)


def _initialize(
    latents: Tensor,
    weight: Tensor,
    counts: Tensor,
    sums: Tensor | None,
    initialized: Tensor,
    seed: int,
    max_rows: int,
    unit_codes: bool,
    *rest: Any,
) -> None:
    if bool(initialized.all()):
        return
    *spec, backend = rest
    layout = layout_of(*spec)
    nowhere = counts.new_empty(0, dtype=torch.int64)
    initialize_codebooks(
        CodebookViews(layout, weight, counts, sums, nowhere, nowhere, initialized),
        latents,
        torch.Generator().manual_seed(seed),
        max_rows=max_rows,
        only_missing=True,
        unit_codes=unit_codes,
        backend=backend,
    )


LIBRARY.impl("initialize_codebooks", _initialize, "CompositeExplicitAutograd")
torch.library.register_fake("spinlock::initialize_codebooks", lambda *_: None, lib=LIBRARY)
