"""``FeatureTokenizer``: DataFrame in, tokens out, by scikit-learn's conventions."""

from spinlock.estimator.feature_tokenizer import FeatureTokenizer

__all__ = ["FeatureTokenizer"]
