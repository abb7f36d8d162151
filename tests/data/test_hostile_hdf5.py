"""HDF5 files that are damaged, absurd or refer to others: one readable DataError each."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

MATRIX = np.arange(200.0).reshape(50, 4)
Writer = Callable[[Path], None]
Refusal = Callable[..., str]


def write_hdf5(fill: Callable[[Any], object]) -> Writer:
    def write(path: Path) -> None:
        with h5py.File(path.with_name("other.h5"), "w") as other:
            other["features/x/features"] = MATRIX
            other["x"] = MATRIX
        with h5py.File(path, "w") as file:
            fill(file)

    return write


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(50, 4), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(50, 4))
    file.create_virtual_dataset("features/x/features", layout)


def external_storage(file: Any) -> None:
    file.create_dataset(
        "features/x/features", shape=(5, 4), dtype="f8", external=[("other.h5", 0, 160)]
    )


def with_registry(registry: Any) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file["features/x/features"] = MATRIX
        file["features"].attrs["feature_registry"] = registry

    return fill


def set_path(path: str, value: Any) -> Callable[[Any], None]:
    def fill(file: Any) -> None:
        file[path] = value

    return fill


def reference(file: Any) -> None:
    file["x"] = MATRIX
    file.create_dataset("features/x/features", data=[[file["x"].ref]], dtype=h5py.ref_dtype)


def sparse(shape: tuple[int, ...], path: str = "features/x/features") -> Callable[[Any], None]:
    return lambda file: file.create_dataset(path, shape=shape, dtype="f4", chunks=True)


HDF5: dict[str, tuple[Writer, str]] = {
    "no HDF5": (lambda p: p.write_bytes(b"hello") and None, "cannot be read as an HDF5 file"),
    "nothing inside": (write_hdf5(lambda _: None), "no families"),
    "features is an array": (write_hdf5(set_path("features", MATRIX)), "no families"),
    "external link": (
        write_hdf5(set_path("features/x", h5py.ExternalLink("other.h5", "/features/x"))),
        "external link",
    ),
    "external link to all": (
        write_hdf5(set_path("features", h5py.ExternalLink("other.h5", "/features"))),
        "external link",
    ),
    "soft link to external link": (
        write_hdf5(
            lambda f: (
                set_path("out", h5py.ExternalLink("other.h5", "/"))(f),
                set_path("features/x/features", h5py.SoftLink("/out/x"))(f),
            )
        ),
        "external link",
    ),
    "external labels": (
        write_hdf5(
            lambda f: (
                set_path("features/x/features", MATRIX)(f),
                set_path("labels", h5py.ExternalLink("other.h5", "/x"))(f),
            )
        ),
        "'labels' .* external link",
    ),
    "link to itself": (
        write_hdf5(set_path("features/x", h5py.SoftLink("/features/x"))),
        "chain of links",
    ),
    "virtual data set": (write_hdf5(virtual), "virtual"),
    "external storage": (write_hdf5(external_storage), "external files"),
    "references": (write_hdf5(reference), "references"),
    "text": (write_hdf5(set_path("features/x/features", [["a"]])), "holds text"),
    "null": (write_hdf5(set_path("features/x/features", h5py.Empty("f4"))), r"shape \[\]"),
    "one dimension": (write_hdf5(set_path("features/x/features", MATRIX[:, 0])), r"\[50\]"),
    "no rows": (write_hdf5(set_path("features/x/features", MATRIX[:0])), "empty"),
    "rows disagree": (
        write_hdf5(
            lambda f: (
                set_path("features/a/features", MATRIX)(f),
                set_path("features/b/aggregated/features", MATRIX[1:])(f),
            )
        ),
        "a has 50, b has 49",
    ),
    "huge and empty": (write_hdf5(sparse((1 << 40, 1 << 10))), "decompression bomb"),
    "wide and empty": (write_hdf5(sparse((1, 1 << 27))), "columns"),
    "huge labels": (
        write_hdf5(
            lambda f: (sparse((50, 4))(f), sparse((1 << 50,), "labels")(f)),
        ),
        "labels.*decompression bomb",
    ),
    "too few names": (write_hdf5(with_registry('["a"]')), "lists 1 names.*4 columns"),
    "registry is no JSON": (write_hdf5(with_registry('["a"')), "feature_registry.*names"),
    "registry is a number": (write_hdf5(with_registry(7)), "gives no feature names"),
    "registry of objects": (write_hdf5(with_registry('[{"id": 1}]')), "gives no feature names"),
    "registry repeats an index": (
        write_hdf5(with_registry('{"a": 1, "b": 0, "c": 2, "d": 1}')),
        "gives one index to several features",
    ),
    "registry objects repeat an index": (
        write_hdf5(with_registry('[{"name": "a", "index": 3}, {"name": "b", "index": 3}]')),
        "gives one index to several features",
    ),
    "registry is null": (write_hdf5(with_registry(h5py.Empty("f4"))), "gives no feature names"),
    "registry not UTF-8": (write_hdf5(with_registry(np.bytes_(b"[\xff]"))), "feature_registry"),
    "registry too deep": (write_hdf5(with_registry("[" * 60_000)), "feature_registry"),
    "registry of truths": (
        write_hdf5(with_registry('{"a": 1, "b": true, "c": 2, "d": 3}')),
        "gives no feature names",
    ),
}


@pytest.mark.parametrize("case", HDF5)
def test_bad_hdf5_files(refusal: Refusal, case: str, tmp_path: Path) -> None:
    write, expected = HDF5[case]
    write(tmp_path / "bad.h5")
    message = refusal(tmp_path / "bad.h5")
    assert re.search(expected, message), message


def test_a_path_that_leads_out_of_an_hdf5_file_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    write_hdf5(set_path("link", h5py.ExternalLink("other.h5", "/")))(tmp_path / "bad.h5")
    assert "external link" in refusal(tmp_path / "bad.h5", {"x": {"path": "/link/x"}})
