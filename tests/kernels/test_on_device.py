"""The kernels on a CUDA device: the suite of the interpreter, launch counts, graphs, host waits."""

import importlib.util

import pytest
import torch

pytestmark = pytest.mark.gpu
HAS_DEVICE = torch.cuda.is_available() and importlib.util.find_spec("triton") is not None

if HAS_DEVICE:
    from cases import FROZEN
    from kernel_edges import *  # noqa: F403
    from kernel_suite import *  # noqa: F403
    from spinlock.modules import RaggedVectorQuantizer

    SEED_SIZES = [32, 16, 8] * 7
    SEED_DIMS = [8, 24, 48] * 7

    def _trained() -> tuple[RaggedVectorQuantizer, torch.Tensor]:
        quantizer = RaggedVectorQuantizer(SEED_SIZES, SEED_DIMS, init="uniform").cuda().train()
        return quantizer, torch.randn(512, sum(SEED_DIMS), device="cuda")

    def test_a_train_step_is_two_kernels_losses_and_usage_included() -> None:
        quantizer, latents = _trained()
        quantizer(latents)
        torch.cuda.synchronize()
        activities = [torch.profiler.ProfilerActivity.CUDA]
        profile = torch.profiler.profile(activities=activities, acc_events=True)
        with torch.no_grad(), profile:
            quantizer(latents)
            torch.cuda.synchronize()
        kernels = [e.name for e in profile.events() if e.device_time_total > 0]
        assert sorted(kernels) == ["quantize_small", "refresh_codes"]

    def test_a_train_step_can_be_captured_and_replayed() -> None:
        quantizer, latents = _trained()
        twin, _ = _trained()
        twin.load_state_dict(quantizer.state_dict())
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            quantizer(latents)
            twin(latents)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = quantizer(latents)
        for _ in range(3):
            graph.replay()
            expected = twin(latents)
        torch.cuda.synchronize()
        assert torch.equal(output.indices, expected.indices)
        assert torch.equal(quantizer.bank.weight, twin.bank.weight)

    def test_modules_take_the_kernels_on_a_device_and_agree_with_the_torch_backend() -> None:
        case = FROZEN[0]
        layout = case.layout
        latents = torch.from_numpy(case.latents).cuda()
        found = []
        for backend in ("triton", "torch"):
            quantizer = RaggedVectorQuantizer(
                layout.codebook_sizes, layout.dims, init="uniform", backend=backend, seed=3
            ).cuda()
            rows = latents.clone().requires_grad_()
            output = quantizer(rows)
            (output.quantized.square().sum() + output.losses.total).backward()
            found.append((output, rows.grad, quantizer.bank.weight))
        (one, one_grad, one_weight), (two, two_grad, two_weight) = found
        assert torch.equal(one.indices, two.indices)
        assert torch.equal(one.quantized, two.quantized)
        torch.testing.assert_close(one.losses.commitment, two.losses.commitment, rtol=1e-5, atol=0)
        torch.testing.assert_close(one_grad, two_grad, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one_weight, two_weight, rtol=1e-5, atol=1e-6)

else:

    @pytest.mark.skip(reason="needs a CUDA device and triton")
    def test_kernels_on_a_device() -> None:
        """Stands for the tests above, which need the device even to be collected."""
