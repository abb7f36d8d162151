"""The kernels on a CUDA device: the suite of the interpreter, launch counts, graphs, host waits."""

import importlib.util

import pytest
import torch

pytestmark = pytest.mark.gpu
HAS_DEVICE = torch.cuda.is_available() and importlib.util.find_spec("triton") is not None

if HAS_DEVICE:
    from kernel_suite import *  # noqa: F403
