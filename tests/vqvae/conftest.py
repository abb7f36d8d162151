"""Models draw their first weights from torch's generator; tests must not depend on its past."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
