"""Token files: what is written comes back by blocks; what is damaged, foreign or false is named."""

import json
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray

from spinlock.errors import DataError
from spinlock.tokens.files import open_tokens, token_writer
from spinlock.vqvae.contract import TokenContract

CONTRACT = TokenContract("a" * 64, "b" * 64, ("shape/L0", "shape/L1", "<ü/L0"), (300, 16, 5))
TOKENS = np.random.default_rng(0).integers(0, CONTRACT.codebook_sizes, (1000, 3)).astype(np.uint16)

Edit = Callable[[dict[str, Any]], None]


def written(folder: Path, ending: str, labels: NDArray[Any] | None = None, step: int = 37) -> Path:
    path = folder / f"tokens{ending}"
    with token_writer(path, CONTRACT, len(TOKENS), labels) as write:
        for start in range(0, len(TOKENS), step):
            write(TOKENS[start : start + step])
    return path


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".NPZ"])
@pytest.mark.parametrize("rows", [1, 64, 999, 5000])
def test_tokens_come_back_in_blocks(tmp_path: Path, ending: str, rows: int) -> None:
    with open_tokens(written(tmp_path, ending)) as file:
        assert file.contract == CONTRACT
        assert file.num_rows == 1000
        assert file.labels() is None
        blocks = list(file.blocks(rows))
        assert max(map(len, blocks)) <= rows
        np.testing.assert_array_equal(np.concatenate(blocks), TOKENS)
        np.testing.assert_array_equal(np.concatenate(list(file.blocks(rows))), TOKENS)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize(
    "labels", [np.arange(1000) % 7, np.array(["cat", "dog"] * 500), np.linspace(0, 1, 1000)]
)
def test_labels_come_back(tmp_path: Path, ending: str, labels: NDArray[Any]) -> None:
    with open_tokens(written(tmp_path, ending, labels)) as file:
        np.testing.assert_array_equal(file.labels(), labels)
        np.testing.assert_array_equal(np.concatenate(list(file.blocks())), TOKENS)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_file_without_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"empty{ending}"
    with token_writer(path, CONTRACT, 0):
        pass
    with open_tokens(path) as file:
        assert file.num_rows == 0
        assert sum(map(len, file.blocks())) == 0


def test_numpy_reads_the_archive(tmp_path: Path) -> None:
    with np.load(written(tmp_path, ".npz", np.arange(1000)), allow_pickle=False) as archive:
        assert archive["tokens"].dtype == np.uint16
        np.testing.assert_array_equal(archive["tokens"], TOKENS)
        assert tuple(archive["quantizers"]) == CONTRACT.quantizers
        assert json.loads(archive["contract"].item()) == CONTRACT.to_dict()
        assert archive["labels"].shape == (1000,)


def test_the_table_has_a_small_column_per_quantizer(tmp_path: Path) -> None:
    table = parquet.read_table(written(tmp_path, ".parquet", np.arange(1000)))
    assert table.column_names == [*CONTRACT.quantizers, "label"]
    assert [str(t) for t in table.schema.types[:3]] == ["uint16", "uint8", "uint8"]
    np.testing.assert_array_equal(table["shape/L1"].to_numpy(), TOKENS[:, 1])


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_equal_tokens_give_equal_files(tmp_path: Path, ending: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = written(tmp_path / "a", ending), written(tmp_path / "b", ending, step=500)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize("count", [999, 1001])
def test_another_number_of_rows_leaves_what_was_there(
    tmp_path: Path, ending: str, count: int
) -> None:
    path = written(tmp_path, ending)
    before = path.read_bytes()
    with (
        pytest.raises(DataError, match=rf"gave 1,000 rows, not the {count:,}"),
        token_writer(path, CONTRACT, count) as write,
    ):
        write(TOKENS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_an_error_on_the_way_leaves_nothing(tmp_path: Path, ending: str) -> None:
    def interrupted() -> None:
        with token_writer(tmp_path / f"x{ending}", CONTRACT, 1000) as write:
            write(TOKENS[:10])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def read(path: Path) -> None:
    with open_tokens(path) as file:
        for _ in file.blocks(64):
            pass
        file.labels()


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000
    return message


def edited_npz(path: Path, edit: Edit) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    edit(arrays)
    np.savez(path, **arrays)


def edited_contract(arrays: dict[str, Any], **changes: Any) -> None:
    tree = json.loads(arrays["contract"].item())
    arrays["contract"] = np.array(json.dumps(tree | changes))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.pop("contract"), "no token contract, so that"),
        (lambda a: a.pop("tokens"), "no array 'tokens'"),
        (lambda a: a.update(contract=np.array("{")), "no JSON"),
        (lambda a: a.update(contract=np.array("[" * 100_000)), "no JSON"),
        (lambda a: a.update(contract=np.array("3")), "no token contract"),
        (lambda a: a.update(contract=np.array(3)), "'contract' is no text"),
        (lambda a: a.update(contract=np.array(["{}"] * 2)), "'contract' is no text"),
        (lambda a: edited_contract(a, codebook_hash="x"), "two SHA-256 digests"),
        (lambda a: edited_contract(a, codebook_hash=None), "two SHA-256 digests"),
        (lambda a: edited_contract(a, quantizers=["a/L0"]), "one codebook size per quantizer"),
        (lambda a: edited_contract(a, quantizers=["a", "a", "b"]), "one name"),
        (lambda a: edited_contract(a, quantizers="abc"), "one name"),
        (lambda a: edited_contract(a, codebook_sizes=[300, 16, 0]), "one codebook size"),
        (lambda a: edited_contract(a, codebook_sizes=[300, 16, True]), "one codebook size"),
        (lambda a: edited_contract(a, codebook_sizes=[300, 16, 1e9]), "one codebook size"),
        (lambda a: edited_contract(a, token_dtype="uint8"), "contradicts itself"),
        (lambda a: a.update(tokens=TOKENS[:, :2]), r"shape \[1000, 2\].*3 quantizers"),
        (lambda a: a.update(tokens=TOKENS[:, 0]), r"shape \[1000\]"),
        (lambda a: a.update(tokens=TOKENS.astype(np.float32)), "must be integers"),
        (lambda a: a.update(tokens=TOKENS.astype(str)), "must be integers"),
        (lambda a: a.update(labels=np.arange(3)), r"labels have shape \[3\]"),
    ],
)
def test_false_archives_are_named(tmp_path: Path, edit: Edit, message: str) -> None:
    path = written(tmp_path, ".npz")
    edited_npz(path, edit)
    found = refusal(path)
    assert re.search(message, found), found
    assert str(path) in found


