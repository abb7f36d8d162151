"""The examples of the README that the installed peer carries, with the import changed."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError

PEER, OURS = "vector_quantize_pytorch", "spinlock.compat.vector_quantize_pytorch"
SUPPORTED = {"VectorQuantize", "ResidualVQ", "GroupedResidualVQ"}
REFUSED = ("diveq", "directional_reparam")
# What draws random numbers does not draw the peer's.
RANDOM = ("stochastic_sample_codes", "kmeans_init")


def examples() -> list[str]:
    """Every example that uses classes of ours only; none where the peer is not installed."""
    try:
        metadata: Any = importlib.metadata.metadata("vector-quantize-pytorch")
    except importlib.metadata.PackageNotFoundError:
        return []
    blocks = re.findall(r"```python\n(.*?)```", metadata.get_payload(), re.DOTALL)
    pattern = rf"from {PEER} import (.+)"
    return [
        block
        for block in blocks
        if {name.strip() for line in re.findall(pattern, block) for name in line.split(",")}
        <= SUPPORTED
    ]


def results(block: str) -> dict[str, Tensor]:
    """What an example leaves behind, but for its inputs."""
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(compile(block, "README", "exec"), names)
    inputs = {"x", "img_fmap"}
    return {k: v for k, v in names.items() if isinstance(v, Tensor) and k not in inputs}


def test_the_readme_is_the_one_that_was_read() -> None:
    pytest.importorskip(PEER)
    assert len(examples()) == 13


@pytest.mark.parametrize("number", range(len(examples())))
def test_an_example_with_the_import_changed(number: int) -> None:
    block = examples()[number]
    changed = block.replace(f"from {PEER} import", f"from {OURS} import")
    assert changed != block
    refused = [name for name in REFUSED if re.search(rf"\b{name} = True", block)]
    if refused:
        with pytest.raises(ConfigError, match=refused[0]):
            results(changed)
        return
    expected, found = results(block), results(changed)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
    if expected and not any(name in block for name in RANDOM):
        same = found["indices"] == expected["indices"]
        assert same.double().mean() > 0.99  # of residual levels, later ones follow earlier ones
        if same.all():
            torch.testing.assert_close(
                found["quantized"], expected["quantized"], rtol=1e-3, atol=1e-4
            )
