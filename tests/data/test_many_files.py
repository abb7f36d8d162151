"""Several files as one data set: globs, folders, lists, columns matched by name."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.data import load_table, open_dataset
from spinlock.data.shards import expand
from spinlock.errors import DataError

RNG = np.random.default_rng(9)
VALUES = RNG.normal(size=(60, 3)).astype(np.float32)
NAMES = ["a::x", "a::y", "b::z"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve files ``part-0.npz`` to ``part-11.npz`` of 5 rows, the last with columns turned."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for part in range(12):
        rows, names = VALUES[part * 5 : part * 5 + 5], NAMES
        if part == 11:
            rows, names = rows[:, [2, 0, 1]], ["b::z", "a::x", "a::y"]
        labels = np.arange(part * 5, part * 5 + 5)
        np.savez(folder / f"part-{part}.npz", features=rows, feature_names=names, labels=labels)
    (folder / "_SUCCESS").touch()
    return folder


def test_a_folder_a_glob_and_a_list_are_one_data_set(folder: Path) -> None:
    files = [folder / f"part-{part}.npz" for part in range(12)]
    for path in (folder, folder / "part-*.npz", str(folder / "**" / "*.npz"), files):
        table = load_table(path)
        assert table.names == tuple(NAMES)
        np.testing.assert_array_equal(table.features, VALUES)
        np.testing.assert_array_equal(table.labels, np.arange(60))


def test_a_list_keeps_its_order_and_a_sample_is_of_all_rows(folder: Path) -> None:
    files = [folder / "part-3.npz", folder / "part-1.npz"]
    np.testing.assert_array_equal(
        load_table(files).features, VALUES[[*range(15, 20), *range(5, 10)]]
    )
    from spinlock.data.sampling import sample_rows

    table = load_table(folder, max_samples=20, seed=4)
    np.testing.assert_array_equal(table.features, VALUES[sample_rows(60, 20, 4)])


@pytest.mark.parametrize("rows", [1, 3, 5, 64])
def test_blocks_do_not_reach_over_files(folder: Path, rows: int) -> None:
    with open_dataset(folder) as dataset:
        assert dataset.num_rows == 60
        blocks = list(dataset.blocks(rows))
    assert max(map(len, blocks)) == min(rows, 5)
    np.testing.assert_array_equal(np.concatenate(blocks), VALUES)


def test_other_columns_are_named_with_their_file(folder: Path) -> None:
    np.savez(folder / "part-4.npz", features=VALUES[:5], feature_names=["a::x", "a::Y", "b::z"])
    with pytest.raises(DataError, match=r"part-4\.npz, read with .*missing: a::y.*a::Y"):
        load_table(folder)


def test_labels_must_be_everywhere_or_nowhere(folder: Path) -> None:
    np.savez(folder / "part-4.npz", features=VALUES[:5], feature_names=NAMES)
    with pytest.raises(DataError, match=r"do not agree about labels: .*part-4\.npz"):
        load_table(folder)


def test_a_file_that_changes_between_passes_is_refused(folder: Path) -> None:
    with open_dataset(folder) as dataset:
        list(dataset.blocks())
        np.savez(folder / "part-7.npz", features=VALUES[:4], feature_names=NAMES)
        with pytest.raises(DataError, match=r"part-7\.npz changed while it was read"):
            list(dataset.blocks())
        (folder / "part-2.npz").unlink()
        with pytest.raises(DataError, match=r"part-2\.npz vanished"):
            list(dataset.blocks())


def test_formats_other_than_npz(tmp_path: Path) -> None:
    for part in range(2):
        np.save(tmp_path / f"p{part}.npy", VALUES[part * 30 : part * 30 + 30])
        with h5py.File(tmp_path / f"p{part}.h5", "w") as file:
            file["features/a/features"] = VALUES[part * 30 : part * 30 + 30]
    for pattern in ("p*.npy", "p?.h5"):
        np.testing.assert_array_equal(load_table(tmp_path / pattern).features, VALUES)
    with pytest.raises(DataError, match=r"2 \.(npy|h5), 2 \.(npy|h5)"):
        load_table(tmp_path)


def test_paths_that_stand_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for path, expected in (
        ("none-*.npz", "no file matches"),
        ("empty", "no data files"),
        ([], "empty list"),
        (["builtin:digits", "x.npz"], "stands alone"),
        (["x.npz", "x.npz"], "more than once"),
        ("memory:", "fitted on data in memory"),
    ):
        with pytest.raises(DataError, match=expected):
            load_table(path)


def test_a_bracket_in_a_file_name_is_no_pattern(tmp_path: Path) -> None:
    np.save(tmp_path / "run[1].npy", VALUES)
    assert expand(tmp_path / "run[1].npy") == [str(tmp_path / "run[1].npy")]
    assert load_table(tmp_path / "run[1].npy").num_rows == 60


def test_progress_reaches_the_last_row(folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    load_table(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_other_data_may_lack_what_was_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", features=VALUES, feature_names=NAMES)
    options = {"exclude_columns": ["id"], "label_column": "kind"}
    with open_dataset(tmp_path / "t.npz", **options, required=False) as dataset:  # type: ignore[arg-type]
        assert dataset.names == tuple(NAMES)
        assert dataset.labels() is None
    with pytest.raises(DataError, match=r"label_column is 'kind'"):
        load_table(tmp_path / "t.npz", label_column="kind")
    with pytest.raises(DataError, match=r"exclude_columns names id"):
        load_table(tmp_path / "t.npz", exclude_columns=["id"])
