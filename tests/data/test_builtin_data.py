"""The built-in data sets: what they hold, and that they never change."""

import hashlib
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from spinlock.data import FamilySpec, FeatureTable, load_table
from spinlock.data.digits import digits_table, pixel_grid
from spinlock.data.seed_shape import CATEGORY_SIZES
from spinlock.errors import DataError


@pytest.fixture(scope="module")
def digits() -> FeatureTable:
    return load_table("builtin:digits")


@pytest.fixture(scope="module")
def seed_shape() -> FeatureTable:
    return load_table("builtin:seed_shape")


def column(table: FeatureTable, name: str) -> np.ndarray:
    return table.features[:, table.names.index(name)].astype(np.float64)


def test_digits_are_frozen(digits: FeatureTable) -> None:
    assert digits.labels is not None
    content = digits.features.astype("<f4").tobytes() + digits.labels.astype("<i8").tobytes()
    assert digits.fingerprint == (
        "bfdd98b93311fba4721934b1f90c9d2a00179ddddbaa3eb87bbf2b44a38e8953"
    )
    assert hashlib.sha256(content).hexdigest() == (
        "49f3bd5ae15f64711ba415908bb53142967edf3d63fe58cd2007ea7100552678"
    )


def test_digits_have_five_families(digits: FeatureTable) -> None:
    counts = {family: digits.families.count(family) for family in digits.family_names}
    assert counts == {"pixels": 64, "profiles": 94, "fourier": 73, "moments": 54, "gradients": 60}
    assert digits.features.shape == (1797, 345)
    assert np.isfinite(digits.features).all()


def test_digits_keep_their_labels(digits: FeatureTable) -> None:
    np.testing.assert_array_equal(digits.labels, load_digits().target)


def test_digits_hold_constant_duplicate_and_wildly_scaled_columns(digits: FeatureTable) -> None:
    spread = digits.features.astype(np.float64).std(axis=0)
    constant = {digits.names[i] for i in np.flatnonzero(spread == 0)}
    assert {"pixels::r0c0", "moments::central_1_0"} <= constant
    assert len(np.unique(digits.features, axis=1).T) == 305
    assert spread.max() / spread[spread > 0].min() > 1e15


def test_digits_are_easy_to_draw(digits: FeatureTable) -> None:
    grid = pixel_grid(digits.names)
    assert grid is not None
    np.testing.assert_array_equal(digits.features[:, grid], load_digits().images)


def test_an_incomplete_image_is_no_image(digits: FeatureTable) -> None:
    assert pixel_grid(digits.names[:20]) is None
    assert pixel_grid(digits.names[64:]) is None


def test_fourier_columns_agree_with_the_fft(digits: FeatureTable) -> None:
    expected = np.abs(np.fft.fft2(load_digits().images))
    for u, v in np.ndindex(8, 8):
        magnitude = column(digits, f"fourier::magnitude_u{u}v{v}")
        np.testing.assert_allclose(magnitude, expected[:, u, v], rtol=1e-6, atol=1e-4)
        np.testing.assert_array_equal(
            magnitude, column(digits, f"fourier::magnitude_u{-u % 8}v{-v % 8}")
        )
    rings = sum(column(digits, f"fourier::ring{ring}") for ring in range(6))
    np.testing.assert_allclose(rings, (expected**2).sum(axis=(1, 2)), rtol=1e-6)


def test_moments_agree_with_their_definition(digits: FeatureTable) -> None:
    images = load_digits().images
    ink = images.sum(axis=(1, 2))
    rows = np.arange(8)[None, :, None] - column(digits, "moments::centre_row")[:, None, None]
    columns = np.arange(8)[None, None] - column(digits, "moments::centre_column")[:, None, None]
    for p, q in ((2, 0), (1, 1), (0, 3), (2, 1), (2, 2), (4, 0)):
        central = (images * rows**p * columns**q).sum(axis=(1, 2))
        scale = np.abs(central).max()
        np.testing.assert_allclose(
            column(digits, f"moments::central_{p}_{q}"), central, rtol=1e-5, atol=1e-6 * scale
        )
        np.testing.assert_allclose(
            column(digits, f"moments::normalised_{p}_{q}"),
            central / ink ** (1 + (p + q) / 2),
            rtol=1e-5,
            atol=1e-9,
        )


def test_hu_moments_do_not_see_a_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    upright = digits_table()
    bunch = load_digits()
    bunch.images = np.ascontiguousarray(np.rot90(bunch.images, axes=(1, 2)))
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: bunch)
    turned = digits_table()
    for i in range(1, 8):
        expected = column(upright, f"moments::hu{i}")
        np.testing.assert_allclose(
            column(turned, f"moments::hu{i}"), expected, atol=1e-6 * np.abs(expected).max()
        )


