"""load_table: formats, families, encoders and samples of good data sets."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spinlock.data import (
    FamilySpec,
    FeatureTable,
    encoded,
    encoders,
    load_table,
    register_encoder,
)
from spinlock.data.encoders import Encoder, temporal_summary
from spinlock.data.sampling import sample_rows

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(50, 4))
SERIES = RNG.normal(size=(50, 3, 2))

WriteNpz = Callable[..., str]


@pytest.fixture
def npz(tmp_path: Path) -> WriteNpz:
    def write(**arrays: Any) -> str:
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.fixture
def hdf5(tmp_path: Path) -> str:
    """A file in the published layout, with a registry of names for two of its three families."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["features/shape/aggregated/features"] = MATRIX
        file["features/temporal/features"] = SERIES
        file["features/zz/aggregated/features"] = MATRIX[:, :1].astype("f2")
        file["features/notes/text"] = "no family"
        file["extra/array"] = MATRIX[:, 1:3]
        file["labels"] = np.arange(50)
        registry = {"shape": ["area", "width", "height", "perimeter"], "zz": [{"name": "depth"}]}
        file["features"].attrs["feature_registry"] = json.dumps(registry)
    return str(path)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of at most 3 rows of 4 numbers, so that small files have many."""
    monkeypatch.setattr(encoded, "BLOCK_BYTES", 3 * 4 * 8)


class TestNpz:
    def test_features_with_names_and_labels(self, npz: WriteNpz) -> None:
        names = ["a::x", "b::y", "plain", "a::z"]
        table = load_table(npz(features=MATRIX, feature_names=names, labels=np.arange(50)))
        assert table.names == ("a::x", "a::z", "b::y", "features::plain")
        assert table.families == ("a", "a", "b", "features")
        np.testing.assert_array_equal(table.features, MATRIX[:, [0, 3, 1, 2]].astype(np.float32))
        np.testing.assert_array_equal(table.labels, np.arange(50))

    def test_features_alone(self, npz: WriteNpz) -> None:
        table = load_table(npz(features=MATRIX, comment=np.array("not a family")))
        assert table.names == tuple(f"features::{i}" for i in range(4))
        assert table.labels is None

    def test_category_sizes_become_families(self, npz: WriteNpz) -> None:
        table = load_table(npz(features=MATRIX, category_sizes=[3, 1]))
        assert table.families == ("category_1",) * 3 + ("category_2",)
        assert table.names[-1] == "category_2::0"
        np.testing.assert_array_equal(table.features, MATRIX.astype(np.float32))

    def test_category_sizes_keep_given_names(self, npz: WriteNpz) -> None:
        names = np.array(["a::x", "b::y", "c", "d"], dtype="S")
        table = load_table(npz(features=MATRIX, category_sizes=[3, 1], feature_names=names))
        assert table.names[:2] == ("category_1::a::x", "category_1::b::y")

    def test_several_arrays_are_families_in_file_order(self, npz: WriteNpz) -> None:
        path = npz(waves=SERIES, area=MATRIX, area_feature_names=list("pqrs"), labels=["x"] * 50)
        table = load_table(path)
        assert table.family_names == ("waves", "area")
        assert table.names[0] == "waves::0@mean"
        assert table.names[-4:] == ("area::p", "area::q", "area::r", "area::s")
        np.testing.assert_array_equal(
            table.features[:, :14], temporal_summary(SERIES).astype(np.float32)
        )
        assert table.labels is not None
        assert set(table.labels) == {"x"}

    def test_a_lone_family_may_use_feature_names(self, npz: WriteNpz) -> None:
        assert load_table(npz(area=MATRIX, feature_names=list("pqrs"))).names[0] == "area::p"

    def test_families_choose_and_order(self, npz: WriteNpz) -> None:
        path = npz(features=MATRIX, feature_names=["a::x", "b::y", "b::z", "a::z"], other=SERIES)
        table = load_table(path, {"b": FamilySpec(), "other": {"encoder": "flatten"}})
        assert table.names[:3] == ("b::y", "b::z", "other::0@t0")
        assert table.num_features == 2 + 6

    def test_paths_rename_families(self, npz: WriteNpz) -> None:
        path = npz(area=MATRIX, text=np.array(["not read"]))
        table = load_table(path, {"size": FamilySpec(path="area"), "again": {"path": "area"}})
        assert table.family_names == ("size", "again")
        np.testing.assert_array_equal(table.features[:, :4], table.features[:, 4:])

    def test_fortran_order_and_compression(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "x.npz", features=np.asfortranarray(MATRIX))
        np.testing.assert_array_equal(
            load_table(tmp_path / "x.npz").features, MATRIX.astype(np.float32)
        )


class TestNpy:
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_matrix(self, tmp_path: Path, order: Any) -> None:
        np.save(tmp_path / "x.NPY", np.asarray(MATRIX, order=order))
        (tmp_path / "x.NPY.npy").rename(tmp_path / "x.NPY")
        table = load_table(tmp_path / "x.NPY", max_samples=20, seed=3)
        assert table.names == tuple(f"features::{i}" for i in range(4))
        rows = sample_rows(50, 20, seed=3)
        np.testing.assert_array_equal(table.features, MATRIX[rows].astype(np.float32))

    def test_a_series(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", SERIES)
        table = load_table(tmp_path / "x.npy", {"features": FamilySpec(encoder="flatten")})
        np.testing.assert_array_equal(table.features, SERIES.reshape(50, 6).astype(np.float32))


class TestHdf5:
    def test_the_published_layout(self, hdf5: str) -> None:
        table = load_table(hdf5)
        assert table.family_names == ("shape", "temporal", "zz")
        assert table.names[:4] == (
            "shape::area",
            "shape::width",
            "shape::height",
            "shape::perimeter",
        )
        assert table.names[4] == "temporal::0@mean"
        assert table.names[-1] == "zz::depth"
        np.testing.assert_array_equal(table.features[:, :4], MATRIX.astype(np.float32))
        np.testing.assert_array_equal(table.labels, np.arange(50))

    def test_any_data_set_by_path(self, hdf5: str) -> None:
        table = load_table(hdf5, {"mine": FamilySpec("/extra/array"), "zz": None})
        assert table.names == ("mine::0", "mine::1", "zz::depth")

    @pytest.mark.parametrize(
        "registry",
        [
            ["p", "q"],
            np.array(["p", "q"], dtype="S"),
            np.array(["p", "q"], dtype=h5py.string_dtype()),
            '["p", "q"]',
            b'["p", "q"]',
            '[{"name": "q", "index": 1}, {"name": "p", "index": 0}]',
            '{"features": [{"name": "p"}, {"name": "q"}]}',
            '{"q": 7, "p": 3}',
            '{"fam": {"features": {"p": 0, "q": 1}}, "other": ["x"]}',
        ],
        ids=str,
    )
    @pytest.mark.parametrize("place", ["/", "features", "features/fam", "features/fam/features"])
    def test_registries(self, tmp_path: Path, registry: Any, place: str) -> None:
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            file["features/fam/features"] = MATRIX[:, :2]
            file[place].attrs["feature_registry"] = registry
        assert load_table(tmp_path / "x.hdf5").names == ("fam::p", "fam::q")

    def test_a_nearer_registry_wins_and_others_families_do_not_matter(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            file["features/fam/features"] = MATRIX[:, :2]
            file["features"].attrs["feature_registry"] = '{"fam": ["p", "q"]}'
            file["features/fam"].attrs["feature_registry"] = '{"other": ["x"]}'
            file.attrs["feature_registry"] = '{"fam": ["never", "seen"]}'
        assert load_table(tmp_path / "x.hdf5").names == ("fam::p", "fam::q")

    def test_aggregated_features_come_before_series(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["features/temporal/features"] = SERIES
            file["features/temporal/aggregated/features"] = MATRIX
        assert load_table(tmp_path / "x.h5").num_features == 4

    def test_text_labels_and_links_within_the_file(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["features/a/features"] = MATRIX
            file["features/b"] = h5py.SoftLink("a")
            file["features/c"] = h5py.SoftLink("/features/b")
            file.create_dataset("labels", data=["é"] * 50, dtype=h5py.string_dtype())
        table = load_table(tmp_path / "x.h5", max_samples=7)
        assert table.family_names == ("a", "b", "c")
        np.testing.assert_array_equal(table.features[:, :4], table.features[:, 8:])
        assert table.labels is not None
        assert table.labels.tolist() == ["é"] * 7

    @pytest.mark.parametrize("chunks", [None, (1, 4), (7, 2), (50, 4), True])
    @pytest.mark.usefixtures("small_blocks")
    def test_chunked_files_are_read_in_blocks(self, tmp_path: Path, chunks: Any) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("features/a/features", data=MATRIX, chunks=chunks)
        table = load_table(tmp_path / "x.h5", max_samples=30, seed=5)
        rows = sample_rows(50, 30, seed=5)
        np.testing.assert_array_equal(table.features, MATRIX[rows].astype(np.float32))


class TestSamples:
    @pytest.mark.usefixtures("small_blocks")
    def test_a_sample_keeps_rows_labels_and_families_together(self, npz: WriteNpz) -> None:
        rows = np.arange(50)
        path = npz(a=rows[:, None], b=np.repeat(rows, 6).reshape(50, 3, 2), labels=rows)
        table = load_table(path, max_samples=11, seed=4)
        np.testing.assert_array_equal(table.labels, sample_rows(50, 11, seed=4))
        np.testing.assert_array_equal(table.features[:, 0], table.labels)
        np.testing.assert_array_equal(
            table.features[:, table.names.index("b::1@max")], table.labels
        )

    def test_more_than_there_is_means_all(self, npz: WriteNpz) -> None:
        assert load_table(npz(features=MATRIX), max_samples=51).num_rows == 50


class TestNumbers:
    @pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", ">f4", "f8", "g"])
    def test_every_dtype_becomes_float32(self, npz: WriteNpz, dtype: str) -> None:
        values = np.arange(12).reshape(4, 3).astype(dtype)
        np.testing.assert_array_equal(
            load_table(npz(features=values)).features, values.astype(np.float32)
        )

    def test_too_large_numbers_are_missing_to_encoders_and_infinite_in_tables(
        self, npz: WriteNpz
    ) -> None:
        path = npz(m=np.array([[1e300, -1e300]]), s=np.array([[[1.0], [1e300], [3.0]]]))
        table = load_table(path)
        np.testing.assert_array_equal(table.features[0, :2], [np.inf, -np.inf])
        assert table.features[0, table.names.index("s::0@max")] == 3.0

    @pytest.mark.parametrize("block_bytes", [1, 10_000, 1_000_000])
    def test_blocks_do_not_matter(self, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
        table = load_table("builtin:digits", max_samples=100)
        monkeypatch.setattr(encoded, "BLOCK_BYTES", block_bytes)
        again = load_table("builtin:digits", max_samples=100)
        np.testing.assert_array_equal(table.features, again.features)


class TestOwnEncoders:
    @pytest.fixture
    def row_sum(self) -> Iterator[None]:
        register_encoder(
            Encoder("row_sum", 2, lambda _names, _steps: ["sum"], lambda x: x.sum(1, keepdims=True))
        )
        yield
        del encoders._ENCODERS["row_sum"]

    @pytest.mark.usefixtures("row_sum", "small_blocks")
    def test_a_registered_encoder_is_used(self, npz: WriteNpz) -> None:
        table = load_table(npz(a=MATRIX), {"a": FamilySpec(encoder="row_sum")})
        assert table.names == ("a::sum",)
        np.testing.assert_array_equal(table.features[:, 0], MATRIX.sum(axis=1).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "shape", "families"),
    [
        ("bankruptcy", (12_937, 64), 1),
        ("bankruptcy.prepared", (8_000, 41), 8),
        ("mfeat", (2_000, 649), 6),
        ("mfeat.prepared", (2_000, 626), 25),
    ],
)
def test_the_measuring_sets(name: str, shape: tuple[int, int], families: int) -> None:
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not part of the repository")
    table: FeatureTable = load_table(path)
    assert table.features.shape == shape
    assert len(table.family_names) == families
    with np.load(path) as original:
        np.testing.assert_array_equal(table.features, original["features"])
