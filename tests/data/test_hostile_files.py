"""Data sets that are damaged, absurd or made to do harm: one readable DataError each."""

import io
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinlock.data import FeatureTable, load_table, sources
from spinlock.errors import DataError

MATRIX = np.arange(200.0).reshape(50, 4)
Writer = Callable[[Path], None]


def refusal(path: Path, families: Any = None, **options: Any) -> str:
    """The one message that a data set gets."""
    with pytest.raises(DataError) as caught:
        load_table(path, families, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 1000
    return message


def npy_bytes(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def lying_npy(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"") -> bytes:
    """A .npy whose header promises what the data do not hold."""
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


def npz_of(**arrays: Any) -> Writer:
    return lambda path: np.savez(path, **arrays)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Writer:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return write


class Boom:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("code from a data file was run",))


PICKLED = np.array([Boom()], dtype=object)

NPZ: dict[str, tuple[Writer, str]] = {
    "no zip": (lambda p: p.write_bytes(b"hello") and None, "cannot be read as an .npz archive"),
    "empty file": (lambda p: p.write_bytes(b"") and None, "cannot be read"),
    "empty archive": (zip_of({}), "no families"),
    "objects": (npz_of(features=PICKLED), "array 'features' .* pickled"),
    "object names": (
        npz_of(features=MATRIX, feature_names=np.array(["a", "b", "c", "d"], dtype=object)),
        "array 'feature_names' .* dtype=str",
    ),
    "object labels": (npz_of(features=MATRIX, labels=PICKLED), "array 'labels'"),
    "text": (npz_of(features=np.array([["a"]])), "holds text"),
    "complex": (npz_of(features=MATRIX * 1j), "complex"),
    "records": (npz_of(features=np.zeros((3, 2), "f4,f4")), "records"),
    "dates": (npz_of(when=np.zeros((3, 2), "M8[D]")), "array 'when' .*dates"),
    "one dimension": (npz_of(area=MATRIX[:, 0], b=MATRIX), r"'area' .*\[50\].*Reshape"),
    "four dimensions": (npz_of(features=np.zeros((2, 2, 2, 2))), "needs"),
    "scalar": (npz_of(features=3.0), r"shape \[\]"),
    "no rows": (npz_of(features=np.zeros((0, 4))), r"empty: shape \[0, 4\]"),
    "no columns": (npz_of(features=np.zeros((4, 0))), "empty"),
    "no steps": (npz_of(a=np.zeros((4, 0, 2))), "empty"),
    "rows disagree": (npz_of(a=MATRIX, b=MATRIX[:49]), "a has 50, b has 49"),
    "too few names": (npz_of(features=MATRIX, feature_names=["a"]), r"shape \[1\]; expected one"),
    "numbers as names": (npz_of(features=MATRIX, feature_names=[1, 2, 3, 4]), "dtype=str"),
    "names not UTF-8": (npz_of(features=MATRIX, feature_names=[b"\xff"] * 4), "UTF-8"),
    "same names": (npz_of(features=MATRIX, feature_names=["a"] * 4), "unique.*features::a"),
    "escape codes": (npz_of(features=MATRIX[:, :1], feature_names=["\x1b[2J"]), "control"),
    "escape codes in arrays": (npz_of(**{"a\x1b[2J": MATRIX}), r"\\x1b"),
    "too few labels": (npz_of(features=MATRIX, labels=[1, 2]), r"labels .*\[2\].*\[50\]"),
    "wide labels": (npz_of(features=MATRIX, labels=MATRIX), "labels"),
    "sizes do not add up": (npz_of(features=MATRIX, category_sizes=[1, 2]), "adds up to 3"),
    "negative sizes": (npz_of(features=MATRIX, category_sizes=[5, -1]), "positive"),
    "overflowing sizes": (
        npz_of(features=MATRIX, category_sizes=np.array([2**63, 2**63, 4], dtype="u8")),
        "adds up to 18446744073709551620",
    ),
    "fractional sizes": (npz_of(features=MATRIX, category_sizes=[2.0, 2.0]), "integers"),
    "absurd shape": (zip_of({"features.npy": lying_npy((1 << 62, 1 << 62))}), "ends early"),
    "negative shape": (zip_of({"features.npy": lying_npy((-4, -4))}), "ends early"),
    "short data": (zip_of({"features.npy": lying_npy((4, 4), data=bytes(63))}), "ends early"),
    "no array": (zip_of({"features.npy": b"nonsense"}), "array 'features'"),
    "code in the header": (
        zip_of({"features.npy": lying_npy((2,)).replace(b"(2,)", b"f()")}),
        "array 'features'",
    ),
    "a million columns": (
        zip_of({"features.npy": npy_bytes(np.zeros((1, 1_000_001), "i1"))}),
        "1,000,001 columns",
    ),
    "other compression": (
        zip_of({"features.npy": npy_bytes(MATRIX)}, zipfile.ZIP_BZIP2),
        "zip method 12",
    ),
}


@pytest.mark.parametrize("case", NPZ)
def test_bad_npz_files(case: str, tmp_path: Path) -> None:
    write, expected = NPZ[case]
    write(tmp_path / "bad.npz")
    message = refusal(tmp_path / "bad.npz")
    assert re.search(expected, message), message


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
    "registry is null": (write_hdf5(with_registry(h5py.Empty("f4"))), "gives no feature names"),
    "registry not UTF-8": (write_hdf5(with_registry(np.bytes_(b"[\xff]"))), "feature_registry"),
    "registry too deep": (write_hdf5(with_registry("[" * 60_000)), "feature_registry"),
    "registry of truths": (
        write_hdf5(with_registry('{"a": 1, "b": true, "c": 2, "d": 3}')),
        "gives no feature names",
    ),
}


