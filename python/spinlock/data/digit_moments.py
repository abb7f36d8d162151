"""Moments of small integer images: raw, central, normalised, Hu's, the ellipse of inertia.

Central moments are computed as one fraction of integers, mu_pq = n / m00^(p+q), and only the
division rounds.
"""

from math import comb

import numpy as np
from numpy.typing import NDArray

ORDER = 4


def moments(images: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Columns of the family ``moments`` for images [N, H, W] of small non-negative integers.

    raw_p_q = sum of row^p column^q ink; central_p_q about the centre of mass (central_0_0 repeats
    raw_0_0, and orders (1, 0), (0, 1) are 0 by construction); normalised_p_q = central_p_q /
    raw_0_0^(1 + (p + q) / 2); hu1 to hu7 after Hu, Visual pattern recognition by moment
    invariants (1962), unchanged by shift, rotation and, up to sign, mirroring.
    """
    orders = [(p, q) for p in range(ORDER + 1) for q in range(ORDER + 1 - p)]
    row = np.arange(images.shape[1])[:, None]
    column = np.arange(images.shape[2])[None, :]
    raw = {(p, q): (images * (row**p * column**q)).sum(axis=(1, 2)) for p, q in orders}
    ink = raw[0, 0] * 1.0
    central = {order: _central(raw, *order) / _power(ink, sum(order)) for order in orders}
    normalised = {
        (p, q): central[p, q] / _half_integer_power(ink, p + q) / ink
        for p, q in orders
        if p + q > 1
    }
    columns = {f"raw_{p}_{q}": raw[p, q] for p, q in orders}
    columns |= {f"central_{p}_{q}": central[p, q] for p, q in orders}
    columns |= {f"normalised_{p}_{q}": normalised[p, q] for p, q in normalised}
    columns |= {f"hu{i}": values for i, values in enumerate(_hu(normalised), 1)}
    columns["centre_row"] = raw[1, 0] / ink
    columns["centre_column"] = raw[0, 1] / ink
    return columns | _ellipse(central, ink)


def _central(raw: dict[tuple[int, int], NDArray[np.int64]], p: int, q: int) -> NDArray[np.int64]:
    """m00^(p+q) mu_pq = sum_ij C(p,i) C(q,j) (-m10)^(p-i) (-m01)^(q-j) m00^(i+j) m_ij, exactly."""
    total = np.zeros_like(raw[0, 0])
    for i in range(p + 1):
        for j in range(q + 1):
            shift = (-raw[1, 0]) ** (p - i) * (-raw[0, 1]) ** (q - j)
            total += comb(p, i) * comb(q, j) * shift * raw[0, 0] ** (i + j) * raw[i, j]
    return total


def _power(base: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """By repeated multiplication, which rounds alike everywhere; the power function may not."""
    result = np.ones_like(base)
    for _ in range(exponent):
        result = result * base
    return result


def _half_integer_power(base: NDArray[np.float64], halves: int) -> NDArray[np.float64]:
    whole = _power(base, halves // 2)
    return whole * np.sqrt(base) if halves % 2 else whole


def _hu(n: dict[tuple[int, int], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    a, b = n[3, 0] + n[1, 2], n[2, 1] + n[0, 3]
    c, d = n[3, 0] - 3.0 * n[1, 2], 3.0 * n[2, 1] - n[0, 3]
    e = n[2, 0] - n[0, 2]
    f, g = a * a - 3.0 * b * b, 3.0 * a * a - b * b
    return [
        n[2, 0] + n[0, 2],
        e * e + 4.0 * n[1, 1] * n[1, 1],
        c * c + d * d,
        a * a + b * b,
        c * a * f + d * b * g,
        e * (a * a - b * b) + 4.0 * n[1, 1] * a * b,
        d * a * f - c * b * g,
    ]


def _ellipse(
    central: dict[tuple[int, int], NDArray[np.float64]], ink: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Variances along the principal axes of the ink, in squared pixels, and their ratio."""
    rows, columns, both = central[2, 0] / ink, central[0, 2] / ink, central[1, 1] / ink
    spread = np.sqrt((rows - columns) * (rows - columns) + 4.0 * both * both)
    major, minor = (rows + columns + spread) / 2.0, (rows + columns - spread) / 2.0
    return {"axis_major": major, "axis_minor": minor, "axis_ratio": minor / major}
