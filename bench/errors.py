"""What the bench raises; each message says what was expected and what came."""

__all__ = ["BenchError", "Unavailable"]


class BenchError(Exception):
    """A request that cannot be run; the command ends with this sentence."""


class Unavailable(Exception):
    """A contender that cannot run here; it becomes a row that says why."""
