"""The drop-in quantizers compiled without a graph break, exported, and trained by processes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from processes import in_processes
from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.modules import (
    GroupedResidualVQ,
    LevelDropout,
    Lookup,
    Regularizers,
    ResidualVQ,
    Update,
    VectorQuantize,
)

MODULES: dict[str, Any] = {
    "plain": lambda: VectorQuantize(16, 12),
    "heads": lambda: VectorQuantize(16, 12, heads=2, codebook_dim=5),
    "cosine": lambda: VectorQuantize(16, 12, lookup=Lookup("cosine", "rotation")),
    "learnable": lambda: VectorQuantize(16, 12, update=Update(ema=False)),
    "expiry": lambda: VectorQuantize(16, 12, update=Update(expire_below=1e-9)),
    "terms": lambda: VectorQuantize(
        16, 12, regularizers=Regularizers(orthogonal=0.1, diversity=0.1, orthogonal_used_only=True)
    ),
    "residual": lambda: ResidualVQ(16, 12, 3, lookup=Lookup(estimator="rotation")),
    "shared": lambda: ResidualVQ(16, 12, 3, shared_codebooks=True),
    "beam": lambda: ResidualVQ(16, 12, 3, beam=2),
    "grouped": lambda: GroupedResidualVQ(16, 12, 3, codebook_dim=5),
    "compat": lambda: compat.VectorQuantize(16, 12),
    "compat residual": lambda: compat.ResidualVQ(dim=16, codebook_size=12, num_quantizers=3),
    "compat beam": lambda: compat.ResidualVQ(
        dim=16, codebook_size=12, num_quantizers=3, beam_size=2
    ),
    "compat grouped": lambda: compat.GroupedResidualVQ(
        dim=16, codebook_size=12, num_quantizers=3, groups=2
    ),
}


def rows(count: int = 20, seed: int = 0) -> Tensor:
    return torch.randn(3, count, 16, generator=torch.Generator().manual_seed(seed))


def compiled(module: nn.Module) -> Any:
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")


def results(run: Any, module: nn.Module, x: Tensor) -> list[Any]:
    """Outputs, gradients and state after one step forward and backward."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    quantized, indices, losses, *_ = run(x)
    total = losses.sum() if isinstance(losses, Tensor) else losses.total
    (quantized.square().sum() + total).backward()
    grads = [parameter.grad for parameter in module.parameters()]
    state = copy.deepcopy(list(module.state_dict().values()))
    return [quantized, indices, total, x.grad, *grads, *state]


@pytest.mark.parametrize("name", MODULES)
def test_compiled_steps_are_those_of_direct_calls(name: str) -> None:
    torch.manual_seed(0)
    direct = MODULES[name]()
    direct(rows(seed=5))
    twin = copy.deepcopy(direct)
    run = compiled(twin)
    for seed in (1, 2):
        expected = results(direct, direct, rows(seed=seed))
        torch.testing.assert_close(results(run, twin, rows(seed=seed)), expected)
    direct.eval()
    twin.eval()
    for mine, theirs in zip(run(rows())[:2], direct(rows())[:2], strict=True):
        torch.testing.assert_close(mine, theirs)


def test_levels_are_dropped_in_compiled_steps_too() -> None:
    quantizer = ResidualVQ(16, 12, 3, dropout=LevelDropout(), update=Update(init="uniform"))
    run = compiled(quantizer)
    used = set()
    for _ in range(20):
        before = [layer.bank.ema_counts.clone() for layer in quantizer.levels]
        indices = run(rows()).indices
        count = int((indices[0, 0] >= 0).sum())
        assert (indices[..., count:] == -1).all()
        for level, layer in enumerate(quantizer.levels):
            assert torch.equal(layer.bank.ema_counts, before[level]) == (level >= count)
        used.add(count)
    assert used == {1, 2, 3}


@pytest.mark.parametrize("name", MODULES)
def test_eval_mode_exports_with_any_number_of_rows(name: str) -> None:
    module = MODULES[name]()
    module(rows())
    module.eval()
    program = torch.export.export(
        module, (rows(),), dynamic_shapes=({1: torch.export.Dim("time", min=2)},)
    )
    for count in (2, 33):
        found, expected = program.module()(rows(count)), module(rows(count))
        torch.testing.assert_close(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def _train() -> dict[str, Any]:
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(rank)
    modules = {
        "uniform": VectorQuantize(16, 12, update=Update(init="uniform")),
        "grouped": GroupedResidualVQ(16, 12, 2, update=Update(init="uniform", decay=0.5)),
        "kmeans": ResidualVQ(16, 12, 2, update=Update(expire_below=3.0), dropout=LevelDropout()),
        "compat": compat.VectorQuantize(16, 12, kmeans_init=True, threshold_ema_dead_code=3),
    }
    for module in modules.values():
        for seed in range(3):
            module(rows(20, seed=10 * seed)[rank : rank + 1 if rank + 1 < world else None])
    return {name: module.state_dict() for name, module in modules.items()}


def test_processes_train_one_codebook(tmp_path: Path) -> None:
    states = in_processes(2, tmp_path, _train)
    alone = {
        "uniform": VectorQuantize(16, 12, update=Update(init="uniform")),
        "grouped": GroupedResidualVQ(16, 12, 2, update=Update(init="uniform", decay=0.5)),
    }
    for seed in range(3):
        for module in alone.values():
            module(rows(20, seed=10 * seed))
    for name, first in states[0].items():
        for key, value in first.items():
            if "epoch" in key:  # counted by each process for itself
                continue
            assert torch.equal(value, states[1][name][key]), (name, key)
            if name in alone:
                torch.testing.assert_close(value, alone[name].state_dict()[key])
