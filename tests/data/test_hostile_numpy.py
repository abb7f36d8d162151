"""Files that are damaged, absurd or made to do harm: one readable DataError each."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinlock.data import FeatureTable, load_table
from spinlock.errors import DataError

MATRIX = np.arange(200.0).reshape(50, 4)
Writer = Callable[[Path], None]
Refusal = Callable[..., str]


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
def test_bad_npz_files(refusal: Refusal, case: str, tmp_path: Path) -> None:
    write, expected = NPZ[case]
    write(tmp_path / "bad.npz")
    message = refusal(tmp_path / "bad.npz")
    assert re.search(expected, message), message


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
