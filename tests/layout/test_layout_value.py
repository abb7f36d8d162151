"""CodebookLayout as a value: equality, hashing, copies, pickles, normalised inputs."""

import copy
import dataclasses
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from spinlock.layout import CodebookLayout

relaxed = settings(deadline=None)


@given(st.from_type(CodebookLayout))
@relaxed
def test_copies_are_equal_in_every_field(layout: CodebookLayout) -> None:
    for twin in (
        copy.copy(layout),
        copy.deepcopy(layout),
        pickle.loads(pickle.dumps(layout)),
        dataclasses.replace(layout),
        eval(repr(layout)),
    ):
        assert twin == layout
        assert hash(twin) == hash(layout)
        assert dataclasses.asdict(twin) == dataclasses.asdict(layout)


def test_equal_by_its_three_inputs() -> None:
    layout = CodebookLayout((5, 3), (6, 3))
    assert layout == CodebookLayout((5, 3), (6, 3), 4)
    assert layout != CodebookLayout((5, 3), (6, 3), 8)
    assert layout != CodebookLayout((5, 3), (6, 2))
    assert layout != CodebookLayout((3, 5), (6, 3))
    assert len({layout, CodebookLayout([5, 3], [6, 3])}) == 1


@pytest.mark.parametrize(
    "integers",
    [
        [5, 3],
        (np.int32(5), np.int64(3)),
        np.array([5, 3], np.uint8),
        [np.array(5), 3],
    ],
)
def test_integers_of_any_kind_become_int(integers: list[int]) -> None:
    layout = CodebookLayout(integers, integers, np.int64(8))
    assert layout == CodebookLayout((5, 3), (5, 3), 8)
    values = (*layout.codebook_sizes, *layout.dims, layout.alignment, *layout.weight_offsets)
    assert {type(value) for value in values} == {int}


def test_ranges_are_lists_of_integers() -> None:
    assert CodebookLayout(range(1, 4), range(1, 4)).codebook_sizes == (1, 2, 3)


def test_frozen() -> None:
    layout = CodebookLayout((5,), (6,))
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.alignment = 8  # type: ignore[misc]


def test_replace_derives_again() -> None:
    layout = dataclasses.replace(CodebookLayout((5,), (6,)), alignment=1)
    assert layout.padded_dims == (6,)


def test_a_pickle_holds_inputs_only() -> None:
    small = pickle.dumps(CodebookLayout((5,), (6,)))
    assert b"weight_offsets" not in small
