"""``builtin:seed_shape``: a generated benchmark set, 10,000 rows of seven categories.

It has the sizes of the published run and the traits of real features: few factors, most of them
shared by several categories, heavy tails, and scales from hundredths to hundreds. Its families
are the categories: use it with ``category_assignment: families``.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from spinlock.data.table import FeatureTable

NUM_ROWS = 10_000
CATEGORY_SIZES = (24, 5, 11, 10, 17, 20, 31)
SHARED_FACTORS = 6
OWN_FACTORS = 2
NOISE_SHARE = 0.1
SEED = 118


def seed_shape_table() -> FeatureTable:
    """10,000 rows x 118 columns ``cluster_1::0`` to ``cluster_7::30``; no labels.

    Category c's features are (s G_c + o H_c) * sqrt(1 - NOISE_SHARE) + noise * sqrt(NOISE_SHARE),
    then scaled and shifted feature by feature: s are factors shared by all categories, of which
    each category uses half, o its own; all factors and the noise follow Student's t with 4
    degrees of freedom, and the weights of a feature's factors have norm 1.

    >>> table = seed_shape_table()
    >>> table.features.shape, table.family_names[0], table.names[-1]
    ((10000, 118), 'cluster_1', 'cluster_7::30')
    """
    bits = np.random.PCG64(SEED)
    shared = _student_t4(bits, (NUM_ROWS, SHARED_FACTORS))
    blocks: dict[str, NDArray[np.float64]] = {}
    for category, size in enumerate(CATEGORY_SIZES):
        own = _student_t4(bits, (NUM_ROWS, OWN_FACTORS))
        used = (category + np.arange(SHARED_FACTORS // 2)) % SHARED_FACTORS
        factors = np.concatenate([shared[:, used], own], axis=1)
        weights = _normal(bits, (factors.shape[1], size))
        # The first factor of a category is strong in all its features: it is why they are together.
        weights[0] = 1.5 * np.sign(weights[0]) + 0.5 * weights[0]
        weights /= np.sqrt((weights * weights).sum(axis=0))
        noise = _student_t4(bits, (NUM_ROWS, size))
        clean = factors @ weights
        features = np.sqrt(1.0 - NOISE_SHARE) * clean + np.sqrt(NOISE_SHARE) * noise
        scale = 10.0 ** (4.0 * _uniform(bits, (size,)) - 2.0)
        offset = 3.0 * _normal(bits, (size,))
        blocks[f"cluster_{category + 1}"] = (features + offset) * scale
    return FeatureTable.from_families(blocks)


def _uniform(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """In (0, 1), from raw bits, which no numpy version changes, unlike its distributions."""
    raw = bits.random_raw(int(np.prod(shape)))
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return uniform.reshape(shape)


def _normal(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray(ndtri(_uniform(bits, shape)), dtype=np.float64)


def _student_t4(bits: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Student's t with 4 degrees of freedom, scaled to unit variance (t itself has variance 2).

    A chi-square of 4 degrees is -2 log(u v) for uniform u, v; t = normal / sqrt(chi-square / 4).
    """
    chi_square = -2.0 * np.log(_uniform(bits, shape) * _uniform(bits, shape))
    student: NDArray[np.float64] = _normal(bits, shape) / np.sqrt(chi_square / 2.0)
    return student
