"""``spinlock encode`` and ``spinlock decode`` as typed."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinlock.tokens.files import open_tokens
from token_models import train_small

RunCommand = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds data.npz, and a run in ``run``."""
    folder = tmp_path_factory.mktemp("commands")
    train_small(folder)
    return folder


def test_there_and_back(run_command: RunCommand, folder: Path, tmp_path: Path) -> None:
    ended = run_command("encode", folder / "run", folder / "data.npz", "-o", "t.npz")
    assert (ended.code, ended.err) == (0, "")
    with open_tokens(tmp_path / "t.npz") as file:
        bits, columns = file.contract.bits, len(file.contract.quantizers)
    assert ended.out == f"600 rows x {columns} tokens ({bits:.2f} bits per row, uint8): t.npz\n"
    ended = run_command("decode", folder / "run", "t.npz", "-o", "x.csv")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "600 rows x 14 columns: x.csv\n"
    header = (tmp_path / "x.csv").read_text().splitlines()[0].split(",")
    assert header[:2] == ["shape::shape_0", "shape::shape_1"]


def test_quiet_prints_the_path_alone(run_command: RunCommand, folder: Path) -> None:
    ended = run_command("encode", folder / "run", folder / "data.npz", "-o", "t.parquet", "-q")
    assert (ended.code, ended.out, ended.err) == (0, "t.parquet\n", "")
    ended = run_command("decode", folder / "run", "t.parquet", "-o", "x.npz", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "x.npz\n", "")


def test_json(run_command: RunCommand, folder: Path) -> None:
    arguments = ("encode", folder / "run", folder / "data.npz", "-o", "t.npz", "--json", "--labels")
    document = json.loads(run_command(*arguments).out)
    assert document["rows"] == 600
    assert document["labels"] is True
    assert document["output"] == "t.npz"
    assert len(document["quantizers"]) == len(document["codebook_sizes"]) == 6
    ended = run_command("decode", folder / "run", "t.npz", "-o", "x.parquet", "--json")
    assert json.loads(ended.out)["columns"] == 14
    assert json.loads(ended.out)["labels"] is True


def test_reordered_and_extra_columns_are_remarked(
    run_command: RunCommand, folder: Path, tmp_path: Path
) -> None:
    with np.load(folder / "data.npz") as archive:
        arrays = dict(archive)
    order = [5, 0, 1, 2, 3, 4, 6, 7, 8]
    arrays["shape"] = arrays["shape"][:, order]
    arrays["shape_feature_names"] = arrays["shape_feature_names"][order]
    arrays["smell"] = np.ones((600, 2))
    np.savez(tmp_path / "x.npz", **arrays)
    refused = run_command("encode", folder / "run", "x.npz", "-o", "t.npz")
    assert refused.code == 1
    assert "2 columns were not expected: smell::0, smell::1" in refused.err
    ended = run_command("encode", folder / "run", "x.npz", "-o", "t.npz", "--ignore-extra-columns")
    assert ended.code == 0
    assert "put right by name" in ended.err
    assert "left out 2 columns (smell::0, smell::1), which the model does not know" in ended.err
    run_command("encode", folder / "run", folder / "data.npz", "-o", "u.npz")
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "u.npz").read_bytes()


