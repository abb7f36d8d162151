"""What the original gets wrong and its replacement does not; and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.compat.vector_quantize_pytorch import GroupedResidualVQ, ResidualVQ, VectorQuantize
from spinlock.errors import ConfigError, InputError

MASK = torch.arange(30).view(3, 10) % 3 > 0


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*(shape or (3, 10, 16)), generator=torch.Generator().manual_seed(seed))


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_state(module: torch.nn.Module, expected: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    "options",
    [
        {"codebook_dim": 4},
        {"heads": 2, "codebook_dim": 8},
        {"heads": 2, "codebook_dim": 8, "separate_codebook_per_head": True},
        {"use_cosine_sim": True},
        {"stochastic_sample_codes": True},
        {"commitment_use_cross_entropy_loss": True},
        {"codebook_diversity_loss_weight": 0.1},
        {"orthogonal_reg_weight": 0.1, "orthogonal_reg_active_codes_only": True},
        {"threshold_ema_dead_code": 2},
    ],
    ids=str,
)
def test_masked_rows_change_nothing(options: dict[str, Any]) -> None:
    results = []
    for filling in (0.0, 100.0):
        torch.manual_seed(0)
        vq = VectorQuantize(dim=16, codebook_size=12, **options)
        x = rows().masked_fill(~MASK[..., None], filling).requires_grad_()
        torch.manual_seed(1)
        quantized, indices, loss = vq(x, mask=MASK)
        assert (quantized[~MASK] == 0).all()
        assert (indices[~MASK] == -1).all()
        (quantized.square().sum() + loss).backward()
        assert x.grad is not None
        assert not x.grad[~MASK].any()
        results.append((quantized, indices, loss, x.grad, *vq.state_dict().values()))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("make", [
    lambda: VectorQuantize(dim=16, codebook_size=12),
    lambda: VectorQuantize(dim=16, codebook_size=12, heads=2, threshold_ema_dead_code=2),
    lambda: ResidualVQ(dim=16, codebook_size=12, num_quantizers=3),
    lambda: ResidualVQ(dim=16, codebook_size=12, num_quantizers=3, beam_size=2),
    lambda: GroupedResidualVQ(dim=16, groups=2, codebook_size=12, num_quantizers=3),
])  # fmt: skip
def test_a_batch_of_padding_costs_and_changes_nothing(make: Any) -> None:
    module = make()
    before = state(module)
    x = rows().requires_grad_()
    quantized, _, loss = module(x, mask=torch.zeros(3, 10, dtype=torch.bool))
    assert not quantized.any()
    assert not loss.any()
    (quantized.sum() + loss.sum()).backward()
    assert x.grad is None or not x.grad.any()
    assert_state(module, before)


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"heads": 2}], ids=str)
def test_a_row_that_is_not_finite_stays_alone(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    vq = VectorQuantize(dim=16, codebook_size=12, threshold_ema_dead_code=1, **options)
    x = rows()
    x[1, 4, 3], x[2, 0] = torch.nan, torch.inf
    quantized, _, loss = vq(x.requires_grad_())
    assert quantized.isfinite().all()
    loss.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(value.isfinite().all() for value in vq.state_dict().values())


@pytest.mark.parametrize("kind", [VectorQuantize, ResidualVQ])
def test_eval_mode_writes_nothing(kind: Any) -> None:
    levels = {"num_quantizers": 2} if kind is ResidualVQ else {}
    module = kind(dim=16, codebook_size=12, kmeans_init=True, threshold_ema_dead_code=2, **levels)
    before = state(module)
    module.eval()(rows())
    assert_state(module, before)
    module.train()(rows())
    trained = state(module)
    module.eval()(rows(seed=1))
    assert_state(module, trained)


def test_every_level_learns_from_a_beam() -> None:
    rvq = ResidualVQ(dim=16, codebook_size=12, num_quantizers=3, beam_size=3)
    before = state(rvq)
    rvq(rows())
    for level in range(3):
        name = f"layers.{level}._codebook.cluster_size"
        assert not torch.equal(rvq.state_dict()[name], before[name])


def test_images_of_any_size_and_their_way_back() -> None:
    for module in (
        VectorQuantize(dim=16, codebook_size=12, codebook_dim=4, accept_image_fmap=True),
        ResidualVQ(dim=16, codebook_size=12, num_quantizers=3, accept_image_fmap=True),
        ResidualVQ(
            dim=16, codebook_size=12, num_quantizers=3, codebook_dim=4, accept_image_fmap=True
        ),
        GroupedResidualVQ(
            dim=16, groups=2, codebook_size=12, num_quantizers=3, accept_image_fmap=True
        ),
    ):
        quantized, indices, _ = module.eval()(rows(2, 16, 5, 3))
        torch.testing.assert_close(module.get_output_from_indices(indices), quantized)
    quantized, indices, _ = ResidualVQ(
        dim=16, codebook_size=12, num_quantizers=3, accept_3d_fmap=True
    )(rows(2, 16, 2, 3, 4))
    assert quantized.shape == (2, 16, 2, 3, 4)
    assert indices.shape == (2, 2, 3, 4, 3)


def test_padding_decodes_to_zeros_and_shared_heads_side_by_side() -> None:
    vq = VectorQuantize(dim=16, codebook_size=12, heads=2, codebook_dim=8).eval()
    quantized, indices, _ = vq(rows(), mask=MASK)
    assert torch.equal(vq.get_output_from_indices(indices), quantized)


def test_cross_entropy_goes_down_the_levels() -> None:
    rvq = ResidualVQ(dim=16, codebook_size=12, num_quantizers=3).eval()
    quantized, indices, _ = rvq(rows())
    again, own = rvq(rows(), indices=indices)
    _, other = rvq(rows(), indices=(indices + 1) % 12)
    assert torch.equal(again, quantized)
    assert own < other
    grouped = GroupedResidualVQ(dim=16, groups=2, codebook_size=12, num_quantizers=3).eval()
    quantized, indices, _ = grouped(rows())
    assert torch.equal(grouped(rows(), indices=list(indices))[0], quantized)


def test_all_codes_are_those_that_were_looked_up() -> None:
    rvq = ResidualVQ(dim=16, codebook_size=12, num_quantizers=3)
    quantized, _, _, codes = rvq(rows(), return_all_codes=True)
    torch.testing.assert_close(codes.sum(dim=0), quantized)


def test_levels_keep_the_freeze_of_the_constructor() -> None:
    rvq = ResidualVQ(dim=16, codebook_size=12, num_quantizers=2, freeze_codebook=True)
    before = state(rvq)
    rvq(rows())
    assert_state(rvq, before)


def test_expiry_follows_the_batch_even_where_rows_are_few() -> None:
    vq = VectorQuantize(dim=16, codebook_size=40, threshold_ema_dead_code=2)
    x = rows(1, 7, 16)
    vq(x)
    moved = vq._codebook.cluster_size[0] == 2
    assert moved.sum() == 7
    assert torch.equal(vq.codebook[moved].unique(dim=0), x[0].unique(dim=0))


@pytest.mark.parametrize("make", [
    lambda **o: VectorQuantize(dim=16, codebook_size=12, **o),
    lambda **o: ResidualVQ(dim=16, codebook_size=12, num_quantizers=2, **o),
    lambda **o: GroupedResidualVQ(dim=16, groups=2, codebook_size=12, num_quantizers=2, **o),
])  # fmt: skip
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("affine_param", True),
        ("sync_affine_param", True),
        ("directional_reparam", True),
        ("vq_bridge", torch.nn.Identity()),
        ("in_place_codebook_optimizer", torch.optim.SGD),
    ],
)
def test_refused_options_name_what_to_use(make: Any, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: expected .* which spinlock does not have; "):
        make(**{name: value})


def test_other_refusals() -> None:
    for name in ("diveq", "implicit_neural_codebook"):
        with pytest.raises(ConfigError, match=name):
            ResidualVQ(dim=16, codebook_size=12, num_quantizers=2, **{name: True})
    with pytest.raises(ConfigError, match="codebook_transform_fn"):
        VectorQuantize(16, 12)(rows(), codebook_transform_fn=lambda codes: codes)
    with pytest.raises(ConfigError, match="learnable_codebook"):
        VectorQuantize(16, 12, learnable_codebook=True)
    with pytest.raises(ConfigError, match="straight_through"):
        VectorQuantize(16, 12, straight_through=True)
    with pytest.raises(ConfigError, match="heads"):
        ResidualVQ(dim=16, codebook_size=12, num_quantizers=2, heads=2)
    with pytest.raises(ConfigError, match="groups"):
        GroupedResidualVQ(dim=16, groups=3, codebook_size=12, num_quantizers=2)
    with pytest.raises(ConfigError, match="num_quantizers"):
        ResidualVQ(dim=16, codebook_size=12)
    with pytest.raises(InputError, match=r"x: expected floating point \[batch, n, 16\]"):
        VectorQuantize(16, 12)(rows(3, 10, 15))
    with pytest.raises(InputError, match="mask"):
        VectorQuantize(16, 12)(rows(), mask=MASK[:, :5])
    with pytest.raises(InputError, match="topk"):
        VectorQuantize(16, 12, heads=2)(rows(), topk=2)
    with pytest.raises(ImportError, match="FSQ"):
        from spinlock.compat.vector_quantize_pytorch import FSQ  # noqa: F401


def test_checkpoints_of_another_size_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"_codebook\.embed: expected shape"):
        VectorQuantize(16, 12).load_state_dict(VectorQuantize(16, 13).state_dict())
    broken = VectorQuantize(16, 12).state_dict()
    broken["_codebook.batch_mean"] = broken.pop("_codebook.initted")
    with pytest.raises(RuntimeError, match=r"initted[\s\S]*batch_mean|batch_mean[\s\S]*initted"):
        VectorQuantize(16, 12).load_state_dict(broken)
