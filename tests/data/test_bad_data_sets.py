"""Data sets that are missing, foreign, truncated or too large: one readable DataError each."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spinlock.data import load_table, sources
from spinlock.errors import DataError

MATRIX = np.arange(200.0).reshape(50, 4)
Refusal = Callable[..., str]


def test_missing_families_and_paths_list_what_there_is(refusal: Refusal, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", shape=MATRIX, colour=MATRIX)
    assert "did you mean 'shape'" in refusal(tmp_path / "x.npz", {"shap": None})
    assert "it holds: shape, colour" in refusal(tmp_path / "x.npz", {"a": {"path": "b"}})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["features/shape/features"] = MATRIX
    assert "It offers: shape" in refusal(tmp_path / "x.h5", {"colour": None})
    assert "families under /features: shape" in refusal(tmp_path / "x.h5", {"a": {"path": "b"}})
    np.save(tmp_path / "x.npy", MATRIX)
    assert "It offers: features" in refusal(tmp_path / "x.npy", {"colour": None})
    assert "single array" in refusal(tmp_path / "x.npy", {"a": {"path": "b"}})


def test_missing_and_foreign_files(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no such file (looked in {tmp_path})" in refusal(Path("none.npz"))
    assert "no such file." in refusal(tmp_path / "none.npz")
    assert "known: .npz, .npy, .h5, .hdf5" in refusal(Path("table.xlsx"))
    assert "builtin:<name>" in refusal(Path("table"))
    (tmp_path / "folder.npz").mkdir()
    assert "folder with no data files" in refusal(tmp_path / "folder.npz")
    os.mkfifo(tmp_path / "pipe.npy")
    assert "not a regular file" in refusal(tmp_path / "pipe.npy")
    for name in ("x" * 5000 + ".npy", "x\0.npy", "~nobody-of-that-name/x.npy"):
        with pytest.raises(DataError, match=r"cannot be opened|no such file"):
            load_table(name)


def test_unreadable_files(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", MATRIX)
    np.savez(tmp_path / "x.npz", features=MATRIX)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.open", refuse)
    assert "Permission denied" in refusal(tmp_path / "x.npz")
    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(tmp_path / "x.npy")


def test_a_decompression_bomb_is_not_unpacked(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "UNQUESTIONED_BYTES", 1 << 20)
    for shape, refused in (((1 << 15, 16), False), ((1 << 15, 128), True)):
        np.savez_compressed(tmp_path / "x.npz", features=np.zeros(shape, "i1"))
        if refused:
            assert "decompression bomb" in refusal(tmp_path / "x.npz")
        else:
            assert load_table(tmp_path / "x.npz").features.shape == shape


@pytest.mark.parametrize("max_samples", [0, -1])
def test_max_samples_must_be_positive(refusal: Refusal, max_samples: int) -> None:
    assert "max_samples" in refusal(Path("builtin:digits"), max_samples=max_samples)


def test_more_than_the_memory_is_refused(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", features=MATRIX)
    monkeypatch.setattr(sources, "physical_memory", lambda: 100)
    assert "set max_samples" in refusal(tmp_path / "x.npz")
    assert load_table(tmp_path / "x.npz", max_samples=5).num_rows == 5


def test_a_file_that_shrinks_while_it_is_read(
    refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, MATRIX)

    def shrink(num_rows: int, _size: int, _seed: int) -> Any:
        os.truncate(path, path.stat().st_size - 8)
        return np.arange(num_rows - 1)

    monkeypatch.setattr("spinlock.data.readers.sample_rows", shrink)
    assert "changed while it was read" in refusal(path, max_samples=10)


@pytest.mark.parametrize("extension", ["npz", "npy", "h5"])
def test_truncated_files(refusal: Refusal, extension: str, tmp_path: Path) -> None:
    """Cut anywhere, a file is refused, or (cut in what is not needed) read correctly."""
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    if extension == "npz":
        np.savez_compressed(whole, features=MATRIX, feature_names=list("abcd"))
    elif extension == "npy":
        np.save(whole, MATRIX)
    else:
        with h5py.File(whole, "w") as file:
            file.create_dataset("features/x/features", data=MATRIX, compression="gzip")
    content = whole.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 60)):
        cut.write_bytes(content[:length])
        assert str(cut) in refusal(cut)
