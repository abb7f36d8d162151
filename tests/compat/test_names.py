"""Arguments, their order and defaults, and members are those of the original."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from spinlock.compat import vector_quantize_pytorch as ours

KINDS = ["VectorQuantize", "ResidualVQ", "GroupedResidualVQ"]
# A step of an optimizer that is refused, and a helper of forward.
LEFT_OUT = {"update_in_place_optimizer", "maybe_split_heads_from_input"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["__init__", "forward"])
def test_calls_take_the_same_arguments(peer: Any, kind: str, method: str) -> None:
    original = inspect.signature(getattr(getattr(peer, kind), method)).parameters
    found = inspect.signature(getattr(getattr(ours, kind), method)).parameters
    assert [n for n in found if n in original] == list(original)
    for name, parameter in original.items():
        assert found[name].kind is parameter.kind, name
        assert (found[name].default or None) == (parameter.default or None), name


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_there(peer: Any, kind: str) -> None:
    members = {name for name in vars(getattr(peer, kind)) if not name.startswith("__")}
    missing = {name for name in members if not hasattr(getattr(ours, kind), name)}
    assert missing <= LEFT_OUT
