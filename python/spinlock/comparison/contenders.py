"""Everyone who is compared on one split, at the same bits."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.ratios import UniformRatios, parse_compression_ratios
from spinlock.comparison import downstream
from spinlock.comparison.budget import Budgeted, at_budget
from spinlock.comparison.measuring import Fitted, gaussian_gap, measured, spectrum
from spinlock.comparison.models import fitted_model
from spinlock.comparison.peers.fsq import fit_fsq
from spinlock.comparison.peers.joint_rq import fit_joint_rq, load_faiss
from spinlock.comparison.peers.pca_kmeans import fit_pca_kmeans
from spinlock.comparison.plans import changed, planned_config, strategy_config
from spinlock.comparison.rows import Accuracy, Row
from spinlock.comparison.settings import PEERS, UNIFORM
from spinlock.comparison.splits import Split, arranged
from spinlock.data.table import FeatureTable
from spinlock.errors import ConfigError, DataError
from spinlock.training.callbacks import Callback
from spinlock.training.folder import RunDirectory
from spinlock.training.interrupts import stopping
from spinlock.training.pipeline import train
from spinlock.training.prepare import prepare
from spinlock.training.prepared import Prepared

if TYPE_CHECKING:
    from spinlock.analysis.compression_plan import CompressionPlan
    from spinlock.config import TrainConfig

NO_FAISS = "faiss is not installed: pip install faiss-cpu"


class Contenders:
    """One split, and what all contenders on it share.

    Args:
        config: comparable, with the split's seed.
        table: the rows of the seed.
        split: which of them are held out.
        bits: the common bits; None: those of the uniform plan on this split.
        runs: folder for the checkpoints of runs.
        callback: is told of every training run.
    """

    def __init__(
        self,
        config: TrainConfig,
        table: FeatureTable,
        split: Split,
        bits: float | None,
        runs: Path,
        callback: Callback,
    ) -> None:
        self.split, self.runs, self.callback = split, runs, callback
        # Without folds the pipeline holds out the same rows by itself, from the data set's path.
        self._table: FeatureTable | None = None
        self.config = config
        if split.fold is not None:
            self.config, self._table = arranged(config, table, split)
        labels = table.labels
        self._labels = None if labels is None else labels[split.training]
        self._held_out_labels = None if labels is None else labels[split.held_out]
        self._bits = bits

    @cached_property
    def shared(self) -> Prepared:
        """The uniform plan, and the rows as every contender sees them."""
        return self._prepared(strategy_config(self.config, UNIFORM))

    @property
    def budget(self) -> float:
        """The common bits per row."""
        return self.shared.plan.bits if self._bits is None else self._bits

    def folder(self, name: str) -> Path:
        """Where the checkpoints of a contender lie."""
        fold = "" if self.split.fold is None else f"-fold-{self.split.fold}"
        return self.runs / f"{name}-seed-{self.split.seed}{fold}"

    def row(self, name: str) -> Row:
        """Fits and measures a contender, or says why it cannot run while the others may.

        Raises:
            KeyboardInterrupt: a signal came.
            ConfigError, DataError: what holds for every contender, such as data without a plan.
        """
        uniform = at_budget(self.shared.plan, self.budget)
        started = time.perf_counter()
        try:
            budgeted = self._budgeted(name) if self._plans(name) else uniform
            planning = time.perf_counter() - started
            fitted = self._fitted(name, budgeted.plan)
        except (ConfigError, DataError) as error:
            # Bits that a strategy cannot spend, fewer rows than codes, a training that diverged.
            return self._empty(name, str(error))
        if isinstance(fitted, str):
            return self._empty(name, fitted)
        categories = [(c.name, c.num_features) for c in self.shared.plan.categories]
        metrics = measured(fitted, self.shared.validation, categories)
        bound, gap = gaussian_gap(metrics, self._spectrum)
        return Row(
            name=name,
            seed=self.split.seed,
            fold=self.split.fold,
            budget=self.budget,
            own_bits=_own_bits(name, budgeted),
            exponent=None if name in PEERS else budgeted.exponent,
            metrics=metrics,
            gaussian_mse=bound,
            gap_db=gap,
            total_codes=sum(fitted.codebook_sizes),
            parameters=fitted.parameters,
            epochs=fitted.epochs,
            seconds=planning + fitted.seconds,
            accuracy=self._accuracy(fitted),
            training_rows=len(self.split.training),
            held_out_rows=len(self.split.held_out),
        )

    def _budgeted(self, name: str) -> Budgeted:
        """A strategy's plan at the common bits."""
        written = parse_compression_ratios(self.config.model.compression_ratios)
        # Of its own accord rate_distortion spends what the published uniform ratios would.
        told = self._bits is not None or isinstance(written, UniformRatios)
        config = strategy_config(self.config, name, self.budget if told else None)
        return at_budget(self._prepared(config).plan, self.budget)

    def _plans(self, name: str) -> bool:
        return name not in PEERS and name != UNIFORM

    def _fitted(self, name: str, plan: CompressionPlan) -> Fitted | str:
        """The fitted contender, or why it cannot run."""
        shared, seed = self.shared, self.split.seed
        if name == "pca_kmeans":
            return fit_pca_kmeans(shared.train, shared.validation, plan, seed)
        if name == "joint_rq":
            faiss = load_faiss()
            if faiss is None:
                return NO_FAISS
            return fit_joint_rq(faiss, shared.train, shared.validation, self.budget, seed)
        if name == "fsq":
            return fit_fsq(self._prepared(planned_config(self.config, plan)), self.callback)
        return self._trained(name, plan)

    def _trained(self, name: str, plan: CompressionPlan) -> Fitted:
        """A strategy's run through the pipeline; continues one that was stopped."""
        folder = self.folder(name)
        config = changed(
            planned_config(self.config, plan),
            training={"checkpoint_dir": str(folder), "keep_checkpoints": 1},
        )
        stopped = RunDirectory(folder).pointer("latest") is not None
        result = train(
            config,
            table=self._table,
            resume="latest" if stopped else None,
            callbacks=[self.callback],
        )
        if result.interrupted:
            raise stopping(result.signal_name)
        metrics = result.metrics
        assert metrics is not None, "a finished run has been measured"
        codes = sum(v.num_tokens * v.latent_dim for c in plan.categories for v in c.levels)
        return fitted_model(
            result.model,
            self.shared.train,
            self.shared.validation,
            dead_codes=metrics.dead_codes or 0,
            code_numbers=codes if config.model.use_ema else 0,
            epochs=len(result.history),
            seconds=max(result.seconds, sum(record.seconds for record in result.history)),
        )

    def _prepared(self, config: TrainConfig) -> Prepared:
        return prepare(config, table=self._table)

    @cached_property
    def _spectrum(self) -> NDArray[np.float64]:
        return spectrum(self.shared.train)

    @cached_property
    def _raw_scores(self) -> downstream.Scores | None:
        """Scores on raw features; None where there is nothing to learn."""
        labels, held_out_labels = self._labels, self._held_out_labels
        if labels is None or held_out_labels is None:
            return None
        if not downstream.usable_labels(labels, held_out_labels):
            return None
        rows = self.shared.train, self.shared.validation
        return downstream.raw_scores(*rows, labels, held_out_labels)

    def _accuracy(self, fitted: Fitted) -> Accuracy | None:
        raw = self._raw_scores
        if raw is None:
            return None
        assert self._labels is not None
        assert self._held_out_labels is not None
        return downstream.decoded_scores(
            raw,
            fitted.decoded_training,
            fitted.decoded_held_out,
            self._labels,
            self._held_out_labels,
        )

    def _empty(self, name: str, note: str) -> Row:
        return Row(name, self.split.seed, self.split.fold, self.budget, note=note)


def _own_bits(name: str, budgeted: Budgeted) -> float | None:
    return None if name in PEERS else budgeted.own_bits
