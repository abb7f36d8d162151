"""Data sets: damaged, foreign, hostile, or of a kind that no model can use."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bad_inputs.registry import Bomb, World, analyze, case


def _data(name: str, file: str, content: bytes | Callable[[Path], None], word: str = "") -> None:
    @case(f"data: {name}", 1, word or file)
    def make(world: World) -> list[str]:
        path = world.path(file)
        content(path) if callable(content) else path.write_bytes(content)
        return analyze(world, file)


def _npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00v\x00"
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (300000, 1000), }"
        with archive.open("features.npy", "w", force_zip64=True) as member:
            member.write(header + text.ljust(117).encode() + b"\n")
            for _ in range(401):
                member.write(b"\0" * 3_000_000)


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\xf6\x00" + header.ljust(245).encode() + b"\n"


def _h5(write: Callable[[Any], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            write(file)

    return make


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(10, 2), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(10, 2))
    file.create_virtual_dataset("features/a/features", layout)


def _loop(file: Any) -> None:
    file["features/a/features"] = h5py.SoftLink("/features/a/features")


def _external(file: Any) -> None:
    file["features/a/features"] = h5py.ExternalLink("other.h5", "/x")


def _stored_elsewhere(file: Any) -> None:
    file.create_dataset("features/a/features", (4, 2), "f4", external=[("secret.txt", 0, 32)])


_ROWS = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
_data("objects", "x.npz", _npz(features=np.array([[Bomb(), 1.0]] * 3, dtype=object)), "pickled")
_data("pickle as npy", "x.npy", pickle.dumps(Bomb()))
_data("text features", "x.npz", _npz(features=np.array([["a", "b"]])), "text")
_data("dates", "x.npz", _npz(features=np.zeros((3, 2), "M8[s]")), "dates")
_data("complex numbers", "x.npz", _npz(features=np.ones((3, 2), complex)), "complex")
_data("no rows", "x.npz", _npz(features=np.zeros((0, 4))), "empty")
_data("one row", "x.npz", _npz(features=_ROWS[:1]), "at least 2")
_data("five axes", "x.npz", _npz(features=np.zeros((2, 2, 2, 2, 2))), "shape")
_data("nothing but NaN", "x.npz", _npz(features=np.full((30, 3), np.nan)), "finite value")
_data("constants", "x.npz", _npz(features=np.ones((30, 3))), "variance")
_data("labels of another length", "x.npz", _npz(features=_ROWS, labels=np.arange(3)), "labels")
_data("names of another length", "x.npz", _npz(features=_ROWS, feature_names=["a"]), "name")
_data("one name twice", "x.npz", _npz(features=_ROWS, feature_names=list("abca")), "unique")
_data("families of other lengths", "x.npz", _npz(a=_ROWS, b=_ROWS[:5]), "disagree")
_data("decompression bomb", "x.npz", _bomb, "bomb")
_data("no archive", "x.npz", b"hello")
_data("absurd npy header", "x.npy", _npy("(1099511627776, 1099511627776)"))
_data("code in an npy header", "x.npy", _npy("__import__('os').system('touch code-was-run')"))
_data("HDF5 external link", "x.h5", _h5(_external), "external link")
_data("HDF5 virtual data set", "x.h5", _h5(_virtual), "virtual")
_data("HDF5 link loop", "x.h5", _h5(_loop), "links")
_data("HDF5 external storage", "x.h5", _h5(_stored_elsewhere), "external files")
_data("no HDF5", "x.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50)
_data("no Parquet", "x.parquet", b"PAR1 and more PAR1")
_data("empty CSV", "x.csv", b"", "empty")
_data("CSV without rows", "x.csv", b"a,b\n", "empty")
_data("CSV without names", "x.csv", b"1,2\n3,4\n", "names of the columns")
_data("ragged CSV", "x.csv", b"a,b\n1,2\n3\n", "Expected 2 columns")
_data("CSV of text", "x.csv", b"a,name\n1,x\n2,y\n", "text: name")
_data("CSV in UTF-16", "x.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16")
_data("damaged gzip", "x.csv.gz", gzip.compress(b"a,b\n1,2\n" * 500, mtime=0)[:-9])
_data("unknown format", "x.xlsx", b"PK", "xlsx")
_ESCAPE = _npz(features=_ROWS, feature_names=["a\x1b[31m", *"bcd"])
_data("control characters in a name", "x.npz", _ESCAPE, "control")


@case("data: FIFO", 1, "not a regular file")
def _fifo(world: World) -> list[str]:
    os.mkfifo(world.path("x.npz"))
    return analyze(world, "x.npz")


@case("data: device", 1, "extension")
def _device(world: World) -> list[str]:
    return analyze(world, "/dev/zero")


@case("data: pattern without a match", 1, "no file matches")
def _pattern(world: World) -> list[str]:
    return analyze(world, "none-*.npz")


@case("data: folder of several formats", 1, "of one format")
def _mixed(world: World) -> list[str]:
    world.path("mixed").mkdir()
    np.save(world.path("mixed/a.npy"), _ROWS)
    np.savez(world.path("mixed/b.npz"), features=_ROWS)
    return analyze(world, "mixed")


@case("data: other columns to encode", 1, "missing")
def _other_columns(world: World) -> list[str]:
    np.savez(world.path("other.npz"), features=_ROWS)
    return ["encode", "run", "other.npz", "-o", "t.npz"]