@pytest.mark.parametrize(("value", "q"), [(300, 0), (16, 1), (65_535, 2)])
@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_a_token_out_of_range_is_named(tmp_path: Path, ending: str, value: int, q: int) -> None:
    path = written(tmp_path, ending)
    wrong = TOKENS.copy()
    wrong[777, q] = value
    if ending == ".npz":
        edited_npz(path, lambda arrays: arrays.update(tokens=wrong))
    else:
        metadata = parquet.read_schema(path).metadata
        columns = dict(zip(CONTRACT.quantizers, wrong.T, strict=True))
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    name, size = CONTRACT.quantizers[q], CONTRACT.codebook_sizes[q]
    expected = (
        f"row 777, quantizer '{name}': token {value} is out of range; its codebook has {size}"
    )
    assert expected in refusal(path)


def test_negative_tokens_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, ".npz")
    wrong = TOKENS.astype(np.int16)
    wrong[5, 1] = -1
    edited_npz(path, lambda arrays: arrays.update(tokens=wrong))
    assert "row 5, quantizer 'shape/L1': token -1" in refusal(path)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_named(tmp_path: Path, ending: str, share: float) -> None:
    path = written(tmp_path, ending)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert str(path) in refusal(path)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_flipped_bytes_are_named_or_harmless(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        broken[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        with suppress(DataError):  # nothing else may come
            read(path)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_foreign_files_are_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"hello" * 100)
    assert str(path) in refusal(path)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, ".npz")
    edited_npz(path, lambda a: a.update(tokens=np.array([[object()] * 3], dtype=object)))
    assert "pickled" in refusal(path)


def test_a_table_without_contract_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"shape/L0": [1, 2]}), path)
    assert "no token contract, so that" in refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["shape/L1"]), "no column 'shape/L1'"),
        (lambda t: t.set_column(1, "shape/L1", pa.array([0.5] * 1000)), "holds double"),
        (lambda t: t.set_column(1, "shape/L1", pa.array(["x"] * 1000)), "holds string"),
        (lambda t: t.set_column(1, "shape/L1", pa.array([None, *[1] * 999])), "missing values"),
    ],
)
def test_changed_tables_are_named(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    path = written(tmp_path, ".parquet")
    table = parquet.read_table(path)
    parquet.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)
    assert message in refusal(path)


def test_columns_in_another_order_are_found(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet")
    table = parquet.read_table(path)
    parquet.write_table(table.select(list(reversed(table.column_names))), path)
    with open_tokens(path) as file:
        np.testing.assert_array_equal(np.concatenate(list(file.blocks())), TOKENS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.npy", "an .npy file has no token contract"),
        ("x.csv", "expected what spinlock encode writes, .npz or .parquet"),
        ("missing.npz", "does not exist"),
        ("folder.npz", "is a folder"),
    ],
)
def test_what_is_no_token_file(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.npz").mkdir()
    assert message in refusal(tmp_path / name)


def test_an_archive_that_promises_too_much(tmp_path: Path) -> None:
    path = written(tmp_path, ".npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = members["tokens.npy"].replace(b"(1000, 3)", b"(9999, 3)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, header if name == "tokens.npy" else data)
    assert "ends early" in refusal(path)
