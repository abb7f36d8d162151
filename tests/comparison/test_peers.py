"""The peers: exact where they can be, at the bits that they were given."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinlock.comparison.measuring import Fitted, measured, squared_errors
from spinlock.comparison.peers.joint_rq import fit_joint_rq, load_faiss, stage_bits
from spinlock.comparison.peers.pca_kmeans import fit_category, fit_pca_kmeans, lloyd, nearest
from spinlock.comparison.plans import strategy_config
from spinlock.config import TrainConfig
from spinlock.errors import ConfigError, DataError
from spinlock.training.prepare import prepare
from spinlock.training.prepared import Prepared


@pytest.fixture
def prepared(config: TrainConfig) -> Prepared:
    return prepare(strategy_config(config, "uniform"))


def errors(fitted: Fitted, prepared: Prepared) -> dict[str, float]:
    categories = [(c.name, c.num_features) for c in prepared.plan.categories]
    return measured(fitted, prepared.validation, categories).category_mse


def test_nearest_codes() -> None:
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
    plain = [min(range(7), key=lambda k: ((row - codes[k]) ** 2).sum()) for row in x]
    assert nearest(x, codes).tolist() == plain


def test_each_level_lowers_the_error_of_those_before(prepared: Prepared) -> None:
    category = prepared.plan.categories[0]
    x = prepared.train[:, : category.num_features]
    codec = fit_category(x, category, seed=0)
    tokens = codec.encode(x)
    before = np.square(x).mean()
    for level in range(1, len(category.levels) + 1):
        partial = replace(codec, codebooks=codec.codebooks[:level])
        error = np.square(partial.decode(tokens[:, :level]) - x).mean()
        assert error < before
        before = error


def test_pca_kmeans_has_the_plans_codebooks(prepared: Prepared) -> None:
    fitted = fit_pca_kmeans(prepared.train, prepared.validation, prepared.plan, 0)
    assert fitted.codebook_sizes == sum(prepared.plan.codebook_sizes, ())
    assert fitted.bits == pytest.approx(prepared.plan.bits)
    assert fitted.held_out_tokens.shape == (len(prepared.validation), 6)
    assert all(0.0 < error < 0.9 for error in errors(fitted, prepared).values())
    again = fit_pca_kmeans(prepared.train, prepared.validation, prepared.plan, 0)
    assert np.array_equal(again.decoded_held_out, fitted.decoded_held_out)


def test_pca_kmeans_reads_each_category_alone(prepared: Prepared) -> None:
    whole = fit_pca_kmeans(prepared.train, prepared.validation, prepared.plan, 0)
    changed = prepared.validation.copy()
    changed[:, 6:] += 1.0
    part = fit_pca_kmeans(prepared.train, changed, prepared.plan, 0)
    assert np.array_equal(part.decoded_held_out[:, :6], whole.decoded_held_out[:, :6])
    assert not np.array_equal(part.decoded_held_out[:, 6:], whole.decoded_held_out[:, 6:])


def test_fewer_rows_than_codes_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="'shape' has a codebook of 5 codes and 4 training rows"):
        lloyd(np.zeros((4, 2)), 5, 0, "shape")


def test_equal_rows_leave_codes_dead_and_say_nothing() -> None:
    assert lloyd(np.zeros((9, 2)), 3, 0, "shape").shape == (3, 2)


def test_stages_spend_whole_bits() -> None:
    for bits, largest in ((30.7, 4), (8.0, 8), (3.2, 6), (105.68, 5)):
        stages = stage_bits(bits, largest)
        assert sum(stages) == int(bits)
        assert max(stages) <= largest


def test_joint_rq_decodes_what_its_tokens_say(prepared: Prepared) -> None:
    faiss = pytest.importorskip("faiss", reason="faiss is not installed")
    faiss.omp_set_num_threads(1)
    bits = prepared.plan.bits
    fitted = fit_joint_rq(faiss, prepared.train, prepared.validation, bits, 0)
    assert bits - 1 < fitted.bits <= bits
    assert fitted.held_out_tokens.shape == (len(prepared.validation), len(fitted.codebook_sizes))
    assert (fitted.held_out_tokens < np.array(fitted.codebook_sizes)).all()
    mse = squared_errors(prepared.validation, fitted.decoded_held_out).mean()
    more = fit_joint_rq(faiss, prepared.train, prepared.validation, bits + 12, 0)
    assert squared_errors(prepared.validation, more.decoded_held_out).mean() < mse < 0.5


def test_a_missing_faiss_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert load_faiss() is None


def test_a_faiss_that_cannot_be_imported_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('libfaiss.so: file too short')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    with pytest.raises(ConfigError, match=r"faiss \(it is there, but: libfaiss.so: file too short"):
        load_faiss()
