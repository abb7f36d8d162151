"""Peak memory of one call."""

import sys
from pathlib import Path

import pytest
import torch

from bench.measure import memory
from bench.measure.memory import peak_bytes, settle_allocator, unknown_because

MIB = 1 << 20
known = pytest.mark.skipif(unknown_because() is not None, reason=str(unknown_because()))


def _temporary(mib: int) -> None:
    torch.ones(mib * MIB // 4)


@known
def test_a_temporary_is_seen_every_time() -> None:
    for _ in range(3):
        peak = peak_bytes(lambda: _temporary(64))
        assert peak is not None
        assert 60 * MIB < peak < 80 * MIB


@known
def test_blocks_in_turn_count_once_and_together_twice() -> None:
    def in_turn() -> None:
        _temporary(24)
        _temporary(24)

    def together() -> torch.Tensor:
        return torch.ones(6 * MIB) + torch.ones(6 * MIB)

    one, three = peak_bytes(in_turn), peak_bytes(together)
    assert one is not None
    assert three is not None
    assert 22 * MIB < one < 36 * MIB
    assert 70 * MIB < three < 84 * MIB


@known
def test_holes_of_the_heap_change_nothing() -> None:
    settle_allocator()
    blocks = [torch.ones(4 * MIB) for _ in range(24)]
    del blocks[::2]
    for mib in (2, 6, 12):
        peak = peak_bytes(lambda mib=mib: (_temporary(mib), _temporary(mib)))
        assert peak is not None
        assert (mib - 1) * MIB < peak < (mib + 4) * MIB
    assert all(bool((block == 1.0).all()) for block in blocks)


@known
def test_what_was_held_before_does_not_count() -> None:
    settle_allocator()
    held = torch.ones(16 * MIB)
    peak = peak_bytes(lambda: held.add_(1.0))
    assert peak is not None
    assert peak < 8 * MIB


@known
def test_an_exception_goes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        peak_bytes(lambda: 1 // 0)
    assert peak_bytes(lambda: None) is not None


def test_what_cannot_be_known_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert peak_bytes(lambda: None, "meta") is None
    assert "meta" in str(unknown_because("meta"))
    if not torch.cuda.is_available():
        assert peak_bytes(lambda: None, "cuda") is None
        assert unknown_because("cuda") == "torch sees no CUDA device"
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "clear_refs")
    assert peak_bytes(lambda: None) is None
    if sys.platform.startswith("linux"):
        assert "clear_refs" in str(unknown_because())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_temporary_on_the_device_is_seen() -> None:
    peak = peak_bytes(lambda: torch.ones(16 * MIB, device="cuda"), "cuda")
    assert peak is not None
    assert 60 * MIB < peak < 80 * MIB
