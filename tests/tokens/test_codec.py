"""Encoding and decoding are the model's, whatever the block; what does not fit is named."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spinlock.errors import ConfigError, DataError, InputError
from spinlock.tokens.codec import Codec
from spinlock.training.checkpoint import SavedModel
from spinlock.vqvae.contract import codebooks
from token_models import Trained


def direct(saved: SavedModel, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    return saved.model.get_tokens(torch.from_numpy(saved.preprocessing.transform(rows))).numpy()


@pytest.mark.parametrize("block_rows", [1, 3, 64, 100, 599, 600, 8192])
def test_tokens_are_the_models_whatever_the_block(both: Trained, block_rows: int) -> None:
    codec = Codec(both.saved, block_rows=block_rows)
    tokens = codec.encode(both.rows)
    assert tokens.dtype == codec.token_dtype == np.uint8
    assert tokens.shape == (600, len(codec.quantizers))
    np.testing.assert_array_equal(tokens, direct(both.saved, both.rows))


@pytest.mark.parametrize("block_rows", [1, 7, 600])
def test_decoded_numbers_do_not_depend_on_the_block(both: Trained, block_rows: int) -> None:
    tokens = Codec(both.saved).encode(both.rows)
    whole = Codec(both.saved).decode(tokens)
    np.testing.assert_array_equal(Codec(both.saved, block_rows=block_rows).decode(tokens), whole)


def test_decoded_rows_are_raw_columns_in_raw_units(both: Trained) -> None:
    codec = Codec(both.saved)
    tokens = codec.encode(both.rows)
    decoded = codec.decode(tokens)
    assert decoded.shape == both.rows.shape
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()
    np.testing.assert_array_equal(decoded[:, 5], 3.0)  # dropped as constant, back as its value
    finite = np.isfinite(both.rows)
    spread = np.nanvar(np.where(finite, both.rows, np.nan), axis=0)
    error = np.nanmean(np.where(finite, (decoded - both.rows) ** 2, np.nan), axis=0)
    varied = spread > 0
    assert (error[varied] / spread[varied]).mean() < 1  # closer than the mean of a column


def test_names_are_those_of_the_data(both: Trained) -> None:
    codec = Codec(both.saved)
    assert codec.names == both.saved.preprocessing.names
    assert len(codec.names) == both.rows.shape[1]
    assert codec.quantizers[:2] == ("shape/L0", "shape/L1")
    assert codec.contract == both.saved.contract


def test_values_that_are_no_numbers_are_filled_as_in_training(both: Trained) -> None:
    rows = np.full((4, both.rows.shape[1]), np.nan, np.float32)
    rows[1] = np.inf
    rows[2] = -np.inf
    rows[3] = 3e38
    np.testing.assert_array_equal(Codec(both.saved).encode(rows), direct(both.saved, rows))


def test_no_rows(both: Trained) -> None:
    codec = Codec(both.saved)
    tokens = codec.encode(both.rows[:0])
    assert tokens.shape == (0, len(codec.quantizers))
    assert codec.decode(tokens).shape == (0, len(codec.names))


def test_the_model_is_left_as_it_was(both: Trained) -> None:
    before = [codes.clone() for codes in codebooks(both.saved.model)]
    threads = torch.get_num_threads()
    Codec(both.saved).encode(both.rows)
    assert all(map(torch.equal, before, codebooks(both.saved.model)))
    assert torch.get_num_threads() == threads
    assert not both.saved.model.training


def test_any_number_type_and_order_in_memory(both: Trained) -> None:
    codec = Codec(both.saved)
    expected = codec.encode(both.rows)
    np.testing.assert_array_equal(codec.encode(both.rows.astype(np.float64)), expected)
    np.testing.assert_array_equal(codec.encode(np.asfortranarray(both.rows)), expected)
    tokens = expected.astype(np.int64)
    np.testing.assert_array_equal(codec.decode(tokens), codec.decode(expected))


@pytest.mark.parametrize("shape", [(3, 13), (0, 13), (14,), (2, 14, 1)])
def test_another_shape_is_named(both: Trained, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"\[N, 14\]"):
        Codec(both.saved).encode(np.zeros(shape, np.float32))


def test_text_is_refused(both: Trained) -> None:
    with pytest.raises(DataError, match="text"):
        Codec(both.saved).encode(np.full((2, 14), "x"))


@pytest.mark.parametrize("value", [-1, 10_000, 2**62])
def test_tokens_out_of_range_are_named(both: Trained, value: int) -> None:
    codec = Codec(both.saved)
    tokens = codec.encode(both.rows).astype(np.int64)
    tokens[17, 2] = value
    size = codec.contract.codebook_sizes[2]
    with pytest.raises(
        DataError, match=rf"row 17, quantizer 'shape/L2': token {value} .* {size} codes"
    ):
        codec.decode(tokens)


@pytest.mark.parametrize("tokens", [np.zeros((2, 5), int), np.zeros((2, 6)), np.zeros(6, int)])
def test_what_is_no_token_matrix_is_named(both: Trained, tokens: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="tokens must be"):
        Codec(both.saved).decode(tokens)


def test_options_are_checked(both: Trained) -> None:
    with pytest.raises(InputError, match="beam: expected at least 1, got 0"):
        Codec(both.saved, beam=0)
    with pytest.raises(InputError, match="block_rows"):
        Codec(both.saved, block_rows=0)
    with pytest.raises(ConfigError, match="device"):
        Codec(both.saved, device="tpu")


def test_a_beam_comes_closer_and_only_residual_levels_have_one(both: Trained) -> None:
    plain = Codec(both.saved)
    searching = Codec(both.saved, beam=8)
    if both.saved.model.config.hierarchy == "independent":
        with pytest.raises(InputError, match="beam: expected 1 for hierarchy 'independent', got 8"):
            searching.encode(both.rows)
        return
    latents = both.saved.model.encode(
        torch.from_numpy(both.saved.preprocessing.transform(both.rows))
    ).detach()
    decode = both.saved.model.quantizer.decode
    errors = [
        float(
            (decode(torch.from_numpy(codec.encode(both.rows).astype(np.int64))) - latents)
            .square()
            .mean()
        )
        for codec in (plain, searching)
    ]
    assert errors[1] < errors[0]
    blocks = Codec(both.saved, block_rows=64, beam=8).encode(both.rows)
    np.testing.assert_array_equal(blocks, searching.encode(both.rows))


def test_sweeps_decode_closer_in_blocks_of_any_size(both: Trained) -> None:
    model, rows = both.saved.model, both.rows
    x = torch.from_numpy(both.saved.preprocessing.transform(rows))
    found = [Codec(both.saved, sweeps=sweeps).encode(rows) for sweeps in (0, 1, 2)]
    errors = [
        (model.decode_from_tokens(torch.from_numpy(tokens.astype(np.int64))) - x)
        .square()
        .sum(1)
        .detach()
        for tokens in found
    ]
    assert (errors[1] <= errors[0] * (1 + 1e-5)).all()
    assert errors[2].sum() <= errors[1].sum() < errors[0].sum()
    blocks = Codec(both.saved, block_rows=64, sweeps=2).encode(rows)
    np.testing.assert_array_equal(blocks, found[2])
    with pytest.raises(InputError, match="sweeps: expected at least 0, got -1"):
        Codec(both.saved, sweeps=-1)


def test_restarts_come_closer_in_blocks_of_any_size(both: Trained) -> None:
    model, rows = both.saved.model, both.rows
    x = torch.from_numpy(both.saved.preprocessing.transform(rows))
    found = [Codec(both.saved, sweeps=1, restarts=n).encode(rows) for n in (0, 8)]
    decoded = [model.decode_from_tokens(torch.from_numpy(t.astype(np.int64))) for t in found]
    errors = [float((part - x).square().sum().detach()) for part in decoded]
    assert errors[1] < errors[0]
    blocks = Codec(both.saved, block_rows=64, sweeps=1, restarts=8).encode(rows)
    np.testing.assert_array_equal(blocks, found[1])
    with pytest.raises(InputError, match="restarts: 2 of no sweeps"):
        Codec(both.saved, restarts=2)


def test_own_errors_stay_in_bounds(both: Trained) -> None:
    model, rows = both.saved.model, both.rows
    x = torch.from_numpy(both.saved.preprocessing.transform(rows))
    own = [
        model.own_errors(
            x, torch.from_numpy(Codec(both.saved, **how).encode(rows).astype(np.int64))
        )
        for how in ({}, {"sweeps": 2}, {"sweeps": 2, "own_error_limit": 1.05})
    ]
    assert (own[1] > 1.05 * own[0] * (1 + 1e-4) + 1e-6).any()
    assert (own[2] <= 1.05 * own[0] * (1 + 1e-4) + 1e-6).all()
    with pytest.raises(InputError, match="own_error_limit: expected at least 1, got"):
        Codec(both.saved, own_error_limit=0.5)