def test_a_folder_of_files_there_and_back(
    run_command: RunCommand, folder: Path, tmp_path: Path
) -> None:
    with np.load(folder / "data.npz") as archive:
        arrays = dict(archive)
    (tmp_path / "in").mkdir()
    per_row = [name for name, values in arrays.items() if len(values) == 600]
    for part, rows in (("a", slice(0, 250)), ("b", slice(250, 600))):
        cut = {name: arrays[name][rows] for name in per_row}
        np.savez(tmp_path / "in" / f"{part}.npz", **(arrays | cut))
    arguments = ("encode", folder / "run", "in", "-o", "tokens/", "--labels")
    ended = run_command(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("uint8): 2 files in tokens\n")
    (tmp_path / "tokens" / "b.parquet").unlink()
    ended = run_command(*arguments)
    assert ended.out.endswith("uint8): 2 files in tokens, 1 of them made before\n")
    document = json.loads(run_command(*arguments, "--json").out)
    assert document["output"] == "tokens"
    assert document["files"] == ["a.parquet", "b.parquet"]
    assert document["files_kept"] == 2
    other = run_command(*arguments, "--sweeps", "1")
    assert other.code == 2
    assert "made of other data, by another model or with other options" in other.err
    ended = run_command("decode", folder / "run", "tokens", "-o", "rows/")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "600 rows x 14 columns: 2 files in rows\n"
    run_command("encode", folder / "run", folder / "data.npz", "-o", "whole.npz")
    parts = [tmp_path / "tokens" / f"{part}.parquet" for part in "ab"]
    with open_tokens(tmp_path / "whole.npz") as whole:
        expected = np.concatenate(list(whole.blocks(1000)))
    found = []
    for part in parts:
        with open_tokens(part) as file:
            found += list(file.blocks(1000))
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_an_engine_that_cannot_be_is_said(run_command: RunCommand, folder: Path) -> None:
    arguments = ("encode", folder / "run", folder / "data.npz", "-o")
    ended = run_command(*arguments, "t.npz", "--engine", "ray")
    assert ended.code == 2
    assert "let --output 't.npz' name a folder, as in 't/'" in ended.err
    ended = run_command(*arguments, "t/", "--engine", "spark")
    assert ended.code == 2
    assert "--engine is 'spark'; expected one of local, ray" in ended.err
    ended = run_command("decode", folder / "run", "t.npz", "-o", "x.csv", "--engine", "ray")
    assert ended.code == 2
    assert "let --output 'x.csv' name a folder" in ended.err


BAD = {
    "no output": (["encode", "RUN", "DATA"], 2, "Missing option"),
    "npy": (["encode", "RUN", "DATA", "-o", "t.npy"], 2, "no room for the token contract"),
    "exists": (["encode", "RUN", "DATA", "-o", "mine.npz"], 2, "exists already"),
    "itself": (["encode", "RUN", "DATA", "-o", "DATA", "--overwrite"], 2, "the file that is read"),
    "no folder": (["encode", "RUN", "DATA", "-o", "no/t.npz"], 2, "does not exist; make it first"),
    "limit alone": (
        ["encode", "RUN", "DATA", "-o", "t.npz", "--own-error-limit", "1.1"],
        2,
        "--own-error-limit 1.1 bounds what sweeps choose, and there are none: add --sweeps 2",
    ),
    "no engine": (
        ["encode", "RUN", "DATA", "-o", "t.npz", "--engine", ""],
        2,
        "--engine is ''; expected one of local, ray",
    ),
    "device": (["encode", "RUN", "DATA", "-o", "t.npz", "--device", "tpu"], 2, "device"),
    "no checkpoint": (["encode", "nowhere", "DATA", "-o", "t.npz"], 1, "holds no checkpoint"),
    "no data": (["encode", "RUN", "nowhere.npz", "-o", "t.npz"], 1, "nowhere.npz"),
    "other data": (["encode", "RUN", "builtin:digits", "-o", "t.npz"], 1, "columns are missing"),
    "tokens as data": (["decode", "RUN", "DATA", "-o", "x.npz"], 1, "no token contract"),
    "no tokens": (["decode", "RUN", "nowhere.npz", "-o", "x.npz"], 1, "does not exist"),
    "npy tokens": (["decode", "RUN", "t.npy", "-o", "x.npz"], 1, "no token contract"),
    "decode to txt": (["decode", "RUN", "TOKENS", "-o", "x.txt"], 2, ".npz or .parquet or .csv"),
    "decode onto": (["decode", "RUN", "TOKENS", "-o", "TOKENS"], 2, "the file that is read"),
    "decode exists": (["decode", "RUN", "TOKENS", "-o", "mine.npz"], 2, "exists already"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_goes_wrong_is_one_message(
    run_command: RunCommand, folder: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "mine.npz").write_text("mine")
    run_command("encode", folder / "run", folder / "data.npz", "-o", "tokens.npz")
    words, code, message = BAD[case]
    places = {"RUN": folder / "run", "DATA": folder / "data.npz", "TOKENS": "tokens.npz"}
    before = sorted(p.name for p in tmp_path.iterdir())
    ended = run_command(*[places.get(word, word) for word in words])
    assert ended.code == code
    assert ended.out == ""
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert (tmp_path / "mine.npz").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_another_checkpoint_is_refused(
    run_command: RunCommand, folder: Path, tmp_path: Path
) -> None:
    train_small(tmp_path / "second", seed=1)
    run_command("encode", folder / "run", folder / "data.npz", "-o", "t.npz")
    ended = run_command("decode", tmp_path / "second" / "run", "t.npz", "-o", "x.npz")
    assert ended.code == 1
    assert "'t.npz' holds tokens of another model than" in ended.err
    assert "codebook_hash" in ended.err
    assert not (tmp_path / "x.npz").exists()


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """No file can grow beyond ``limit`` bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("ending", [".npz", ".parquet", ".csv"])
def test_a_full_disk_is_one_message(
    run_command: RunCommand, folder: Path, tmp_path: Path, ending: str
) -> None:
    run_command("encode", folder / "run", folder / "data.npz", "-o", "tokens.npz")
    words = ["encode", folder / "run", folder / "data.npz"]
    if ending == ".csv":
        words = ["decode", folder / "run", "tokens.npz"]
    path = tmp_path / f"out{ending}"
    path.write_text("mine")
    with small_disk(2000):
        ended = run_command(*words, "-o", path.name, "--overwrite")
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1
    assert f"could not write '{path.name}' (File too large); what was there before" in ended.err
    assert path.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_a_beam_is_asked_for_by_number(run_command: RunCommand, folder: Path) -> None:
    given = ("encode", folder / "run", folder / "data.npz", "-o")
    assert run_command(*given, "beam.npz", "--beam", "4").code == 0
    ended = run_command(*given, "none.npz", "--beam", "0")
    assert ended.code == 2
    assert "--beam" in ended.err


def test_a_beam_through_levels_that_do_not_build_on_one_another(
    run_command: RunCommand, tmp_path: Path
) -> None:
    made = train_small(tmp_path / "own", hierarchy="independent")
    ended = run_command("encode", made.folder, made.data, "-o", "t.npz", "--beam", "4")
    assert (ended.code, ended.out) == (2, "")
    assert "--beam 4: " in ended.err
    assert "has hierarchy 'independent'" in ended.err
    assert not (tmp_path / "t.npz").exists()


def test_one_row_is_no_rows(run_command: RunCommand, folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "data.npz") as archive:
        arrays = {name: v[:1] if len(v) == 600 else v for name, v in archive.items()}
    np.savez(tmp_path / "one.npz", **arrays)
    assert run_command("encode", folder / "run", "one.npz", "-o", "t.npz").out.startswith("1 row x")
    assert run_command("decode", folder / "run", "t.npz", "-o", "x.csv").out.startswith("1 row x")


def test_sweeps_are_asked_for_by_number(run_command: RunCommand, folder: Path) -> None:
    given = ("encode", folder / "run", folder / "data.npz", "-o")
    assert run_command(*given, "swept.npz", "--sweeps", "1").code == 0
    limited = (*given, "limited.npz", "--sweeps", "1", "--own-error-limit")
    assert run_command(*limited, "1").code == 0
    assert run_command(*limited, "0.5", "--overwrite").code == 2
    begun_anew = (*given, "anew.npz", "--restarts", "2")
    assert run_command(*begun_anew, "--sweeps", "1").code == 0
    alone = run_command(*begun_anew, "--overwrite")
    assert alone.code == 2
    assert "--restarts 2 begins sweeps anew, and there are none" in alone.err
    ended = run_command(*given, "none.npz", "--sweeps", "-1")
    assert ended.code == 2
    assert "--sweeps" in ended.err
