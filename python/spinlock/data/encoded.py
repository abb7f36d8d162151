"""The arrays of a data set, streamed in step through their encoders into blocks of columns."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.families import Part
from spinlock.data.sources import ArraySource, RangedArray, SelectableArray, num_bytes
from spinlock.errors import DataError

# Stored bytes of a block, so that wide series do not need more memory than narrow tables.
BLOCK_BYTES = 1 << 23
_FLOAT32_MAX = float(np.finfo(np.float32).max)

Block = NDArray[np.float32]


def encoded_blocks(
    parts: Sequence[Part], rows: int, between: tuple[int, int] | None = None
) -> Iterator[Block]:
    """Blocks of at most ``rows`` rows, float32 [n, D], of all parts side by side.

    Args:
        parts: over arrays of the same rows.
        rows: of a block.
        between: first row and end, both of them :func:`row_bounds`; None: all rows.

    Raises:
        DataError: an array ends before the row that its file promised.
    """
    groups = _sharing_an_array(parts)
    arrays = [_restricted(group) for group in groups]
    promised = parts[0].source.array.shape[0] if between is None else between[1] - between[0]
    row_bytes = sum(num_bytes(array.shape[1:], 8) for array, _ in arrays)
    rows = min(rows, max(1, BLOCK_BYTES // max(1, row_bytes)))
    streams = [_stream(array, rows, between) for array, _ in arrays]
    # Sources may cut their blocks as suits them; several must be cut alike.
    stored = [streams[0]] if len(streams) == 1 else [_exactly(s, rows) for s in streams]
    width = sum(len(part.names) for part in parts)
    seen = 0
    for together in _in_step(stored):
        count = len(together[0])
        if any(len(block) != count for block in together) or seen + count > promised:
            break
        seen += count
        if (whole := _already_encoded(together, arrays)) is not None:
            yield whole
            continue
        features = np.empty((count, width), np.float32)
        for block, (_, group) in zip(together, arrays, strict=True):
            for part in group:
                _encode(block, part, features[:, part.start : part.start + len(part.names)])
        yield features
    if seen != promised:
        what = parts[0].source.array.what
        raise DataError(
            f"{what} has {promised:,} rows by its header, and {seen:,} could be read; it shrank or "
            "changed while it was read. Read it again when nobody writes to it."
        )


def row_bounds(parts: Sequence[Part], step: int) -> list[int]:
    """Rows at which a range of :func:`encoded_blocks` may begin or end, about ``step`` apart."""
    arrays = [group[0].source.array for group in _sharing_an_array(parts)]
    if all(isinstance(array, RangedArray) for array in arrays):
        # Arrays of columns share the groups of their file; any row will do for the others.
        first = arrays[0]
        assert isinstance(first, RangedArray)
        return first.bounds(step)
    return [0, arrays[0].shape[0]]


def _stream(
    array: ArraySource, rows: int, between: tuple[int, int] | None
) -> Iterator[NDArray[Any]]:
    if between is None or not isinstance(array, RangedArray):
        return array.blocks(rows)
    return array.blocks_between(rows, *between)


def _sharing_an_array(parts: Sequence[Part]) -> list[list[Part]]:
    groups: dict[int, list[Part]] = {}
    for part in parts:
        groups.setdefault(id(part.source.array), []).append(part)
    return list(groups.values())


def _restricted(group: list[Part]) -> tuple[ArraySource, list[Part]]:
    """The group's array, without columns that no part needs where the format can skip them."""
    array = group[0].source.array
    if not isinstance(array, SelectableArray) or any(p.source.columns is None for p in group):
        return array, group
    needed = np.unique(np.concatenate([p.source.columns for p in group]))
    if len(needed) == array.shape[-1]:
        return array, group
    narrowed = [part.over(np.searchsorted(needed, part.source.columns)) for part in group]  # type: ignore[arg-type]
    return array.select(needed), narrowed


def _already_encoded(
    together: list[NDArray[Any]], arrays: Sequence[tuple[ArraySource, list[Part]]]
) -> Block | None:
    """The block itself, where its columns are those of the table in their order."""
    if len(together) > 1 or together[0].dtype != np.float32 or together[0].ndim != 2:
        return None
    block, parts = together[0], arrays[0][1]
    if any(part.encoder.name != "identity" for part in parts):
        return None
    order = np.arange(block.shape[1])
    columns = [order if p.source.columns is None else p.source.columns for p in parts]
    same = np.array_equal(np.concatenate(columns), order)
    return np.ascontiguousarray(block) if same else None


def _exactly(blocks: Iterator[NDArray[Any]], rows: int) -> Iterator[NDArray[Any]]:
    """The same rows in blocks of exactly ``rows``, but for the last one."""
    pending: list[NDArray[Any]] = []
    count = 0
    for block in blocks:
        start = 0
        while len(block) - start >= rows - count:
            taken = block[start : start + rows - count]
            yield np.concatenate([*pending, taken]) if pending else taken
            start += len(taken)
            pending, count = [], 0
        if start < len(block):
            pending.append(block[start:])
            count += len(block) - start
    if pending:
        yield np.concatenate(pending)


def _in_step(streams: Sequence[Iterator[NDArray[Any]]]) -> Iterator[list[NDArray[Any]]]:
    while True:
        blocks = [next(stream, None) for stream in streams]
        present = [block for block in blocks if block is not None]
        if len(present) < len(blocks):
            return
        yield present


def _encode(block: NDArray[Any], part: Part, out: Block) -> None:
    columns = part.source.columns
    values = block if columns is None else block[..., columns]
    with np.errstate(over="ignore", invalid="ignore"):
        if part.encoder.name == "identity" and values.dtype.kind == "f":
            out[...] = values
            return
        encoded = part.encoder.encode(as_float64(values))
        if encoded.shape != (len(block), part.num_encoded):
            raise DataError(
                f"encoder '{part.encoder.name}' returned shape {list(encoded.shape)} for family "
                f"{part.family!r}; its column names promise {[len(block), part.num_encoded]}."
            )
        out[...] = encoded if part.chosen is None else encoded[:, part.chosen]


def as_float64(block: NDArray[Any]) -> NDArray[np.float64]:
    """Float64, with infinities for what float32 cannot hold: encoders see what a table would."""
    values = block.astype(np.float64)
    beyond = np.abs(values) > _FLOAT32_MAX
    if beyond.any():
        values[beyond] = np.copysign(np.inf, values[beyond])
    return values
