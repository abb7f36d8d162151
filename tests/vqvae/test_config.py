"""CategoricalVQVAEConfig: the three ratio forms, "auto", and every check."""

import re
from typing import Any

import pytest

from spinlock.errors import ConfigError
from spinlock.vqvae import CategoricalVQVAEConfig

NAMES, SIZES = ("a", "b"), (10, 3)


def make(**options: Any) -> CategoricalVQVAEConfig:
    return CategoricalVQVAEConfig(category_names=NAMES, category_sizes=SIZES, **options)


def test_string_list_and_mapping_say_the_same() -> None:
    string = make(compression_ratios="0.5:1.0:1.5")
    listed = make(compression_ratios=[0.5, 1.0, 1.5])
    mapped = make(compression_ratios={"a": [0.5, 1.0, 1.5], "b": [0.5, 1.0, 1.5]})
    assert string == listed == mapped
    assert string.num_levels == 3
    assert string.num_features == 13


def test_residual_caps_latent_dims_and_independent_does_not() -> None:
    assert make(compression_ratios="2.0").latent_dims == ((10,), (3,))
    wide = make(compression_ratios="2.0", hierarchy="independent")
    assert wide.latent_dims == ((20,), (8,))


def test_auto_names_the_step_that_resolves_it() -> None:
    with pytest.raises(ConfigError, match="precompute_compression_ratios"):
        make(compression_ratios="auto")


def test_explicit_dims_and_sizes_win_over_the_rules() -> None:
    config = make(
        compression_ratios="1:1", latent_dims=((2, 2), (1, 1)), codebook_sizes=((5, 4), (3, 2))
    )
    assert config.latent_dims == ((2, 2), (1, 1))
    assert config.codebook_sizes == ((5, 4), (3, 2))


def test_codebook_sizes_follow_the_latent_dims_given() -> None:
    dims = ((4, 8), (3, 3))
    from_ratios = make(compression_ratios="0.4:0.8")
    assert from_ratios.latent_dims == dims
    given = make(compression_ratios="1:1", latent_dims=dims)
    assert given.latent_dims == dims
    assert given.codebook_sizes == from_ratios.codebook_sizes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs compression_ratios"),
        ({"compression_ratios": {"a": [1.0]}}, "b"),
        ({"compression_ratios": {"a": [1.0], "b": [1.0], "z": [1.0]}}, "z"),
        (
            {"compression_ratios": "1", "hierarchy": "flat"},
            "hierarchy: expected 'residual' or 'independent', got 'flat'",
        ),
        ({"compression_ratios": "1", "dropout": 1.0}, "dropout"),
        ({"compression_ratios": "1", "group_hidden_dim": 0}, "group_hidden_dim"),
        ({"compression_ratios": "1", "commitment_cost": -1.0}, "commitment_cost"),
        ({"compression_ratios": "1", "decay": 1.0}, "decay: expected"),
        ({"compression_ratios": "1", "orthogonality_weight": float("inf")}, "finite number >= 0"),
        ({"latent_dims": ((11,), (3,)), "codebook_sizes": ((4,), (4,))}, "expected at most 10"),
        ({"latent_dims": ((2.5,), (3,)), "codebook_sizes": ((4,), (4,))}, "integers >= 1"),
        ({"compression_ratios": "1:1", "latent_dims": ((2,), (2,))}, "number of levels"),
        ({"compression_ratios": "1", "topographic_weight": 0.1}, "belongs to hierarchy"),
        ({"latent_dims": ((2,),), "codebook_sizes": ((4,), (4,))}, "one row per category"),
        ({"latent_dims": ((2,), (2, 2)), "codebook_sizes": ((4,), (4,))}, "same number of levels"),
        ({"latent_dims": ((2,), (2,)), "codebook_sizes": ((4, 4), (4, 4))}, "same number"),
        ({"latent_dims": ((0,), (2,)), "codebook_sizes": ((4,), (4,))}, ">= 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make(**options)


def test_names_and_sizes_must_fit() -> None:
    with pytest.raises(ConfigError, match="one size per category"):
        CategoricalVQVAEConfig(("a",), (1, 2), compression_ratios="1")
    with pytest.raises(ConfigError, match="twice"):
        CategoricalVQVAEConfig(("a", "a"), (1, 2), compression_ratios="1")
    with pytest.raises(ConfigError, match="category_sizes"):
        CategoricalVQVAEConfig(("a", "b"), (1, 0), compression_ratios="1")
