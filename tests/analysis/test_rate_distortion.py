"""Reverse water-filling against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.analysis.rate_distortion import gaussian_distortion, water_level
from spinlock.errors import DataError

SPECTRA = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(spectrum=SPECTRA, bits=st.floats(0.0, 60.0))
def test_the_water_level_spends_exactly_the_bits(spectrum: list[float], bits: float) -> None:
    level = water_level(spectrum, bits)
    values = np.array(spectrum)
    spent = np.maximum(0.0, 0.5 * np.log2(values / level)).sum()
    assert spent == pytest.approx(bits, abs=1e-6)
    assert gaussian_distortion(spectrum, bits) == pytest.approx(np.minimum(values, level).mean())


@given(spectrum=SPECTRA, bits=st.floats(0.0, 40.0), more=st.floats(0.1, 10.0))
def test_more_bits_lose_less(spectrum: list[float], bits: float, more: float) -> None:
    assert gaussian_distortion(spectrum, bits + more) < gaussian_distortion(spectrum, bits)


def test_without_bits_all_variance_is_lost() -> None:
    assert gaussian_distortion([3.0, 2.0, 1.0, 0.0], 0.0) == 1.5
    assert gaussian_distortion([0.0, 0.0], 5.0) == 0.0


def test_one_component_loses_six_decibels_per_bit() -> None:
    for bits in range(8):
        assert gaussian_distortion([2.0], bits) == pytest.approx(2.0 * 4.0**-bits)


@pytest.mark.parametrize(
    ("spectrum", "bits"), [([], 1.0), ([1.0, np.nan], 1.0), ([1.0], -1.0), ([1.0], np.nan)]
)
def test_senseless_arguments_are_refused(spectrum: list[float], bits: float) -> None:
    with pytest.raises(DataError, match="finite eigenvalues and bits >= 0"):
        gaussian_distortion(spectrum, bits)