def test_gradient_votes_add_up(digits: FeatureTable) -> None:
    for orientation in range(8):
        quadrants = sum(
            column(digits, f"gradients::orientation{orientation}_q{r}{c}")
            for r in range(2)
            for c in range(2)
        )
        np.testing.assert_array_equal(
            quadrants, column(digits, f"gradients::orientation{orientation}_all")
        )
    cells = sum(
        column(digits, f"gradients::energy_r{r}c{c}")
        for r in range(0, 8, 2)
        for c in range(0, 8, 2)
    )
    np.testing.assert_array_equal(
        cells, column(digits, "gradients::energy_x") + column(digits, "gradients::energy_y")
    )


def test_a_digit_can_be_told_from_its_features(digits: FeatureTable) -> None:
    """Labels and rows belong together: class means of one half classify the other."""
    labels = digits.labels
    assert labels is not None
    values = digits.features[:, [f != "moments" for f in digits.families]].astype(np.float64)
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    train, test = values[::2], values[1::2]
    means = np.stack([train[labels[::2] == digit].mean(axis=0) for digit in range(10)])
    guesses = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == labels[1::2]).mean() > 0.85


def test_seed_shape_has_the_published_shape(seed_shape: FeatureTable) -> None:
    counts = {family: seed_shape.families.count(family) for family in seed_shape.family_names}
    assert counts == {f"cluster_{i}": size for i, size in enumerate(CATEGORY_SIZES, 1)}
    assert seed_shape.features.shape == (10_000, 118)
    assert seed_shape.labels is None


def test_seed_shape_is_frozen(seed_shape: FeatureTable) -> None:
    values = seed_shape.features.astype(np.float64)
    assert seed_shape.fingerprint == (
        "265161ec941bf22e06323231f8a51f38869b8f4f2f485b6c1941d33bd5ec9d64"
    )
    first = [0, 24, 29, 40, 50, 67, 87]
    np.testing.assert_allclose(
        values[0, :4], [-929.49102783, 20.27480698, 8.18769264, 210.18670654], rtol=1e-6
    )
    np.testing.assert_allclose(
        values.mean(axis=0)[first],
        [-295.36144188, 4.27064783, 22.60477639, -6.00139019, 17.69228143, 7.46001805, 98.57603046],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        values.std(axis=0)[first],
        [73.1975598, 3.23724547, 12.79867455, 2.20910463, 4.51340248, 1.44313541, 20.25694866],
        rtol=1e-6,
    )


def test_seed_shape_is_low_rank_heavy_tailed_and_unevenly_scaled(seed_shape: FeatureTable) -> None:
    values = seed_shape.features.astype(np.float64)
    spread = values.std(axis=0)
    scores = (values - values.mean(axis=0)) / spread
    correlation = scores.T @ scores / len(scores)
    spectrum = np.linalg.eigvalsh(correlation)[::-1]
    assert spectrum[:20].sum() / 118 > 0.9
    assert np.median((scores**4).mean(axis=0)) > 6.0
    assert spread.max() / spread.min() > 1e3
    # Below the threshold at which cleaning drops duplicates: all 118 features stay.
    assert np.abs(correlation - np.eye(118)).max() < 0.95
    within, across = np.equal.outer(seed_shape.families, seed_shape.families), np.abs(correlation)
    assert across[within].mean() > 2.0 * across[~within].mean() > 0.2


def test_built_in_families_can_be_chosen(digits: FeatureTable) -> None:
    chosen = load_table("builtin:digits", {"moments": FamilySpec(), "pixels": {}})
    assert chosen.family_names == ("moments", "pixels")
    np.testing.assert_array_equal(chosen.features[:, -64:], digits.features[:, :64])


@pytest.mark.parametrize(
    ("path", "families", "message"),
    [
        ("builtin:digit", None, "known: builtin:digits, builtin:seed_shape"),
        ("builtin:", None, "known: builtin:digits"),
        ("builtin:digits", {"pixel": None}, "did you mean 'pixels'.*profiles, fourier"),
        ("builtin:digits", {"pixels": {"path": "/x"}}, "no paths inside"),
        ("builtin:digits", {"pixels": {"encoder": "flatten"}}, "identity"),
        ("builtin:digits", {"pixels": {"encodr": "flatten"}}, "unknown keys: encodr"),
        ("builtin:digits", {}, "families is empty.*pixels, profiles"),
    ],
)
def test_bad_requests_are_explained(path: str, families: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_table(path, families)
