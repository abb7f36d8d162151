"""Bad inputs by name, for the tests of the command line."""

from bad_inputs import checkpoints, configurations, data, outputs
from bad_inputs.registry import CANARY, CASES, World

__all__ = ["CANARY", "CASES", "World", "checkpoints", "configurations", "data", "outputs"]
