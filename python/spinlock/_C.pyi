"""Types of the C++ core.

spinlock.layout.CodebookLayout says what each field means, spinlock.ops._cpp what the functions do.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

class PackingPlan:
    def __init__(
        self, codebook_sizes: Sequence[int], dims: Sequence[int], alignment: int
    ) -> None: ...
    @property
    def padded_dims(self) -> tuple[int, ...]: ...
    @property
    def input_offsets(self) -> tuple[int, ...]: ...
    @property
    def latent_offsets(self) -> tuple[int, ...]: ...
    @property
    def code_offsets(self) -> tuple[int, ...]: ...
    @property
    def weight_offsets(self) -> tuple[int, ...]: ...
    @property
    def input_width(self) -> int: ...
    @property
    def latent_width(self) -> int: ...
    @property
    def total_codes(self) -> int: ...
    @property
    def weight_size(self) -> int: ...
    def pack_codebooks(self, codebooks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]: ...
    def unpack_codebooks(self, weight: NDArray[np.float32]) -> list[NDArray[np.float32]]: ...
    def pack_latents(self, latents: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]: ...
    def unpack_latents(self, packed: NDArray[np.float32]) -> list[NDArray[np.float32]]: ...
    def tile_schedule(self, num_rows: int, block_rows: int) -> NDArray[np.int32]: ...

_Buffer: TypeAlias = Tensor | tuple[int, int]
"""A contiguous tensor, or (address, elements)"""

_Rows: TypeAlias = Tensor | tuple[int, int, int, int]
"""A tensor, or (address, rows, columns, elements from one row to the next), of float32"""

State: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, float, float]
"""(EMA counts, EMA sums, weight, epoch counts, epoch skipped, decay, epsilon)"""

class NestedLevels:
    """Residual levels of several categories; see spinlock.ops._nested."""

    def __init__(self, levels: Sequence[PackingPlan], widths: Sequence[int]) -> None: ...
    @property
    def latent_width(self) -> int: ...
    @property
    def input_width(self) -> int: ...
    @property
    def total_codes(self) -> int: ...
    @property
    def num_quantizers(self) -> int: ...
    @property
    def num_levels(self) -> int: ...
    def step(
        self,
        rows: _Rows,
        weight: _Buffer,
        *,
        seen: _Buffer,
        codes: _Buffer,
        indices: _Buffer,
        losses: _Buffer,
        counts: _Buffer,
        total: _Buffer,
        state: State | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...
    def backward(
        self,
        num_rows: int,
        *,
        seen: _Buffer,
        codes: _Buffer,
        counts: _Buffer,
        grad_total: _Rows | None = None,
        grad_losses: _Buffer | None = None,
        grad_rows: _Buffer,
        threads: int = 1,
    ) -> None: ...

class RaggedLinear:
    """Affine maps of different shapes, side by side; see spinlock.ops.ragged_linear."""

    def __init__(
        self, in_widths: Sequence[int], out_widths: Sequence[int], transposed: bool
    ) -> None: ...
    @property
    def out_width(self) -> int: ...
    @property
    def most_out(self) -> int: ...
    def forward(
        self,
        input: _Rows,
        weight: _Buffer,
        *,
        bias: _Buffer | None = None,
        addend: _Buffer | None = None,
        positive: bool = False,
        output: _Buffer,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...
    def backward(
        self,
        input: _Rows,
        weight: _Buffer,
        *,
        output: _Buffer | None = None,
        grad: _Rows,
        grad_input: _Buffer | None = None,
        grad_weight: _Buffer | None = None,
        grad_bias: _Buffer | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...

class RaggedNorm:
    """Layer norms of segments of different widths; see spinlock.ops.ragged_layer_norm."""

    def __init__(self, widths: Sequence[int]) -> None: ...
    @property
    def num_segments(self) -> int: ...
    def forward(
        self,
        input: _Rows,
        weight: _Buffer,
        *,
        bias: _Buffer,
        epsilon: float,
        output: _Buffer,
        moments: _Buffer,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...
    def backward(
        self,
        input: _Rows,
        moments: _Buffer,
        *,
        weight: _Buffer,
        grad: _Rows,
        grad_input: _Buffer | None = None,
        grad_weight: _Buffer | None = None,
        grad_bias: _Buffer | None = None,
        threads: int = 1,
        isa: str = "",
    ) -> None: ...

def quantize_rows(
    plan: PackingPlan,
    latents: _Rows,
    weight: _Buffer | None,
    *,
    given: _Buffer | None = None,
    indices: _Buffer | None = None,
    quantized: _Buffer | None = None,
    squared_error: _Buffer | None = None,
    losses: _Buffer | None = None,
    mean_loss: _Buffer | None = None,
    counts: _Buffer | None = None,
    sums: _Buffer | None = None,
    skipped: _Buffer | None = None,
    state: State | None = None,
    threads: int = 1,
    isa: str = "",
) -> None: ...
def quantize_backward(
    plan: PackingPlan,
    latents: _Rows,
    *,
    quantized: _Buffer | None = None,
    weight: _Buffer | None = None,
    indices: _Buffer | None = None,
    counts: _Buffer,
    grad_quantized: _Rows | None = None,
    grad_losses: _Buffer,
    grad_latents: _Buffer,
    threads: int = 1,
    isa: str = "",
) -> None: ...
def refresh_codes(
    plan: PackingPlan, counts: _Buffer, sums: _Buffer, state: State, *, threads: int = 1
) -> None: ...
def instruction_sets() -> list[str]: ...
