"""Settings that every test shares."""

import os
import signal

# A suite started in the background inherits ignored signals, which tests send to themselves.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Test processes share few cores: waiting worker threads would make small operations crawl.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402  numeric libraries read the variables when loaded
from hypothesis import settings  # noqa: E402

# A deadline is a timing assertion, and shared machines are noisy.
settings.register_profile("spinlock", deadline=None, print_blob=True)
settings.load_profile("spinlock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; the others keep their order."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
