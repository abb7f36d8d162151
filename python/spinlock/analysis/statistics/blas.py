"""BLAS on one thread, for products that are small or that must not depend on the thread count."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  (loads scipy's BLAS before the libraries are listed)
from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products inside give the same bits whatever the number of cores.

    On a machine whose cores are busy it is also the faster choice for products of less than about
    a second: OpenBLAS' threads wait for each other by spinning, which can cost a hundredfold.

    >>> with one_blas_thread():
    ...     pass
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield
