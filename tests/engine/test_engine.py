"""Engines without a cluster: order, exactness whatever the blocks, names and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine_data import table_of
from spinlock.analysis.statistics import GramMatrix, RowReservoir, sample_ceiling
from spinlock.data.parts import array_parts, parts_without
from spinlock.engine import IN_PROCESS, map_reduce, open_engine
from spinlock.errors import ConfigError


class _Gram(GramMatrix):
    def update(self, block: Any, first_row: int = 0) -> _Gram:  # noqa: ARG002
        super().update(np.nan_to_num(block))
        return self


def test_a_statistic_depends_on_the_parts_and_not_on_who_makes_them() -> None:
    parts = array_parts(table_of().features, 300)
    seen: list[int] = []
    whole = map_reduce(IN_PROCESS, parts, _Gram, tell=seen.append).finalise()
    assert sum(seen) == whole.count == 2300
    # Each state on its own, backwards, merged in order: what a cluster does.
    states = [next(IN_PROCESS.map(_state, [part])) for part in reversed(parts)][::-1]
    merged = _Gram()
    for state in states:
        merged.merge(state)
    np.testing.assert_array_equal(merged.finalise().covariance, whole.covariance)


def _state(part: Any, tell: Any) -> _Gram:
    return map_reduce(IN_PROCESS, [part], _Gram, tell=tell)


def test_a_ceiling_leaves_out_what_no_sample_keeps() -> None:
    x = table_of(1000).features
    ceiling = sample_ceiling(1000, 50, seed=3)
    plain, low = RowReservoir(50, 3), RowReservoir(50, 3, ceiling)
    held = []
    for part in array_parts(x, 100):
        plain.update(part.features, part.first_row)
        state = RowReservoir(50, 3, ceiling).update(part.features, part.first_row)
        held.append(len(state.finalise().rows))
        low.merge(state)
    assert sum(held) == 50
    np.testing.assert_array_equal(plain.finalise().rows, low.finalise().rows)
    np.testing.assert_array_equal(plain.finalise().row_numbers, low.finalise().row_numbers)


def test_rows_are_numbered_as_if_the_held_out_ones_were_not_there() -> None:
    x = table_of(1000).features
    held_out = np.arange(5, 1000, 7)
    parts = parts_without(array_parts(x, 90), held_out)
    sample = map_reduce(IN_PROCESS, parts, RowReservoir).finalise()
    np.testing.assert_array_equal(sample.row_numbers, np.arange(1000 - len(held_out)))
    np.testing.assert_array_equal(sample.rows, np.delete(x, held_out, axis=0))


def test_engines_that_cannot_be() -> None:
    for name, address, message in (
        ("spark", None, "--engine is 'spark'; expected one of local, ray"),
        ("local", "auto", "--address 'auto' is the address of a Ray cluster"),
    ):
        with pytest.raises(ConfigError, match=message), open_engine(name, address):
            pass
