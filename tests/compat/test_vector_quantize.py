"""VectorQuantize against the original: every option, training and eval mode."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from compat.conftest import assert_same_outputs, assert_same_state, assert_same_step

Twins = Callable[..., tuple[Any, Any]]

SEQUENCE = (3, 10, 16)
# Gradients through distances: the original overwrites the codes that its backward pass reads.
STILL = {"ema_update": False}
CASES: list[tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]] = [
    ({}, SEQUENCE, {}),
    ({}, (5, 16), {}),
    ({"decay": 0.95, "eps": 1e-3}, SEQUENCE, {}),
    ({"rotation_trick": False}, SEQUENCE, {}),
    ({"codebook_dim": 4}, SEQUENCE, {}),
    ({"codebook_dim": 5}, SEQUENCE, {}),
    ({"codebook_dim": 4, "layernorm_after_project_in": True}, SEQUENCE, {}),
    ({"heads": 2, "codebook_dim": 8}, SEQUENCE, {}),
    ({"heads": 2, "codebook_dim": 4}, (5, 16), {}),
    ({"heads": 2}, SEQUENCE, {}),
    ({"heads": 4, "codebook_dim": 4, "separate_codebook_per_head": True}, SEQUENCE, {}),
    ({"heads": 2, "codebook_dim": 3, "separate_codebook_per_head": True}, SEQUENCE, {}),
    ({"use_cosine_sim": True}, SEQUENCE, {}),
    ({"use_cosine_sim": True, "rotation_trick": False, "codebook_dim": 4}, SEQUENCE, {}),
    ({"use_cosine_sim": True, "heads": 2, "separate_codebook_per_head": True}, SEQUENCE, {}),
    ({"channel_last": False}, (3, 16, 10), {}),
    ({"accept_image_fmap": True}, (2, 16, 3, 4), {}),
    ({"accept_image_fmap": True, "heads": 2, "codebook_dim": 8}, (2, 16, 3, 4), {}),
    ({"accept_image_fmap": True, "codebook_dim": 4}, (2, 16, 3, 4), {}),
    ({"accept_3d_fmap": True}, (2, 16, 2, 3, 4), {}),
    ({"commitment_weight": 0.25}, SEQUENCE, {}),
    ({"commitment_weight": 0.0}, SEQUENCE, {}),
    ({**STILL, "commitment_use_cross_entropy_loss": True}, SEQUENCE, {}),
    ({**STILL, "commitment_use_cross_entropy_loss": True, "heads": 2}, SEQUENCE, {}),
    ({**STILL, "commitment_use_cross_entropy_loss": True, "use_cosine_sim": True}, SEQUENCE, {}),
    ({"orthogonal_reg_weight": 0.5}, SEQUENCE, {}),
    ({"orthogonal_reg_weight": 0.5, "orthogonal_reg_max_codes": 5}, SEQUENCE, {}),
    ({"orthogonal_reg_weight": 0.5, "orthogonal_reg_active_codes_only": True}, SEQUENCE, {}),
    ({"orthogonal_reg_weight": 0.5, "heads": 2, "separate_codebook_per_head": True}, SEQUENCE, {}),
    ({**STILL, "codebook_diversity_loss_weight": 0.1}, SEQUENCE, {}),
    (
        {
            **STILL,
            "codebook_diversity_loss_weight": 0.1,
            "codebook_diversity_temperature": 3.0,
            "heads": 2,
        },
        SEQUENCE,
        {},
    ),
    ({"stochastic_sample_codes": True, "sample_codebook_temp": 0.7}, SEQUENCE, {}),
    ({"stochastic_sample_codes": True}, SEQUENCE, {"sample_codebook_temp": 0.1}),
    (
        {"stochastic_sample_codes": True, "straight_through": True, "rotation_trick": False},
        SEQUENCE,
        {},
    ),
    (
        {
            **STILL,
            "stochastic_sample_codes": True,
            "straight_through": True,
            "rotation_trick": False,
            "route_gradients_to_input": False,
        },
        SEQUENCE,
        {},
    ),
    ({"route_gradients_to_input": False}, SEQUENCE, {}),
    ({"learnable_codebook": True, "ema_update": False}, SEQUENCE, {}),
    (
        {"learnable_codebook": True, "ema_update": False, "route_gradients_to_input": False},
        SEQUENCE,
        {},
    ),
    ({"learnable_codebook": True, "ema_update": False, "sync_update_v": 0.3}, SEQUENCE, {}),
    ({"learnable_codebook": True, "ema_update": False}, SEQUENCE, {"freeze_codebook": True}),
    (
        {"learnable_codebook": True, "ema_update": False, "threshold_ema_dead_code": 1e-9},
        SEQUENCE,
        {},
    ),
    ({"ema_update": False}, SEQUENCE, {}),
    ({"manual_ema_update": True}, SEQUENCE, {}),
    ({"threshold_ema_dead_code": 0.9}, SEQUENCE, {}),
    ({"freeze_codebook": True}, SEQUENCE, {}),
    ({"freeze_codebook": True}, SEQUENCE, {"freeze_codebook": False}),
    ({}, SEQUENCE, {"freeze_codebook": True}),
    ({}, SEQUENCE, {"return_loss_breakdown": True}),
    ({}, SEQUENCE, {"ema_update": False}),
    ({}, SEQUENCE, {"mask": torch.arange(30).view(3, 10) % 3 > 0}),
    (
        {"return_zeros_for_masked_padding": False},
        SEQUENCE,
        {"mask": torch.arange(30).view(3, 10) % 3 > 0},
    ),
    ({}, SEQUENCE, {"lens": torch.tensor([10, 4, 1])}),
    ({}, SEQUENCE, {"ema_update_weight": torch.linspace(0.1, 1.0, 12)}),
    ({"heads": 2}, SEQUENCE, {"ema_update_weight": torch.linspace(0.1, 1.0, 12)[None]}),
    ({}, SEQUENCE, {"ema_update_weight": lambda _, counts: counts.clamp(max=1) * 0.5}),
    ({}, SEQUENCE, {"topk": 3}),
    ({"use_cosine_sim": True}, SEQUENCE, {"topk": 3}),
    ({"codebook_dim": 4}, (5, 16), {"topk": 20}),
    ({"accept_image_fmap": True}, (2, 16, 3, 4), {"topk": 2}),
    ({}, SEQUENCE, {"topk": 2, "mask": torch.arange(30).view(3, 10) % 3 > 0}),
    (STILL, SEQUENCE, {"indices": torch.arange(30).view(3, 10) % 12}),
    ({**STILL, "use_cosine_sim": True}, SEQUENCE, {"indices": torch.arange(30).view(3, 10) % 12}),
]


def name(case: Any) -> str:
    return ",".join(f"{k}" if isinstance(v, Tensor) or callable(v) else f"{k}={v}"
                    for k, v in {**case[0], **case[2]}.items()) or "plain"  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=name)
def test_steps_are_those_of_the_original(twins: Twins, case: Any) -> None:
    options, shape, arguments = case
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=12, **options)
    generator = torch.Generator().manual_seed(3)
    for training, wanted in ((True, True), (True, False), (True, True), (False, True)):
        original.train(training)
        replacement.train(training)
        x = torch.randn(shape, generator=generator)
        assert_same_step(original, replacement, x, wanted, **arguments)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codebook_dim": 4},
        {"heads": 2, "separate_codebook_per_head": True},
        {"accept_image_fmap": True},
        {"channel_last": False},
        {"accept_3d_fmap": True},
    ],
    ids=str,
)
def test_codes_of_indices(twins: Twins, options: dict[str, Any]) -> None:
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=12, **options)
    places = (2, 2, 3) if "accept_3d_fmap" in options else (4, 3)
    indices = torch.arange(2 * 12).view(2, *(places if len(options) else (12,)))
    if options in ({"codebook_dim": 4}, {"channel_last": False}):
        indices = indices.view(2, 12)
    if "heads" in options:
        indices = indices.view(2, 6, 2)
    indices = indices % 12
    expected = original.get_codes_from_indices(indices)
    assert_same_outputs(replacement.get_codes_from_indices(indices), expected)
    expected = original.get_output_from_indices(indices)
    assert_same_outputs(replacement.get_output_from_indices(indices), expected)
    assert_same_outputs(replacement.codebook, original.codebook)


def test_gathered_statistics(twins: Twins) -> None:
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=12)
    for seed, gather in enumerate((True, True, False, False)):
        x = torch.randn(SEQUENCE, generator=torch.Generator().manual_seed(seed))
        for module in (original, replacement):
            module(x, accum_ema_update=gather)
        assert_same_state(original, replacement)


def test_manual_updates(twins: Twins) -> None:
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=12, heads=2)
    x, indices = torch.randn(3, 10, 16), torch.arange(60).view(3, 10, 2) % 12
    for module in (original, replacement):
        module.update_ema_indices(x, indices)
    assert_same_state(original, replacement)
    mask = torch.arange(30).view(3, 10) % 3 > 0
    for module in (original, replacement):
        module.update_indices(x, indices, mask=mask)
        module._codebook.update_ema()
    assert_same_state(original, replacement)
    codes = torch.randn(12, 16)
    for module in (original, replacement):
        module.codebook = codes
    assert_same_state(original, replacement)


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}], ids=str)
def test_expired_codes_move_to_the_same_rows(twins: Twins, options: dict[str, Any]) -> None:
    original, replacement = twins(
        "VectorQuantize", dim=16, codebook_size=12, threshold_ema_dead_code=2, **options
    )
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(5))[None]
    for module in (original, replacement):
        before = module.codebook.clone()
        torch.manual_seed(9)
        module.expire_codes_(x)
        assert not torch.equal(before, module.codebook)
    assert_same_state(original, replacement)


def test_indices_agree_wherever_the_choice_is_clear(twins: Twins) -> None:
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=512)
    x = torch.randn(1, 2000, 16, generator=torch.Generator().manual_seed(1))
    original.codebook = x[0, :512] + 0.1
    replacement.load_state_dict(original.state_dict())
    best = torch.cdist(x[0].double(), replacement.codebook.double()).topk(2, dim=1, largest=False)
    clear = best.values[:, 1] - best.values[:, 0] > 1e-4 * best.values[:, 1]
    mine, theirs = replacement.eval()(x)[1][0], original.eval()(x)[1][0]
    assert torch.equal(mine, best.indices[:, 0])
    assert torch.equal(mine[clear], theirs[clear])
    assert clear.float().mean() > 0.99


def test_bfloat16_inputs(twins: Twins) -> None:
    original, replacement = twins("VectorQuantize", dim=16, codebook_size=12)
    x = torch.randn(SEQUENCE).to(torch.bfloat16)
    expected, found = original(x), replacement(x)
    assert found[0].dtype == torch.bfloat16
    assert_same_outputs(found[:2], expected[:2])
    torch.testing.assert_close(found[2].float(), expected[2].float(), rtol=1e-2, atol=1e-3)
