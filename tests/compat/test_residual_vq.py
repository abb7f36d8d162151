"""ResidualVQ and GroupedResidualVQ against the originals: every option, both modes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from compat.conftest import assert_same_outputs, assert_same_state, assert_same_step
from spinlock.compat import vector_quantize_pytorch as ours

Twins = Callable[..., tuple[Any, Any]]

SEQUENCE = (3, 10, 16)
# With a beam the original moves the averages of its first level only.
STILL = {"ema_update": False}
MASK = torch.arange(30).view(3, 10) % 3 > 0
CASES: list[tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]] = [
    ({}, SEQUENCE, {}),
    ({}, (5, 16), {}),
    ({"rotation_trick": False}, SEQUENCE, {}),
    ({"codebook_dim": 4}, SEQUENCE, {}),
    ({"use_cosine_sim": True}, SEQUENCE, {}),
    ({"commitment_weight": 0.25, "decay": 0.9}, SEQUENCE, {}),
    ({"orthogonal_reg_weight": 0.2}, SEQUENCE, {}),
    ({"quant_grad_frac": 0.3}, SEQUENCE, {}),
    ({"learnable_codebook": True, "ema_update": False}, SEQUENCE, {}),
    ({"stochastic_sample_codes": True, "sample_codebook_temp": 0.3}, SEQUENCE, {}),
    ({"stochastic_sample_codes": True}, SEQUENCE, {"sample_codebook_temp": 0.1}),
    ({"shared_codebook": True}, SEQUENCE, {}),
    ({"shared_codebook": True, "ema_update": False, "learnable_codebook": True}, SEQUENCE, {}),
    ({"quantize_dropout": True}, SEQUENCE, {}),
    ({"quantize_dropout": True, "quantize_dropout_cutoff_index": 2}, SEQUENCE, {}),
    ({"quantize_dropout": True, "quantize_dropout_multiple_of": 2}, SEQUENCE, {}),
    ({}, SEQUENCE, {"return_all_codes": True, "freeze_codebook": True}),
    ({}, SEQUENCE, {"freeze_codebook": True}),
    ({}, SEQUENCE, {"mask": MASK}),
    ({"return_zeros_for_masked_padding": False}, SEQUENCE, {"mask": MASK}),
]
RESIDUAL: list[tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]] = [
    ({"quantize_dropout": True}, SEQUENCE, {"rand_quantize_dropout_fixed_seed": 4}),
    ({"codebook_size": (12, 8, 5), "num_quantizers": None}, SEQUENCE, {}),
    ({**STILL, "beam_size": 3}, SEQUENCE, {}),
    ({**STILL, "beam_size": 3, "rotation_trick": False}, SEQUENCE, {}),
    ({**STILL, "beam_size": 2, "eval_beam_size": 4}, SEQUENCE, {"mask": MASK}),
    ({**STILL, "beam_size": 2, "use_cosine_sim": True}, SEQUENCE, {}),
    ({**STILL, "beam_size": 2, "beam_score_quantizer_weights": [1.0, 0.5, 2.0, 0.1]}, SEQUENCE, {}),
    ({**STILL, "beam_size": 2, "codebook_dim": 4, "commitment_weight": 0.3}, SEQUENCE, {}),
    ({**STILL, "beam_size": 2, "quantize_dropout": True}, SEQUENCE, {}),
    (STILL, SEQUENCE, {"beam_size": 3}),
]


def name(case: Any) -> str:
    settings = {**case[0], **case[2]}.items()
    return ",".join(k if isinstance(v, Tensor) else f"{k}={v}" for k, v in settings) or "plain"


def compare(original: Any, replacement: Any, shape: Any, arguments: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(4)  # no two codes of any row are equally near
    steps = ((True, True), (True, True), (True, False), (True, True), (False, True))
    for training, wanted in steps:
        original.train(training)
        replacement.train(training)
        x = torch.randn(shape, generator=generator)
        assert_same_step(original, replacement, x, wanted, **arguments)


@pytest.mark.parametrize("case", [*CASES, *RESIDUAL], ids=name)
def test_residual_steps_are_those_of_the_original(twins: Twins, case: Any) -> None:
    options, shape, arguments = case
    sizes = {"codebook_size": 12, "num_quantizers": 4}
    compare(*twins("ResidualVQ", **{"dim": 16, **sizes, **options}), shape, arguments)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_grouped_steps_are_those_of_the_original(twins: Twins, case: Any) -> None:
    options, shape, arguments = case
    sizes = {"groups": 2, "codebook_size": 12, "num_quantizers": 3}
    compare(*twins("GroupedResidualVQ", **{"dim": 16, **sizes, **options}), shape, arguments)


def test_images_as_far_as_the_original_takes_them(twins: Twins) -> None:
    for kind in ("ResidualVQ", "GroupedResidualVQ"):
        options = {"groups": 2} if kind != "ResidualVQ" else {}
        sizes = {"codebook_size": 12, "num_quantizers": 3, "accept_image_fmap": True}
        pair = twins(kind, dim=8, **options, **sizes)
        side = 4 if options else 8  # the original wants as many rows and columns as channels
        compare(*pair, (2, 8, side, side), {})


@pytest.mark.parametrize("codebook_dim", [None, 4])
def test_codes_of_indices(twins: Twins, codebook_dim: int | None) -> None:
    options: dict[str, Any] = {"codebook_size": 12, "num_quantizers": 4, "quantize_dropout": True}
    options["codebook_dim"] = codebook_dim
    original, replacement = twins("ResidualVQ", dim=16, **options)
    indices = torch.arange(3 * 10 * 4).view(3, 10, 4) % 12
    indices[0, :, 2:] = -1
    for part in (indices, indices[..., :2]):
        for method in ("get_codes_from_indices", "get_output_from_indices"):
            expected = getattr(original, method)(part)
            assert_same_outputs(getattr(replacement, method)(part), expected)
    assert_same_outputs(replacement.codebooks, original.codebooks)
    original, replacement = twins("GroupedResidualVQ", dim=16, groups=2, **options)
    pair = torch.stack([indices, indices.flip(0)])
    for method in ("get_codes_from_indices", "get_output_from_indices"):
        expected = getattr(original, method)(pair)
        assert_same_outputs(getattr(replacement, method)(pair), expected)
    assert_same_outputs(replacement.codebooks, original.codebooks)


def test_checkpoints_go_both_ways(peer: Any) -> None:
    for kind, more in (("ResidualVQ", {}), ("GroupedResidualVQ", {"groups": 2})):
        options = {"dim": 16, "codebook_size": 12, "num_quantizers": 3, "codebook_dim": 5, **more}
        original = getattr(peer, kind)(**options, kmeans_init=True)
        original(torch.randn(2, 40, 16))
        replacement = getattr(ours, kind)(**options, kmeans_init=True)
        replacement.load_state_dict(original.state_dict())
        assert_same_state(original, replacement)
        x = torch.randn(2, 40, 16)
        assert_same_step(original, replacement, x)
        again = getattr(peer, kind)(**options, kmeans_init=True)
        again.load_state_dict(replacement.state_dict())
        assert_same_step(again, replacement, x)
