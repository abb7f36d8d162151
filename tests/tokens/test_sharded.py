"""Folders of files to tokens and back: names, what is kept, refused and left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from spinlock.data import load_table
from spinlock.errors import ConfigError, DataError
from spinlock.tokens import sharded as module
from spinlock.tokens.codec import Codec
from spinlock.tokens.files import open_tokens
from spinlock.tokens.sharded import decode_shards, encode_shards
from token_models import Trained, write_shards


def stored(paths: Any) -> np.ndarray:
    found = []
    for path in paths:
        with open_tokens(path) as file:
            found += list(file.blocks())
    return np.concatenate(found)


def test_one_token_file_for_every_shard_and_back(trained: Trained, tmp_path: Path) -> None:
    data = write_shards(trained, tmp_path / "in")
    seen: list[tuple[int, int | None]] = []
    written = encode_shards(
        trained.saved, data, tmp_path / "out", lambda *at: seen.append(at), labels=True
    )
    assert [path.name for path in written.paths] == [f"part-{i}.parquet" for i in (1, 2, 10)]
    assert (written.rows, written.columns, written.kept, written.labels) == (600, 6, 0, True)
    assert seen[-1] == (600, 600)
    np.testing.assert_array_equal(stored(written.paths), Codec(trained.saved).encode(trained.rows))
    back = decode_shards(trained.saved, tmp_path / "out", tmp_path / "rows")
    table = load_table(str(tmp_path / "rows" / "*.parquet"))
    assert (back.rows, back.columns) == (600, 14)
    codec = Codec(trained.saved)
    np.testing.assert_array_equal(table.features, codec.decode(codec.encode(trained.rows)))
    np.testing.assert_array_equal(table.labels, np.arange(600) % 3)


def test_what_was_done_is_kept_and_all_else_refused_or_replaced(
    trained: Trained, other: Trained, tmp_path: Path
) -> None:
    data = write_shards(trained, tmp_path / "in")
    first = encode_shards(trained.saved, data, tmp_path / "out")
    first.paths[1].unlink()
    kept = first.paths[0].stat().st_mtime_ns
    again = encode_shards(trained.saved, data, tmp_path / "out")
    assert (again.kept, again.rows, first.paths[0].stat().st_mtime_ns) == (2, 600, kept)
    with pytest.raises(ConfigError, match=r"other options: part-1\.parquet, part-2"):
        encode_shards(trained.saved, data, tmp_path / "out", sweeps=1)
    with pytest.raises(ConfigError, match="by another model"):
        encode_shards(other.saved, data, tmp_path / "out")
    replaced = encode_shards(other.saved, data, tmp_path / "out", overwrite=True)
    assert replaced.kept == 0
    np.testing.assert_array_equal(stored(replaced.paths), Codec(other.saved).encode(trained.rows))
    os.utime(tmp_path / "in" / "part-2.parquet", ns=(1, 1))
    with pytest.raises(ConfigError, match=r"other data.*: part-2\.parquet;"):
        encode_shards(other.saved, data, tmp_path / "out")
    with pytest.raises(DataError, match="codebook"):
        decode_shards(trained.saved, tmp_path / "out", tmp_path / "rows")


def test_a_stop_in_the_middle_is_gone_on_with(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_shards(trained, tmp_path / "in")
    encode = module.encode_dataset

    def stops(saved: Any, path: str, *rest: Any, **options: Any) -> Any:
        if path.endswith("part-2.parquet"):
            raise KeyboardInterrupt
        return encode(saved, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_dataset", stops)
        with pytest.raises(KeyboardInterrupt):
            encode_shards(trained.saved, data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part-1.parquet"]
    # What a killed process leaves.
    (tmp_path / "out" / ".writing-part-2.parquet-7").touch()
    written = encode_shards(trained.saved, data, tmp_path / "out")
    assert written.kept == 1
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["part-1.parquet", "part-10.parquet", "part-2.parquet"]


def test_folders_and_names_that_cannot_be(trained: Trained, tmp_path: Path) -> None:
    data = write_shards(trained, tmp_path / "in")
    with pytest.raises(ConfigError, match="holds the files that are read"):
        encode_shards(trained.saved, data, tmp_path / "in", overwrite=True)
    with pytest.raises(ConfigError, match="is a file"):
        encode_shards(trained.saved, data, trained.data)
    (tmp_path / "again").mkdir()
    twin = tmp_path / "again" / "part-1.parquet"
    parquet.write_table(parquet.read_table(tmp_path / "in" / "part-1.parquet"), twin)
    with pytest.raises(ConfigError, match=r"several files would become part-1\.parquet"):
        encode_shards(trained.saved, [tmp_path / "in", twin], tmp_path / "out")
