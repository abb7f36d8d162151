"""The token contract: what changes it, what it refuses, and what its messages name."""

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
import torch

from spinlock.errors import DataError
from spinlock.vqvae import CategoricalHierarchicalVQVAE, CategoricalVQVAEConfig, build_vqvae
from spinlock.vqvae.contract import TokenContract, codebook_hash, codebooks, quantizer_names

FORMS = ["residual", "independent"]


def model(hierarchy: str, **options: Any) -> CategoricalHierarchicalVQVAE:
    torch.manual_seed(0)
    config = CategoricalVQVAEConfig(
        category_names=("a", "b"),
        category_sizes=(5, 3),
        **{
            "latent_dims": ((4, 3), (3, 2)),
            "codebook_sizes": ((7, 300), (4, 5)),
            "hierarchy": hierarchy,
            "group_embedding_dim": 6,
            "group_hidden_dim": 6,
            "decoder_hidden_dim": 6,
        }
        | options,
    )
    return build_vqvae(config)


@pytest.mark.parametrize("hierarchy", FORMS)
def test_codebooks_are_category_major(hierarchy: str) -> None:
    assert [len(codes) for codes in codebooks(model(hierarchy))] == [7, 300, 4, 5]
    contract = TokenContract.of(model(hierarchy), "0" * 64)
    assert contract.quantizers == quantizer_names(("a", "b"), 2)
    assert contract.codebook_sizes == (7, 300, 4, 5)
    assert contract.token_dtype == np.uint16
    assert contract.bits == pytest.approx(np.log2([7, 300, 4, 5]).sum())


@pytest.mark.parametrize("hierarchy", FORMS)
def test_the_hash_is_what_it_says(hierarchy: str) -> None:
    built = model(hierarchy)
    expected = hashlib.sha256()
    for codes in codebooks(built):
        expected.update(struct.pack("<qq", *codes.shape))
        for value in codes.detach().flatten().tolist():
            expected.update(struct.pack("<f", value))
    assert codebook_hash(built) == expected.hexdigest()


@pytest.mark.parametrize("hierarchy", FORMS)
def test_every_code_counts_and_nothing_else(hierarchy: str) -> None:
    built = model(hierarchy)
    before = codebook_hash(built)
    with torch.no_grad():
        for parameter in built.encoder.parameters():
            parameter.add_(1.0)
    assert codebook_hash(built) == before
    assert codebook_hash(built.double()) == before
    for codes in codebooks(built):
        with torch.no_grad():
            last = codes[-1, -1].clone()
            codes[-1, -1] += 1e-3
            assert codebook_hash(built) != before
            codes[-1, -1] = last
    assert codebook_hash(built) == before


@pytest.mark.parametrize(
    ("sizes", "dtype"), [((256, 2), "uint8"), ((257,), "uint16"), ((65_537,), "uint32")]
)
def test_the_smallest_type_that_holds_every_token(sizes: tuple[int, ...], dtype: str) -> None:
    names = tuple(f"a/L{level}" for level in range(len(sizes)))
    contract = TokenContract("0" * 64, "0" * 64, names, sizes)
    assert contract.token_dtype == np.dtype(dtype)
    assert TokenContract.from_dict(contract.to_dict(), "x") == contract


MINE = TokenContract("a" * 64, "b" * 64, ("x/L0", "x/L1"), (16, 8))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (TokenContract("c" * 64, "b" * 64, MINE.quantizers, (16, 8)), "schema_fingerprint is cccc"),
        (TokenContract("a" * 64, "c" * 64, MINE.quantizers, (16, 8)), "codebook_hash is cccc"),
        (TokenContract("a" * 64, "b" * 64, MINE.quantizers, (16, 9)), "'x/L1' has 9 codes, not 8"),
        (TokenContract("a" * 64, "b" * 64, ("y/L0", "x/L1"), (16, 8)), "quantizers are 'y/L0'"),
        (TokenContract("a" * 64, "b" * 64, ("x\n/L0",), (16,)), r"'x\n/L0'"),
    ],
)
def test_another_contract_is_refused_by_its_difference(other: TokenContract, message: str) -> None:
    MINE.require(MINE, "'t.npz'")
    with pytest.raises(DataError, match=r"'t.npz' holds tokens of another model") as caught:
        MINE.require(other, "'t.npz'", owner="'run/epoch_0001'")
    assert message in str(caught.value)
    assert "'run/epoch_0001'" in str(caught.value)
    assert str(caught.value).isprintable()


def test_tokens_in_range_pass_whatever_their_type() -> None:
    for dtype in (np.uint8, np.int64, np.uint64):
        MINE.check_tokens(np.array([[0, 7], [15, 0]], dtype), "x")
    MINE.check_tokens(np.zeros((0, 2), np.uint8), "x")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([[0, 8]]), "row 10, quantizer 'x/L1': token 8 is out of range"),
        (np.array([[0, 0], [-3, 99]]), "row 11, quantizer 'x/L0': token -3"),
        (np.array([[2**64 - 1, 0]], np.uint64), "token 18446744073709551615"),
        (np.array([[0.0, 0.0]]), "integers, got dtype float64"),
        (np.array([[True, False]]), "integers, got dtype bool"),
        (np.array([[0, 0, 0]]), r"\[N, 2\]"),
        (np.array([0, 0]), r"\[N, 2\]"),
    ],
)
def test_what_is_no_token_is_named(tokens: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MINE.check_tokens(tokens, "x", first_row=10)
