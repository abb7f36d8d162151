"""Operations of the ragged vector quantizer on packed tensors, one call for all codebooks."""

from spinlock.ops._unit_rows import unit_rows
from spinlock.ops.functional import (
    Quantized,
    accumulate_codes,
    gather_codes,
    nearest_codes,
    quantize,
    quantize_and_update,
)

__all__ = [
    "Quantized",
    "accumulate_codes",
    "gather_codes",
    "nearest_codes",
    "quantize",
    "quantize_and_update",
    "unit_rows",
]
