"""``builtin:digits``: real 8 x 8 images of handwritten digits, described in five families.

The images are the 1,797 that scikit-learn carries (Alpaydin and Kaynak, Optical Recognition of
Handwritten Digits, UCI), with integer ink values 0 to 16. Everything is computed from integers
and rounded at the very end, so that the columns are the same to the last bit on every machine.
Constant, duplicate and wildly scaled columns are left in, as life has them: blank corners, the
conjugate half of every spectrum, raw moments beside normalised ones.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.digit_moments import moments
from spinlock.data.table import FeatureTable, as_float32, qualified_name

Images = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

SIDE = 8
INK_THRESHOLD = 8


def digits_table() -> FeatureTable:
    """The 1,797 images as a table of 345 columns; labels are the digits 0 to 9.

    >>> digits_table().family_names
    ('pixels', 'profiles', 'fourier', 'moments', 'gradients')
    """
    from sklearn.datasets import load_digits  # of no use to those who want pixel_grid

    digits = load_digits()
    images = digits.images.astype(np.int64)
    families: dict[str, Callable[[Images], Columns]] = {
        "pixels": pixels,
        "profiles": profiles,
        "fourier": fourier,
        "moments": moments,
        "gradients": gradients,
    }
    columns = {
        qualified_name(family, name): (family, values)
        for family, describe in families.items()
        for name, values in describe(images).items()
    }
    return FeatureTable(
        # Adding 0.0 turns -0.0 into 0.0.
        features=as_float32(np.stack([v for _, v in columns.values()], axis=1) + 0.0, "digits"),
        names=tuple(columns),
        families=tuple(family for family, _ in columns.values()),
        labels=digits.target.astype(np.int64),
    )


def pixel_grid(names: Sequence[str], family: str = "pixels") -> NDArray[np.int64] | None:
    """Where the image is: indices of the columns ``<family>::r<row>c<column>``, [height, width].

    None where such columns do not form a full rectangle.

    >>> pixel_grid(["moments::hu1", "pixels::r0c0", "pixels::r0c1"])
    array([[1, 2]])
    """
    found: dict[tuple[int, int], int] = {}
    pixel = re.compile(re.escape(family) + "::r([0-9]{1,4})c([0-9]{1,4})")
    for index, name in enumerate(names):
        match = pixel.fullmatch(name)
        if match:
            found[int(match[1]), int(match[2])] = index
    if not found:
        return None
    height = 1 + max(row for row, _ in found)
    width = 1 + max(column for _, column in found)
    if len(found) != height * width:
        return None
    return np.array([[found[r, c] for c in range(width)] for r in range(height)], dtype=np.int64)


def pixels(images: Images) -> Columns:
    """The ink values themselves, ``r<row>c<column>``."""
    return {f"r{r}c{c}": images[:, r, c] for r in range(SIDE) for c in range(SIDE)}


def profiles(images: Images) -> Columns:
    """Sums along rows, columns and diagonals, ink borders seen from four sides, and crossings.

    ``left3`` is the number of blank pixels of row 3 before its first ink (8 if there is none);
    ``row_crossings3`` how often row 3 changes between blank and ink.
    """
    ink = (images >= INK_THRESHOLD).astype(np.int64)
    columns: Columns = {}
    for name, image, mask in (
        ("row", images, ink),
        ("column", images.transpose(0, 2, 1), ink.transpose(0, 2, 1)),
    ):
        crossings = np.abs(np.diff(mask, axis=2)).sum(axis=2)
        before, after = ("left", "right") if name == "row" else ("top", "bottom")
        for i in range(SIDE):
            columns[f"{name}_sum{i}"] = image[:, i].sum(axis=1)
            columns[f"{name}_crossings{i}"] = crossings[:, i]
            columns[f"{before}{i}"] = _blanks(mask[:, i])
            columns[f"{after}{i}"] = _blanks(mask[:, i, ::-1])
    for name, image in (("diagonal", images), ("antidiagonal", images[:, :, ::-1])):
        for i in range(1 - SIDE, SIDE):
            columns[f"{name}_sum{i + SIDE - 1}"] = image.trace(i, axis1=1, axis2=2)
    return columns


def _blanks(line: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(line.any(axis=1), line.argmax(axis=1), SIDE)


def fourier(images: Images) -> Columns:
    """Magnitudes of the 2-D discrete Fourier transform, and its power by ring and by sector.

    The eighth roots of unity are 0, +-1 and (+-1 +-i) / sqrt 2, so that twice the power is
    whole + root * sqrt 2 with integers whole and root: symmetric frequencies get equal columns.
    """
    frequency = np.arange(SIDE)
    u, v, x, y = np.meshgrid(frequency, frequency, frequency, frequency, indexing="ij")
    turn = ((u * x + v * y) % SIDE).reshape(SIDE * SIDE, SIDE * SIDE).T
    flat = images.reshape(len(images), -1)
    cosine_whole = flat @ np.array([1, 0, 0, 0, -1, 0, 0, 0])[turn]
    cosine_root = flat @ np.array([0, 1, 0, -1, 0, -1, 0, 1])[turn]
    sine_whole = flat @ np.array([0, 0, 1, 0, 0, 0, -1, 0])[turn]
    sine_root = flat @ np.array([0, 1, 0, 1, 0, -1, 0, -1])[turn]
    whole = 2 * (cosine_whole**2 + sine_whole**2) + cosine_root**2 + sine_root**2
    root = 2 * (cosine_whole * cosine_root + sine_whole * sine_root)

    columns: Columns = {}
    for index in range(SIDE * SIDE):
        power = _half_power(whole[:, index], root[:, index])
        columns[f"magnitude_u{index // SIDE}v{index % SIDE}"] = np.sqrt(power)
    distance = np.minimum(frequency, SIDE - frequency)
    squares = (distance[:, None] ** 2 + distance[None, :] ** 2).ravel()
    for ring in range(6):
        inside = (squares >= ring**2) & (squares < (ring + 1) ** 2)
        columns[f"ring{ring}"] = _half_power(
            whole[:, inside].sum(axis=1), root[:, inside].sum(axis=1)
        )
    down, along = (axis.ravel() for axis in np.meshgrid(distance, distance, indexing="ij"))
    sectors = {
        "vertical": down > 2 * along,
        "horizontal": along > 2 * down,
        "oblique": (down <= 2 * along) & (along <= 2 * down) & (down + along > 0),
    }
    for name, inside in sectors.items():
        columns[f"sector_{name}"] = _half_power(
            whole[:, inside].sum(axis=1), root[:, inside].sum(axis=1)
        )
    return columns


def _half_power(whole: NDArray[np.int64], root: NDArray[np.int64]) -> NDArray[np.float64]:
    power: NDArray[np.float64] = np.maximum(whole + root * np.sqrt(2.0), 0.0) / 2.0
    return power


def gradients(images: Images) -> Columns:
    """Orientation histograms of central differences, and the energy of changes in small cells.

    Orientations are eight sectors of 45 degrees, found by comparing integers; each pixel votes
    with |gx| + |gy|, in the whole image and in its quadrant.
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    gx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    gy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    votes = np.abs(gx) + np.abs(gy)
    energy = gx**2 + gy**2
    beside = padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    laplacian = beside + padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] - 4 * images
    steep = (np.abs(gy) > np.abs(gx)).astype(np.int64)
    sector = 4 * (gy < 0) + 2 * (gx < 0) + steep

    columns: Columns = {}
    half = SIDE // 2
    quadrants = {"all": (slice(None), slice(None))} | {
        f"q{r}{c}": (slice(r * half, (r + 1) * half), slice(c * half, (c + 1) * half))
        for r in range(2)
        for c in range(2)
    }
    for name, (rows, cols) in quadrants.items():
        for orientation in range(8):
            cast = votes[:, rows, cols] * (sector[:, rows, cols] == orientation)
            columns[f"orientation{orientation}_{name}"] = cast.sum(axis=(1, 2))
    for r in range(0, SIDE, 2):
        for c in range(0, SIDE, 2):
            columns[f"energy_r{r}c{c}"] = energy[:, r : r + 2, c : c + 2].sum(axis=(1, 2))
    columns["energy_x"] = (gx**2).sum(axis=(1, 2))
    columns["energy_y"] = (gy**2).sum(axis=(1, 2))
    columns["energy_xy"] = (gx * gy).sum(axis=(1, 2))
    columns["energy_laplacian"] = (laplacian**2).sum(axis=(1, 2))
    return columns
