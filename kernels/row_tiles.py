"""Which quantizer and which rows a program does, computed from its number alone.

What a launch needs of the host depends on the bank and never on the batch.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["row_tile"]


@triton.jit
def row_tile(members_ptr, num_members, BLOCK_ROWS: tl.constexpr):
    """(quantizer, first row) of this program, one of ``num_members`` per BLOCK_ROWS rows.

    All quantizers of the first rows come first: their columns lie side by side in memory.

    Args:
        members_ptr: int32 [num_members], the quantizers of this launch in their order.
    """
    tile = tl.program_id(0)
    # Unsigned, which divides in fewer instructions.
    turn = (tile.to(tl.uint32) // num_members.to(tl.uint32)).to(tl.int32)
    return tl.load(members_ptr + (tile - turn * num_members)), turn * BLOCK_ROWS
