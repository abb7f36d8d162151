"""Data sets to token files and back: columns by name, contracts, all or nothing."""

import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray

from spinlock.data import load_table
from spinlock.errors import ConfigError, DataError, SpinlockError
from spinlock.tokens import output as output_module
from spinlock.tokens.codec import Codec
from spinlock.tokens.encoding import decode_tokens, encode_dataset
from spinlock.tokens.files import open_tokens
from token_models import Trained


def stored(path: Path) -> NDArray[Any]:
    with open_tokens(path) as file:
        return np.concatenate(list(file.blocks()))


def as_parquet(trained: Trained, path: Path, **columns: Any) -> Path:
    names = trained.saved.preprocessing.names
    table = pa.table({name: trained.rows[:, i] for i, name in enumerate(names)} | columns)
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_file_holds_what_the_codec_gives(trained: Trained, tmp_path: Path, ending: str) -> None:
    seen: list[tuple[int, int | None]] = []
    written = encode_dataset(
        trained.saved,
        trained.data,
        tmp_path / f"t{ending}",
        lambda done, total: seen.append((done, total)),
        block_rows=128,
    )
    assert (written.rows, written.columns) == (600, 6)
    assert (written.reordered, written.ignored, written.labels) == (False, (), False)
    np.testing.assert_array_equal(stored(written.path), Codec(trained.saved).encode(trained.rows))
    assert seen == [(128, 600), (256, 600), (384, 600), (512, 600), (600, 600)]
    with open_tokens(written.path) as file:
        assert file.contract == trained.saved.contract


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
def test_there_and_back(trained: Trained, tmp_path: Path, ending: str) -> None:
    tokens = encode_dataset(trained.saved, trained.data, tmp_path / "t.npz", labels=True)
    written = decode_tokens(trained.saved, tokens.path, tmp_path / f"x{ending}", block_rows=128)
    table = load_table(written.path)
    codec = Codec(trained.saved)
    order = [table.names.index(name) for name in codec.names]
    np.testing.assert_array_equal(table.features[:, order], codec.decode(stored(tokens.path)))
    np.testing.assert_array_equal(table.labels, np.arange(600) % 3)
    assert written.labels
    # What was decoded encodes: a data set of the same schema.
    again = encode_dataset(trained.saved, written.path, tmp_path / "again.npz")
    assert again.rows == 600


def test_reordered_columns_are_put_right(trained: Trained, tmp_path: Path) -> None:
    path = as_parquet(trained, tmp_path / "x.parquet")
    table = parquet.read_table(path)
    shuffled = np.random.default_rng(0).permutation(table.num_columns)
    parquet.write_table(table.select([table.column_names[i] for i in shuffled]), path)
    written = encode_dataset(trained.saved, path, tmp_path / "t.npz")
    assert written.reordered
    np.testing.assert_array_equal(stored(written.path), Codec(trained.saved).encode(trained.rows))


def test_missing_and_extra_columns_are_named(trained: Trained, tmp_path: Path) -> None:
    path = as_parquet(trained, tmp_path / "x.parquet", **{"shape::new": np.zeros(600)})
    with pytest.raises(DataError, match=r"1 column was not expected: shape::new"):
        encode_dataset(trained.saved, path, tmp_path / "t.npz")
    written = encode_dataset(trained.saved, path, tmp_path / "t.npz", ignore_extra_columns=True)
    assert written.ignored == ("shape::new",)
    np.testing.assert_array_equal(stored(written.path), Codec(trained.saved).encode(trained.rows))
    parquet.write_table(parquet.read_table(path).drop_columns(["colour::colour_2"]), path)
    with pytest.raises(DataError, match=r"missing: colour::colour_2"):
        encode_dataset(trained.saved, path, tmp_path / "u.npz", ignore_extra_columns=True)
    assert not (tmp_path / "u.npz").exists()


def test_columns_of_another_type_are_named(trained: Trained, tmp_path: Path) -> None:
    path = as_parquet(trained, tmp_path / "x.parquet")
    table = parquet.read_table(path)
    name = table.column_names[2]
    parquet.write_table(table.set_column(2, name, pa.array(["red"] * 600)), path)
    with pytest.raises(DataError, match=rf"text: {name}"):
        encode_dataset(trained.saved, path, tmp_path / "t.npz")


def test_integers_are_numbers_too(trained: Trained, tmp_path: Path) -> None:
    rows = np.nan_to_num(trained.rows, posinf=0).round()
    whole = Trained(trained.folder, trained.saved, trained.data, rows.astype(np.int64))
    path = as_parquet(whole, tmp_path / "x.parquet")
    written = encode_dataset(trained.saved, path, tmp_path / "t.npz")
    np.testing.assert_array_equal(stored(written.path), Codec(trained.saved).encode(rows))


def test_tokens_of_another_model_are_refused(
    trained: Trained, other: Trained, tmp_path: Path
) -> None:
    tokens = encode_dataset(trained.saved, trained.data, tmp_path / "t.npz").path
    with pytest.raises(DataError) as caught:
        decode_tokens(other.saved, tokens, tmp_path / "x.npz")
    message = str(caught.value)
    assert str(tokens) in message
    assert str(other.folder) in message
    assert "codebook_hash" in message
    assert "schema_fingerprint" not in message
    assert not (tmp_path / "x.npz").exists()


