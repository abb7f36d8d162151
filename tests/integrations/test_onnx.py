"""Exported modules give onnxruntime the indices and outputs that torch gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spinlock
from spinlock import Lookup, ResidualVQ, Shapes, Update, VectorQuantize
from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.errors import InputError

for library in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason="not installed: pip install 'spinlock-vq[onnx]'")
import onnxruntime  # noqa: E402

from spinlock.integrations.onnx import export_onnx  # noqa: E402

# The exporter's own uses of what torch deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
UNIFORM = Update(init="uniform")


class Decoder(nn.Module):
    """Tokens to latents."""

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, indices: Tensor) -> Tensor:
        """What the indices stand for."""
        decoded: Tensor = self.quantizer.decode(indices)
        return decoded


class Autoencoder(nn.Module):
    """A quantizer between two linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 8), nn.Linear(8, 6)
        self.quantizer = VectorQuantize(8, 16, codebook_dim=4, update=UNIFORM)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and indices."""
        output = self.quantizer(self.encoder(x))
        return self.decoder(output.quantized), output.indices


def modules() -> dict[str, tuple[nn.Module, tuple[int, ...], int]]:
    """Module, shape of its input, and the axis of it whose length is left open."""
    torch.manual_seed(0)
    cosine = Lookup(similarity="cosine")
    levels: dict[str, Any] = {"codebook_size": 16, "num_quantizers": 2}
    flat, sequence, image = (9, 8), (2, 9, 8), (2, 8, 3, 4)
    return {
        "vq": (VectorQuantize(8, 16), sequence, 1),
        "cosine": (VectorQuantize(8, 16, lookup=cosine), sequence, 1),
        "image": (VectorQuantize(8, 16, shapes=Shapes(channels_first=True)), image, 0),
        "residual": (ResidualVQ(8, 16, 2, codebook_dim=5), sequence, 1),
        "grouped": (spinlock.GroupedResidualVQ(8, 16, 2, groups=2), sequence, 1),
        "ragged": (spinlock.RaggedVectorQuantizer([7, 1, 16], [3, 1, 4]), flat, 0),
        "nested": (spinlock.NestedResidualQuantizer([[9, 4], [5, 3]], [[2, 5], [3, 3]]), flat, 0),
        "compat": (compat.VectorQuantize(8, 16, heads=2, codebook_dim=4), sequence, 1),
        "compat-beam": (compat.ResidualVQ(dim=8, beam_size=2, **levels), sequence, 1),
        "compat-grouped": (compat.GroupedResidualVQ(dim=8, groups=2, **levels), sequence, 1),
        "model": (Autoencoder(), (9, 6), 0),
    }


def ran(program: Any, *inputs: Tensor) -> list[np.ndarray[Any, Any]]:
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [given.name for given in session.get_inputs()]
    found: list[np.ndarray[Any, Any]] = session.run(
        None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    )
    return found


@pytest.mark.parametrize("name", modules())
def test_onnxruntime_gives_what_torch_gives(name: str) -> None:
    module, shape, axis = modules()[name]
    source = torch.Generator().manual_seed(1)
    for _ in range(3):
        module(torch.randn(shape, generator=source))
    module.eval()
    open_axis = ({axis: torch.export.Dim("places", min=2)},)
    program = export_onnx(module, (torch.randn(shape),), dynamic_shapes=open_axis)
    assert not [n for n in program.model.graph if n.domain not in ("", "pkg.onnxscript.torch_lib")]
    for length in (2, 33):
        size = [length if i == axis else n for i, n in enumerate(shape)]
        x = 2.0 * torch.randn(size, generator=source)
        found = ran(program, x)
        with torch.no_grad():
            expected = module(x)
        np.testing.assert_array_equal(found[1], expected[1].numpy())
        np.testing.assert_allclose(found[0], expected[0].numpy(), rtol=1e-5, atol=1e-6)


def test_offsets_rows_that_are_not_finite_and_tokens() -> None:
    quantizer = spinlock.RaggedVectorQuantizer([12, 5], [3, 2], init="uniform")
    with torch.no_grad():
        quantizer.bank.weight.add_(1e3)
    quantizer.eval()
    rows = 1e3 + torch.rand(40, 5, generator=torch.Generator().manual_seed(0)) / 6 - 1 / 12
    rows[3, 1], rows[5, 4] = torch.nan, torch.inf
    found = ran(export_onnx(quantizer, (rows,)), rows)
    np.testing.assert_array_equal(found[1], quantizer(rows).indices.numpy())
    assert found[1][3, 0] == found[1][5, 1] == 0
    tokens = quantizer(rows).indices
    decoded = ran(export_onnx(Decoder(quantizer).eval(), (tokens,)), tokens)
    np.testing.assert_array_equal(decoded[0], quantizer.decode(tokens).numpy())


def test_float64_masks_and_two_open_axes() -> None:
    module = VectorQuantize(8, 16, update=UNIFORM).double().eval()
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("time", min=1)}
    example = torch.randn(3, 9, 8, dtype=torch.float64), torch.rand(3, 9) > 0.3
    program = export_onnx(
        module, example[:1], kwargs={"mask": example[1]}, dynamic_shapes={"x": axes, "mask": axes}
    )
    source = torch.Generator().manual_seed(2)
    for size in ((1, 1), (5, 20)):
        x = torch.randn(*size, 8, generator=source, dtype=torch.float64)
        mask = torch.rand(size, generator=source) > 0.3
        found, expected = ran(program, x, mask), module(x, mask=mask)
        np.testing.assert_array_equal(found[1], expected.indices.numpy())
        assert found[0].dtype == np.float64
        np.testing.assert_array_equal(found[0], expected.quantized.numpy())


def test_equal_values_keep_their_order() -> None:
    class Order(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argsort(dim=-1, stable=True)

    x = torch.randint(0, 3, (20, 9), generator=torch.Generator().manual_seed(0)).float()
    np.testing.assert_array_equal(ran(export_onnx(Order().eval(), (x,)), x)[0], Order()(x).numpy())


def test_a_file_is_written_and_training_is_refused(tmp_path: Path) -> None:
    module = Autoencoder().eval()
    export_onnx(module, (torch.randn(4, 6),), str(tmp_path / "m.onnx"), input_names=["features"])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [given.name for given in session.get_inputs()] == ["features"]
    with pytest.raises(InputError, match=r"Autoencoder is in training mode.*\.eval\(\)"):
        export_onnx(module.train(), (torch.randn(4, 6),))
