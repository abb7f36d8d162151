"""``FeatureTokenizer``: DataFrame in, tokens out, by scikit-learn's conventions."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from spinlock.config.parameters import Base, parameters_from_config
from spinlock.data.frames import qualified_names, read_frame, user_name
from spinlock.errors import DataError
from spinlock.estimator.columns import (
    arrays_inside,
    in_container,
    numbered,
    rows_in_order,
    tokens_in_order,
)
from spinlock.estimator.encoding import read_encoding, save_tokenizer
from spinlock.estimator.listener import Listener
from spinlock.estimator.run import trained_on
from spinlock.tokens.codec import Codec
from spinlock.training.callbacks import Callback
from spinlock.training.checkpoint import SavedModel, load_model
from spinlock.training.planning import without_computed_ratios


class FeatureTokenizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns a discrete tokenizer of a feature table: fit, transform to tokens, and back.

    The same pipeline as ``spinlock train-vqvae``: cleaning, categories, compression ratios,
    normalisation, a categorical hierarchical VQ-VAE.  Rows that ``validation_split`` holds out are
    measured, not trained on.  docs/estimator.md has worked examples.

    A parameter left at None takes what ``config`` says, and its default (in parentheses) where
    ``config`` does not say it either.

    Args:
        compression_ratios: ("auto") ``"auto"``, ``"0.5:1.0:1.5"``, a list, or one per category.
        strategy: ("balanced") how ``"auto"`` chooses: ``model.auto_compression_strategy``.
        num_levels: (3 with "auto") levels per category.
        hierarchy: ("residual") or ``"independent"``.
        num_epochs: (100).
        batch_size: (512) rows per step, at most the training rows.
        learning_rate: (2e-3).
        validation_split: (0.2) share of the rows that is held out.
        early_stopping_patience: (off) epochs, measured or not, without improvement before
            training ends.
        category_assignment: ("auto") ``"auto"``, ``"families"``, or ``{category: [columns]}``.
        num_categories: (measured) number of clusters, ``training.num_categories_auto``.
        isolated_families: ([]) families that become categories of their own.
        outlier_method: ("percentile") ``"iqr"``, ``"mad"`` or ``"none"``.
        missing_indicators: (False) a 0/1 column for each column with missing values.
        normalization_method: ("standard") or ``"mad"``.
        random_state: (0) an int, or a ``RandomState`` to draw one from; the same int gives the
            same tokenizer.
        device: ("cpu") ``"cuda"``, ``"cuda:1"`` or ``"auto"``; results are kept on the CPU.
        beam: code sequences that ``transform`` follows through the levels of a category: 1 takes
            each nearest code, 4 to 16 come closer at a cost in time (residual form).
        sweeps: times that ``transform`` reconsiders every token by what the whole decoder makes of
            it: 1 or 2 come clearly closer at a cost in time.
        own_error_limit: (none) how many times larger sweeps may make what a category's own tokens
            alone miss of a row; at least 1.
        restarts: times that sweeps begin anew from displaced tokens; 4 to 16 come closer again.
        num_threads: (by the model's size) CPU threads of a training step.
        checkpoint_dir: (none) where the run keeps its checkpoints; nothing stays on disk without.
        config: keys that no parameter sets: a ``TrainConfig``, nested mappings such as
            ``{"model": {"decay": 0.99}}``, or the path of a YAML file.
        callbacks: :class:`spinlock.training.callbacks.Callback` objects that follow the run.
        verbose: 1 prints what the pipeline finds and every tenth epoch, 2 every epoch.

    Attributes:
        saved_: the model with all that stands around it, as a checkpoint holds it.
        plan_: ratios, latent dims and codebook sizes per category.
        model_: the VQ-VAE, in evaluation mode, on the CPU.
        categories_: category name -> its columns.
        history_: one record per epoch.
        metrics_: of the last measured epoch: errors per category, use of the codebooks.
        contract_: which features and codebooks the tokens belong to.
        n_features_in_: D.
        feature_names_in_: the columns' names, str [D]; only if they had names.

    >>> rows = np.random.default_rng(0).normal(size=(200, 6)) @ np.ones((6, 6)) + np.eye(200, 6)
    >>> tokenizer = FeatureTokenizer(num_epochs=2, compression_ratios=[0.5, 1.0])
    >>> tokens = tokenizer.fit_transform(rows)
    >>> tokens.shape, tokens.dtype, tokenizer.inverse_transform(tokens).shape
    ((200, 2), dtype('uint8'), (200, 6))
    """

    def __init__(
        self,
        *,
        compression_ratios: Any = None,
        strategy: str | None = None,
        num_levels: int | None = None,
        hierarchy: str | None = None,
        num_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        validation_split: float | None = None,
        early_stopping_patience: int | None = None,
        category_assignment: str | Mapping[str, Sequence[str]] | None = None,
        num_categories: int | None = None,
        isolated_families: Sequence[str] | None = None,
        outlier_method: str | None = None,
        missing_indicators: bool | None = None,
        normalization_method: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str | None = None,
        beam: int = 1,
        sweeps: int = 0,
        own_error_limit: float | None = None,
        restarts: int = 0,
        num_threads: int | None = None,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        config: Base = None,
        callbacks: Sequence[Callback] | None = None,
        verbose: int = 0,
    ) -> None:
        self.compression_ratios = compression_ratios
        self.strategy = strategy
        self.num_levels = num_levels
        self.hierarchy = hierarchy
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_split = validation_split
        self.early_stopping_patience = early_stopping_patience
        self.category_assignment = category_assignment
        self.num_categories = num_categories
        self.isolated_families = isolated_families
        self.outlier_method = outlier_method
        self.missing_indicators = missing_indicators
        self.normalization_method = normalization_method
        self.random_state = random_state
        self.device = device
        self.beam = beam
        self.sweeps = sweeps
        self.own_error_limit = own_error_limit
        self.restarts = restarts
        self.num_threads = num_threads
        self.checkpoint_dir = checkpoint_dir
        self.config = config
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> Self:
        """Trains on rows [N, D]: a DataFrame, a pyarrow Table, a matrix, lists, a FeatureTable.

        Raises:
            ConfigError: parameters that cannot be used, all of them.
            DataError: columns that hold no numbers, too few rows, no column that varies.
            KeyboardInterrupt: Ctrl-C; the estimator stays as it was.
        """
        del y
        frame = read_frame(X)
        if len(frame.values) < 2:
            raise DataError(
                f"Found array with {len(frame.values)} sample(s) (shape={frame.values.shape}) "
                "while a minimum of 2 is required: a single row teaches nothing"
            )
        parameters = self.get_params(deep=False)
        callbacks = [Listener(self.verbose), *(self.callbacks or ())]
        self._remember(trained_on(frame.table(), self.config, parameters, callbacks), frame.names)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Tokens [N, Q] of rows [N, D], in the smallest unsigned dtype that holds every code.

        Columns that have names are found by them, whatever their order.  With
        ``set_output(transform="pandas")`` the tokens are a DataFrame.

        Raises:
            DataError: columns missing, not expected, or without numbers.
        """
        rows = self._rows(X)
        with arrays_inside():
            return self._codec().encode(rows)

    def inverse_transform(self, X: Any) -> Any:
        """Rows [N, D] float32 that tokens [N, Q] stand for: units and columns as fitted.

        A DataFrame where ``set_output`` asks for one, like :meth:`transform`.

        Raises:
            DataError: other columns than those of :meth:`transform`, or values that are no codes.
        """
        check_is_fitted(self)
        tokens = tokens_in_order(X, self.saved_)
        with arrays_inside():
            decoded = self._codec().decode(tokens)
        unnamed = [numbered(name) for name in self.saved_.preprocessing.names]
        return in_container(decoded, getattr(self, "feature_names_in_", unnamed), X, self)

    def score(self, X: Any, y: object = None) -> float:
        """Negative error of what :meth:`transform` makes of rows [N, D]: 0 perfect, -1 the means.

        The mean over categories of the squared error per feature, in z-units.

        Raises:
            DataError: columns missing, not expected, or without numbers; no rows.
        """
        del y
        rows = self._rows(X)
        if not len(rows):
            raise DataError("X: expected at least 1 row to score, got none")
        with arrays_inside():
            return -self._codec().error(rows)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the token columns, ``<category>/L<level>``, an object array [Q].

        Raises:
            DataError: ``input_features`` are not those that were fitted.
        """
        check_is_fitted(self)
        if input_features is not None:
            self._check_input_features([str(name) for name in np.asarray(input_features)])
        return np.array(self.contract_.quantizers, dtype=object)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Writes a checkpoint folder, all of it or nothing, which every command takes.

        A folder that this wrote before is replaced; any other that holds something stays.

        Raises:
            CheckpointError: it cannot be written; what was there is untouched.
        """
        check_is_fitted(self)
        return save_tokenizer(self.saved_, self.get_params(deep=False), folder)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], *, device: str = "cpu", verbose: int = 0
    ) -> Self:
        """A fitted tokenizer from :meth:`save_pretrained`, or from any run of ``train-vqvae``.

        Its parameters are those of the run, so that ``fit`` trains another one alike, and those by
        which the saved tokenizer encoded.

        Args:
            path: a checkpoint folder, or a checkpoint_dir whose latest is meant.
            device: where to encode, and to train again.
            verbose: as in the constructor.

        Raises:
            CheckpointError: missing, damaged, foreign or of a newer format.
        """
        saved = load_model(Path(path))
        parameters = parameters_from_config(saved.config)
        assert saved.path is not None
        parameters |= read_encoding(saved.path)
        parameters |= {"checkpoint_dir": None, "device": device}
        config = without_computed_ratios(saved.config)
        tokenizer = cls(**parameters, config=config, verbose=verbose)
        names = saved.preprocessing.names
        unnamed = names == qualified_names(None, len(names))
        tokenizer._remember(saved, None if unnamed else tuple(map(user_name, names)))
        if tokenizer.category_assignment == "manual":  # its file may be gone
            tokenizer.category_assignment = dict(tokenizer.categories_)
        return tokenizer

    def _remember(self, saved: SavedModel, names: tuple[str, ...] | None) -> None:
        preprocessing = saved.preprocessing
        columns = iter(preprocessing.feature_names)
        own = user_name if names is not None else numbered
        groups = preprocessing.groups
        self.saved_ = saved
        self.plan_ = saved.plan
        self.model_ = saved.model
        self.categories_ = {
            name: [own(next(columns)) for _ in range(size)]
            for name, size in zip(groups.names, groups.sizes, strict=True)
        }
        self.history_ = saved.history
        self.metrics_ = saved.metrics
        self.contract_ = saved.contract
        self.n_features_in_ = len(preprocessing.names)
        self._n_features_out = len(saved.contract.quantizers)
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _codec(self) -> Codec:
        saved = self.saved_
        device = saved.config.device if self.device is None else self.device
        if device != "cpu":  # what is pickled stays on the CPU
            saved = replace(saved, model=copy.deepcopy(saved.model))
        return Codec(
            saved,
            device=device,
            beam=self.beam,
            sweeps=self.sweeps,
            own_error_limit=self.own_error_limit,
            restarts=self.restarts,
        )

    def _rows(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        return rows_in_order(
            read_frame(X),
            self.saved_.preprocessing.names,
            named=hasattr(self, "feature_names_in_"),
            estimator=type(self).__name__,
        )

    def _check_input_features(self, given: list[str]) -> None:
        if len(given) != self.n_features_in_:
            raise DataError(
                f"input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(given)}"
            )
        if given != list(getattr(self, "feature_names_in_", given)):
            raise DataError("input_features is not equal to feature_names_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"allow_nan": True, "preserves_dtype": []}