def test_labels_are_asked_for_and_there(trained: Trained, tmp_path: Path) -> None:
    path = as_parquet(trained, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="holds no labels"):
        encode_dataset(trained.saved, path, tmp_path / "t.npz", labels=True)
    encode_dataset(trained.saved, trained.data, tmp_path / "t.parquet", labels=True)
    with open_tokens(tmp_path / "t.parquet") as file:
        np.testing.assert_array_equal(file.labels(), np.arange(600) % 3)


def dataset_of(trained: Trained, rows: int, promised: int | None = None) -> Any:
    """A data set that repeats the rows without holding them."""
    names = trained.saved.preprocessing.names

    def blocks(size: int = 65_536) -> Iterator[NDArray[np.float32]]:
        for start in range(0, rows, size):
            count = min(size, rows - start)
            yield np.resize(trained.rows, (count, len(names)))

    return SimpleNamespace(
        where="rows",
        names=names,
        families=(),
        num_rows=rows if promised is None else promised,
        blocks=blocks,
        labels=lambda: None,
    )


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_data_set_that_shrinks_is_refused(trained: Trained, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    encode_dataset(trained.saved, trained.data, path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"gave 500 rows, not the 600"):
        encode_dataset(trained.saved, dataset_of(trained, 500, 600), path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_memory_does_not_grow_with_the_rows(trained: Trained, tmp_path: Path, ending: str) -> None:
    def peak(rows: int) -> int:
        data = dataset_of(trained, rows)
        tracemalloc.start()
        try:
            encode_dataset(trained.saved, data, tmp_path / f"t{ending}", overwrite=True)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(80_000)  # what the first call imports is not counted
    assert peak(240_000) < 1.1 * peak(80_000)


def test_what_is_there_is_not_replaced_unasked(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"exists already.*--overwrite"):
        encode_dataset(trained.saved, trained.data, path)
    assert path.read_text() == "mine"
    encode_dataset(trained.saved, trained.data, path, overwrite=True)
    assert len(stored(path)) == 600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.npy", "an .npy file has no room for the token contract"),
        ("t", "got none"),
        ("t.csv", r"ends in .npz or .parquet, got '.csv'"),
        ("missing/t.npz", "does not exist; make it first"),
        ("folder.npz", "is a folder"),
        ("data.npz", "is the file that is read"),
    ],
)
def test_outputs_that_cannot_be(trained: Trained, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ConfigError, match=message):
        encode_dataset(trained.saved, trained.data, tmp_path / name, overwrite=True)
    assert not (tmp_path / "t.npy").exists()


def test_a_link_is_followed(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "t.npz").write_text("old")
    (tmp_path / "t.npz").symlink_to(tmp_path / "disk" / "t.npz")
    encode_dataset(trained.saved, trained.data, tmp_path / "t.npz", overwrite=True)
    assert (tmp_path / "t.npz").is_symlink()
    assert len(stored(tmp_path / "disk" / "t.npz")) == 600


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"could not write .*Permission denied"):
        encode_dataset(trained.saved, trained.data, folder / "t.npz")


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
@pytest.mark.parametrize("moment", ["write", "close", "fsync"])
def test_a_full_disk_leaves_what_was_there(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, moment: str
) -> None:
    tokens = encode_dataset(trained.saved, trained.data, tmp_path / "t.npz").path
    path = tmp_path / f"out{ending}"

    def work(**options: Any) -> None:
        if ending == ".csv":
            decode_tokens(trained.saved, tokens, path, **options)
        else:
            encode_dataset(trained.saved, trained.data, path, **options)

    work()
    before = path.read_bytes()
    names = sorted(p.name for p in tmp_path.iterdir())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    writer: Callable[..., Any] = {
        ".npz": output_module.NpzRows,
        ".parquet": output_module.ParquetRows,
        ".csv": output_module.CsvRows,
    }[ending]
    monkeypatch.setattr(*((os, "fsync") if moment == "fsync" else (writer, moment)), full)
    with pytest.raises(SpinlockError, match=r"No space left on device.*untouched") as caught:
        work(overwrite=True)
    assert str(path) in str(caught.value)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_missing_values_are_empty_fields(tmp_path: Path) -> None:
    writer = output_module.CsvRows(tmp_path / "x.csv", ["a::x", 'a::"y",z'])
    writer.write(np.array([[0.1, np.nan], [1e-20, 3.0]], np.float32))
    writer.close()
    assert (tmp_path / "x.csv").read_text() == 'a::x,"a::""y"",z"\n0.1,\n1e-20,3.0\n'


def test_parquet_without_pyarrow_is_one_message(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'spinlock-vq\[parquet\]'"):
        encode_dataset(trained.saved, trained.data, tmp_path / "t.parquet")
    assert not list(tmp_path.glob(".*"))
