"""scikit-learn's habits for steps that are fitted, where scikit-learn itself is not needed.

Importing it takes over a second of processor time, for scipy.stats and pandas come with it.
"""

import inspect
from typing import Any

__all__ = ["parameter_names", "parameters_of", "require_fitted"]


def parameter_names(step: type) -> list[str]:
    """The parameters of a step's constructor, sorted."""
    parameters = inspect.signature(step).parameters.values()
    return sorted(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)


def parameters_of(step: object) -> dict[str, Any]:
    """What a step was made with: what its ``get_params`` gives, if it is an estimator."""
    return {name: getattr(step, name) for name in parameter_names(type(step))}


def require_fitted(step: object, attribute: str) -> None:
    """Refuses a step that lacks what ``fit`` gives it.

    Raises:
        NotFittedError: scikit-learn's own, in its words.
    """
    if hasattr(step, attribute):
        return
    from sklearn.exceptions import NotFittedError

    raise NotFittedError(
        f"This {type(step).__name__} instance is not fitted yet. Call 'fit' with appropriate "
        "arguments before using this estimator."
    )
