"""What the tests of this folder share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinlock.data import load_table
from spinlock.errors import DataError


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Loads a data set that must be refused; returns the one readable message that it gets."""

    def load(path: Path, families: Any = None, **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            load_table(path, families, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert message.isprintable()
        assert len(message) < 1000
        return message

    return load
