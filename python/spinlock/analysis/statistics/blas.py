"""BLAS on one thread, for products that are small or that must not depend on the thread count."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np  # noqa: F401  (its BLAS must be loaded before the libraries are listed)
from threadpoolctl import ThreadpoolController


@cache
def _libraries(with_scipy: bool) -> ThreadpoolController:  # noqa: ARG001
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products inside give the same bits whatever the number of cores.

    On a machine whose cores are busy it is also the faster choice for products of less than about
    a second: OpenBLAS' threads wait for each other by spinning, which can cost a hundredfold.

    >>> with one_blas_thread():
    ...     pass
    """
    # scipy brings a BLAS of its own, whenever it is imported.
    with _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas"):
        yield
