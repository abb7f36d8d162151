"""The options of ``RaggedVectorQuantizer`` on a device learn what they learn on a CPU."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.modules import RaggedVectorQuantizer
from spinlock.modules.outputs import QuantizerOutput

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SIZES, DIMS, ROWS, STEPS = (16, 300, 2048, 7), (4, 20, 64, 130), 257, 3
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"commitment_reduction": "sum", "commitment_weight": 0.25},
    "rotation": {"rotation_trick": True},
    "cosine": {"similarity": "cosine"},
    "learnable": {"use_ema": False},
    "learnable rotation": {"use_ema": False, "rotation_trick": True},
}


def _learnt(
    options: dict[str, Any], device: str, *, masked: bool, compiled: bool = False
) -> tuple[RaggedVectorQuantizer, list[QuantizerOutput], list[Tensor]]:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, init="uniform", decay=0.9, seed=5, **options)
    draw = torch.Generator().manual_seed(1)
    quantizer.initialize_from(torch.randn(2500, sum(DIMS), generator=draw), draw)
    quantizer.to(device).train()
    run = torch.compile(quantizer, fullgraph=True) if compiled else quantizer
    outputs, gradients = [], []
    for _ in range(STEPS):
        latents = torch.randn(ROWS, sum(DIMS), generator=draw).to(device).requires_grad_()
        seed = torch.randn(ROWS, sum(DIMS), generator=draw).to(device)
        mask = (torch.rand(ROWS, generator=draw) > 0.3).to(device) if masked else None
        output = run(latents, mask)
        (output.quantized.mul(seed).sum() + output.losses.total).backward()
        assert latents.grad is not None
        outputs.append(output)
        gradients.append(latents.grad)
    return quantizer, outputs, gradients


@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])
@pytest.mark.parametrize("name", OPTIONS)
def test_steps_on_a_device_are_those_on_a_cpu(name: str, masked: bool) -> None:
    _agree(
        _learnt(OPTIONS[name], "cpu", masked=masked), _learnt(OPTIONS[name], "cuda", masked=masked)
    )


@pytest.mark.filterwarnings("ignore")  # of the compiler's own imports
@pytest.mark.parametrize("name", OPTIONS)
def test_compiled_steps_on_a_device_are_those_on_a_cpu(name: str) -> None:
    torch._dynamo.reset()
    options = OPTIONS[name]
    _agree(
        _learnt(options, "cpu", masked=False),
        _learnt(options, "cuda", masked=False, compiled=True),
    )


def _agree(one: Any, two: Any) -> None:
    (ours, outputs, gradients), (theirs, others, other_gradients) = one, two
    for step in range(STEPS):
        a, b = outputs[step], others[step]
        # Codes move apart by rounding, so that only the first step's are equal for certain.
        same = (a.indices == b.indices.cpu()).float().mean()
        assert same == 1.0 if step == 0 else same > 0.999
        rows = (a.indices == b.indices.cpu()).all(dim=1)
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(b.quantized.cpu()[rows], a.quantized[rows], **close)
        torch.testing.assert_close(b.losses.commitment.cpu(), a.losses.commitment, **close)
        torch.testing.assert_close(
            other_gradients[step].cpu()[rows], gradients[step][rows], **close
        )
    for name, tensor in ours.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(
                theirs.state_dict()[name].cpu(), tensor, rtol=1e-3, atol=1e-3, msg=name
            )
