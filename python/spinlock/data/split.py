"""The split into training and validation rows."""

import numpy as np
from numpy.typing import NDArray

from spinlock.errors import ConfigError, DataConfigError, DataError

Rows = NDArray[np.int64]


def split_rows(num_rows: int, validation_split: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers for training and for validation, shuffled; every row is in exactly one.

    With p = ``numpy.random.RandomState(1000 + seed).permutation(num_rows)``, validation is the
    first ``int(validation_split * num_rows)`` entries of p and training is the rest.

    Returns:
        training int64 [N - V], validation int64 [V].

    Raises:
        ConfigError: a share outside [0, 1), or a seed that numpy does not take.
        DataConfigError: a share that leaves fewer than 2 rows for training.
        DataError: fewer than 2 rows in all.

    >>> training, validation = split_rows(6, 0.4, seed=0)
    >>> training.tolist(), validation.tolist()
    ([2, 5, 0, 3], [1, 4])
    """
    if not 0.0 <= validation_split < 1.0:
        raise ConfigError(
            f"training.validation_split is {validation_split!r}; expected a share of the rows, at "
            "least 0 and below 1."
        )
    if not 0 <= 1000 + seed < 2**32:
        raise ConfigError(f"random_seed is {seed}; expected -1000 to 4294966295.")
    num_validation = int(validation_split * num_rows)
    if num_rows - num_validation < 2:
        kind = DataError if num_rows < 2 else DataConfigError
        raise kind(
            f"{num_rows} {'row' if num_rows == 1 else 'rows'} with validation_split "
            f"{validation_split} leave {max(num_rows - num_validation, 0)} for training; "
            "at least 2 are needed. Lower training.validation_split or give more rows."
        )
    shuffled = np.random.RandomState(1000 + seed).permutation(num_rows).astype(np.int64)
    return shuffled[num_validation:], shuffled[:num_validation]
