"""Ridge regression from all codes, against its normal equations."""

import numpy as np
import pytest

from spinlock.analysis.curve_measurer import CurveMeasurer
from spinlock.analysis.shared_decoder import _RIDGES, _predictions, shared_decoder_shares


@pytest.mark.parametrize("width", [3, 40, 41, 90])
def test_both_forms_solve_the_normal_equations(width: int) -> None:
    rng = np.random.default_rng(width)
    decoded, missed = rng.normal(size=(40, width)), rng.normal(size=(40, 5))
    held = rng.normal(size=(7, width))
    gram = decoded.T @ decoded
    for ridge, found in zip(_RIDGES, _predictions(decoded, missed, held), strict=True):
        scale = ridge * np.linalg.eigvalsh(gram)[-1]
        weight = np.linalg.solve(gram + scale * np.eye(width), decoded.T @ missed)
        np.testing.assert_allclose(found, held @ weight, atol=1e-7)


def test_nothing_to_decode_and_nothing_to_predict() -> None:
    assert np.isfinite(_predictions(np.zeros((5, 2)), np.zeros((5, 2)), np.zeros((3, 2)))).all()
    constant = {name: CurveMeasurer(np.ones((20, 2)), 4.0) for name in ("a", "b")}
    sizes = dict.fromkeys(constant, (2, 2))
    assert shared_decoder_shares(constant, sizes) == {"a": 1.0, "b": 1.0}


def test_a_copy_is_known_from_the_other() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 4))
    measurers = {
        "coarse": CurveMeasurer(rows, 12.0),
        "fine": CurveMeasurer(rows, 12.0),
        "other": CurveMeasurer(rng.normal(size=(600, 4)), 12.0),
    }
    shares = shared_decoder_shares(measurers, {"coarse": (2, 2), "fine": (64, 32), "other": (8, 8)})
    assert shares["coarse"] < 0.35
    assert shares["fine"] == pytest.approx(1.0, abs=0.1)
    assert shares["other"] == pytest.approx(1.0, abs=0.1)