@pytest.mark.parametrize("case", HDF5)
def test_bad_hdf5_files(case: str, tmp_path: Path) -> None:
    write, expected = HDF5[case]
    write(tmp_path / "bad.h5")
    message = refusal(tmp_path / "bad.h5")
    assert re.search(expected, message), message


def test_a_path_that_leads_out_of_an_hdf5_file_is_refused(tmp_path: Path) -> None:
    write_hdf5(set_path("link", h5py.ExternalLink("other.h5", "/")))(tmp_path / "bad.h5")
    assert "external link" in refusal(tmp_path / "bad.h5", {"x": {"path": "/link/x"}})


def test_missing_families_and_paths_list_what_there_is(tmp_path: Path) -> None:
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


def test_missing_and_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no such file (looked in {tmp_path})" in refusal(Path("none.npz"))
    assert "no such file." in refusal(tmp_path / "none.npz")
    assert "known: .npz, .npy, .h5, .hdf5" in refusal(Path("table.xlsx"))
    assert "builtin:<name>" in refusal(Path("table"))
    (tmp_path / "folder.npz").mkdir()
    assert "not a regular file" in refusal(tmp_path / "folder.npz")
    os.mkfifo(tmp_path / "pipe.npy")
    assert "not a regular file" in refusal(tmp_path / "pipe.npy")
    for name in ("x" * 5000 + ".npy", "x\0.npy", "~nobody-of-that-name/x.npy"):
        with pytest.raises(DataError, match=r"cannot be opened|no such file"):
            load_table(name)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", MATRIX)
    np.savez(tmp_path / "x.npz", features=MATRIX)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("io.open", refuse)
    assert "Permission denied" in refusal(tmp_path / "x.npz")
    monkeypatch.setattr(Path, "open", refuse)
    assert "Permission denied" in refusal(tmp_path / "x.npy")


def test_a_decompression_bomb_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "UNQUESTIONED_BYTES", 1 << 20)
    for shape, refused in (((1 << 15, 16), False), ((1 << 15, 128), True)):
        np.savez_compressed(tmp_path / "x.npz", features=np.zeros(shape, "i1"))
        if refused:
            assert "decompression bomb" in refusal(tmp_path / "x.npz")
        else:
            assert load_table(tmp_path / "x.npz").features.shape == shape


@pytest.mark.parametrize("max_samples", [0, -1])
def test_max_samples_must_be_positive(max_samples: int) -> None:
    assert "max_samples" in refusal(Path("builtin:digits"), max_samples=max_samples)


def test_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", features=MATRIX)
    monkeypatch.setattr(sources, "physical_memory", lambda: 100)
    assert "set max_samples" in refusal(tmp_path / "x.npz")
    assert load_table(tmp_path / "x.npz", max_samples=5).num_rows == 5


def test_a_file_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, MATRIX)

    def shrink(num_rows: int, _size: int, _seed: int) -> Any:
        os.truncate(path, path.stat().st_size - 8)
        return np.arange(num_rows - 1)

    monkeypatch.setattr("spinlock.data.readers.sample_rows", shrink)
    assert "ends early" in refusal(path, max_samples=10)


@pytest.mark.parametrize("extension", ["npz", "npy", "h5"])
def test_truncated_files(extension: str, tmp_path: Path) -> None:
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


def try_to_load(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with warnings.catch_warnings():
        # numpy warns about headers that Python 2 might have written.
        warnings.simplefilter("ignore", UserWarning)
        with suppress(DataError):
            assert isinstance(load_table(path), FeatureTable)


FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
changes = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4)


@FUZZ
@given(changes)
def test_any_damage_to_a_numpy_file_is_survived(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(npy_bytes(np.arange(12.0).reshape(4, 3)))
    for position, flip in changes:
        content[position % len(content)] ^= flip
    try_to_load(tmp_path / "x.npy", bytes(content))


@FUZZ
@given(changes)
def test_any_damage_to_an_archive_is_survived(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, features=np.arange(12.0).reshape(4, 3), labels=[1, 2, 3, 4])
    content = bytearray(stream.getvalue())
    for position, flip in changes:
        content[position % len(content)] ^= flip
    try_to_load(tmp_path / "x.npz", bytes(content))


@FUZZ
@given(st.text(alphabet="{}[]()'\",:<>|fi48OU+-0123456789 TrueshapdcN\\\n", max_size=80))
def test_any_header_is_survived(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)
    try_to_load(tmp_path / "x.npy", content)
