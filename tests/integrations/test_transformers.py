"""Codecs of transformers: the same codes and audio with spinlock looking codes up."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError
from spinlock.modules.residual_codes import residual_codes

transformers = pytest.importorskip(
    "transformers",
    minversion="5.24",
    reason="transformers is not installed: pip install 'spinlock-vq[transformers]'",
)
from spinlock.integrations.transformers import swap_quantizers  # noqa: E402


def encodec() -> nn.Module:
    """Four residual levels."""
    config = transformers.EncodecConfig(
        target_bandwidths=[60.0],
        num_filters=4,
        hidden_size=12,
        codebook_dim=12,
        codebook_size=32,
        upsampling_ratios=[4, 2],
        num_lstm_layers=1,
    )
    return transformers.EncodecModel(config)


def mimi() -> nn.Module:
    """One semantic and three acoustic levels behind projections."""
    config = transformers.MimiConfig(
        hidden_size=16,
        num_filters=4,
        codebook_size=16,
        codebook_dim=8,
        vector_quantization_hidden_dimension=8,
        num_quantizers=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        upsampling_ratios=[4, 2],
        upsample_groups=16,
    )
    return transformers.MimiModel(config)


def dac() -> nn.Module:
    """Four levels of five-dimensional directions."""
    config = transformers.DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4],
        decoder_hidden_size=16,
        upsampling_ratios=[4, 2],
        n_codebooks=4,
        codebook_size=16,
        codebook_dim=5,
    )
    return transformers.DacModel(config)


def xcodec() -> nn.Module:
    """Acoustic and semantic features in one residual quantizer."""
    acoustic = {
        "encoder_hidden_size": 4,
        "downsampling_ratios": [4, 4],
        "decoder_hidden_size": 16,
        "upsampling_ratios": [4, 4],
        "hidden_size": 8,
    }
    semantic = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": [8, 8],
        "conv_stride": [4, 4],
        "conv_kernel": [4, 4],
        "num_feat_extract_layers": 2,
        "num_conv_pos_embedding_groups": 2,
    }
    config = transformers.XcodecConfig(
        target_bandwidths=[20.0],
        codebook_size=32,
        codebook_dim=24,
        acoustic_model_config={"model_type": "dac", **acoustic},
        semantic_model_config={"model_type": "hubert", **semantic},
    )
    return transformers.XcodecModel(config)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "encodec": encodec,
    "mimi": mimi,
    "dac": dac,
    "xcodec": xcodec,
}
LEVELS = {"encodec": (4, 1), "mimi": (4, 2), "dac": (4, 1), "xcodec": (4, 1)}


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> Iterator[nn.Module]:
    """A tiny model with random weights and codebooks."""
    torch.manual_seed(0)
    with torch.random.fork_rng():
        made = MODELS[name]().eval()
        for path, buffer in made.named_buffers():
            if path.endswith(("embed", "embed_sum")):
                nn.init.normal_(buffer, std=0.3)
            elif path.endswith("cluster_usage"):
                nn.init.uniform_(buffer, 0.5, 2.0)
        yield made


def audio(batch: int = 2, length: int = 1024) -> Tensor:
    return torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def codes_and_audio(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    coded: Any = model(x)
    return coded.audio_codes, coded.audio_values


def same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(a[0], b[0])
    assert len(a[0].unique()) > 5
    torch.testing.assert_close(a[1], b[1])


def test_codes_audio_and_weights_stay(name: str, model: nn.Module, tmp_path: Path) -> None:
    x = audio()
    before, state = codes_and_audio(model, x), copy.deepcopy(model.state_dict())
    report = swap_quantizers(model)
    levels, quantizers = LEVELS[name]
    assert len(report.quantizers) == quantizers
    assert sum(len(found.codebook_sizes) for found in report.quantizers) >= levels
    assert all(isinstance(model.get_submodule(f.name), nn.Module) for f in report.quantizers)
    assert f"{report.quantizers[0].dim}" in str(report)
    same(codes_and_audio(model, x), before)
    assert list(model.state_dict()) == list(state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert swap_quantizers(model) == report
    twin = copy.deepcopy(model)
    same(codes_and_audio(twin, x), before)
    assert swap_quantizers(twin) == report
    for found in report.quantizers:  # models with weight norms cannot be pickled whole
        quantizer = model.get_submodule(found.name)
        assert type(pickle.loads(pickle.dumps(quantizer))) is type(quantizer)
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    again = type(model).from_pretrained(tmp_path).eval()  # type: ignore[attr-defined]
    assert len(swap_quantizers(again).quantizers) == quantizers
    same(codes_and_audio(again, x), before)


def test_other_weights_give_other_codes(name: str, model: nn.Module) -> None:
    torch.manual_seed(4)
    x, other = audio(), MODELS[name]().eval()
    for path, buffer in other.named_buffers():
        if path.endswith(("embed", "embed_sum")):
            nn.init.normal_(buffer, std=0.4)
    expected = codes_and_audio(other, x)
    swap_quantizers(model)
    assert not torch.equal(codes_and_audio(model, x)[0], expected[0])
    model.load_state_dict(other.state_dict())
    same(codes_and_audio(model, x), expected)


def test_codes_are_the_nearest_where_rounding_would_miss_them(name: str, model: nn.Module) -> None:
    if name == "dac":
        pytest.skip("directions have no offset")
    swap_quantizers(model)
    quantizer: Any = next(m for m in model.modules() if type(m).__name__.startswith("Swapped"))
    levels = quantizer.layers if hasattr(quantizer, "layers") else quantizer.quantizers
    for level in levels:
        book = level.codebook
        (book.embed_sum if hasattr(book, "embed_sum") else book.embed).add_(1e3)
    if hasattr(quantizer, "input_proj"):
        quantizer.input_proj = None
    codes = [level.codebook.embed for level in levels]
    x = codes[0].T[None] + 0.01 * torch.randn(1, codes[0].shape[1], codes[0].shape[0])
    found = quantizer.encode(x)[0, 0]
    distances = (x[0].T[:, None].double() - codes[0].double()).square().sum(-1)
    assert torch.equal(found, distances.argmin(1))


def test_training_and_half_precision(name: str, model: nn.Module) -> None:
    x = audio()
    plain, swapped = copy.deepcopy(model), model
    swap_quantizers(swapped)
    if name == "dac":  # the one of them that trains its codes
        gradients = []
        for one in (plain, swapped):
            one.train()
            torch.manual_seed(0)
            found: Any = one(x)
            (found.audio_values.square().mean() + found.loss.mean()).backward()
            gradients.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        for key, value in gradients[0].items():
            torch.testing.assert_close(gradients[1][key], value)
    lower = swapped.eval().to(torch.bfloat16)
    codes, decoded = codes_and_audio(lower, x.bfloat16())
    assert codes.dtype is torch.int64
    assert decoded.dtype is torch.bfloat16
    with torch.inference_mode():
        again: Any = lower(x.bfloat16())
    assert torch.equal(again.audio_codes, codes)


class Captioner(nn.Module):
    """Something with a codec inside."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec


def test_models_that_hold_one_and_models_without(model: nn.Module) -> None:
    report = swap_quantizers(Captioner(model))
    assert all(found.name.startswith("codec.") for found in report.quantizers)
    with pytest.raises(ConfigError, match=r"Linear holds no quantizer.*EncodecResidualVector"):
        swap_quantizers(nn.Linear(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_residual_codes_against_float64(dtype: torch.dtype) -> None:
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 6, generator=source).to(dtype)
    books = [torch.randn(k, 6, generator=source).to(dtype) for k in (9, 1, 16)]
    found = residual_codes(rows, books)
    residual = rows
    for level, book in enumerate(books):
        distances = (residual[:, None].double() - book.double()).square().sum(-1)
        assert torch.equal(found[:, level], distances.argmin(1))
        residual = residual - book[found[:, level]]
    assert residual_codes(rows[:0], books).shape == (0, 3)
    compiled = torch.compile(residual_codes, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(rows, books), found)
