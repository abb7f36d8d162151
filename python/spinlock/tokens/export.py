"""A trained tokenizer for machines without spinlock: torch programs, and plain codebooks."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as encode_safetensors
from torch import Tensor, nn

from spinlock import __version__
from spinlock.errors import CheckpointError
from spinlock.tokens.codec import Codec
from spinlock.tokens.programs import TokenDecoder, TokenEncoder
from spinlock.training.saved import SavedModel
from spinlock.vqvae import plain_products
from spinlock.vqvae.contract import codebooks

_VERIFIED_ROWS = 512


def contract_tree(saved: SavedModel) -> dict[str, Any]:
    """What a program's caller must know, in plain types: columns, quantizers, contract."""
    return {
        "format": "spinlock-export",
        "spinlock_version": __version__,
        "torch_version": torch.__version__,
        "columns": list(saved.preprocessing.names),
        "contract": saved.contract.to_dict(),
    }


def export_encoder(saved: SavedModel) -> bytes:
    """A ``.pt2`` file: raw features float32 ``[N, D]`` to tokens int64 ``[N, Q]``, any N.

    Raises:
        CheckpointError: its tokens of random rows are not those of the codec.
    """
    rows = random_rows(saved, _VERIFIED_ROWS)
    program = _program(TokenEncoder(saved.preprocessing, saved.model), torch.from_numpy(rows))
    with plain_products():  # whose rounding the program has
        expected = Codec(saved).encode(rows).astype(np.int64)
    different = int((program.module()(torch.from_numpy(rows)).numpy() != expected).sum())
    if different:
        raise CheckpointError(
            f"the exported encoder gives other tokens than the codec for {different:,} of "
            f"{expected.size:,}: nothing was written; encode with spinlock instead, and report it"
        )
    return _saved(program, saved)


def export_decoder(saved: SavedModel) -> bytes:
    """A ``.pt2`` file: tokens int64 ``[N, Q]`` to raw features float32 ``[N, D]``, any N.

    Raises:
        CheckpointError: its rows of random tokens are not those of the codec.
    """
    generator = np.random.default_rng(0)
    sizes = saved.contract.codebook_sizes
    tokens = generator.integers(0, sizes, size=(_VERIFIED_ROWS, len(sizes)))
    program = _program(TokenDecoder(saved.preprocessing, saved.model), torch.from_numpy(tokens))
    with plain_products():
        expected = Codec(saved).decode(tokens)
    found = program.module()(torch.from_numpy(tokens)).numpy()
    if not np.allclose(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True):
        raise CheckpointError(
            "the exported decoder gives other rows than the codec: nothing was written; decode "
            "with spinlock instead, and report it"
        )
    return _saved(program, saved)


def named_codebooks(saved: SavedModel) -> dict[str, Tensor]:
    """The codes of each quantizer, float32 ``[K, D]``, by its name ``<category>/L<level>``."""
    tables = [codes.detach().float().contiguous() for codes in codebooks(saved.model)]
    return dict(zip(saved.contract.quantizers, tables, strict=True))


def contract_json(saved: SavedModel) -> bytes:
    """The file ``contract.json``: :func:`contract_tree`."""
    return (json.dumps(contract_tree(saved), indent=1) + "\n").encode()


def codebooks_safetensors(saved: SavedModel) -> bytes:
    """A ``.safetensors`` file of :func:`named_codebooks`, the contract as JSON in its metadata."""
    tree = contract_tree(saved)
    return encode_safetensors(named_codebooks(saved), {"contract": json.dumps(tree["contract"])})


def codebooks_npz(saved: SavedModel) -> bytes:
    """A ``.npz`` file of :func:`named_codebooks`, the contract as JSON text in ``contract``."""
    arrays: dict[str, Any] = {name: book.numpy() for name, book in named_codebooks(saved).items()}
    buffer = io.BytesIO()
    contract = np.array(json.dumps(contract_tree(saved)["contract"]))
    np.savez(buffer, **arrays, contract=contract)  # `allow_pickle` is one more array to numpy 1.26
    return buffer.getvalue()


def random_rows(saved: SavedModel, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Raw rows ``[count, D]`` to try a program on: ordinary, extreme and missing values."""
    generator = np.random.default_rng(seed)
    sizes = saved.contract.codebook_sizes
    ordinary = Codec(saved).decode(generator.integers(0, sizes, (count, len(sizes))))
    # In float64: values near the end of float32's range have squares beyond it.
    scale = np.nan_to_num(ordinary).std(axis=0, dtype=np.float64) + 1e-3
    rows = ordinary + scale * generator.normal(size=ordinary.shape)
    draw = generator.random(rows.shape)
    rows = np.where(draw < 0.02, np.nan, rows)
    rows = np.where((draw > 0.02) & (draw < 0.03), np.inf, rows)
    with np.errstate(over="ignore"):  # beyond float32 means infinite, which a row may be
        return np.where((draw > 0.03) & (draw < 0.04), rows * 1e3, rows).astype(np.float32)


def _program(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows")
    return torch.export.export(module.eval(), (example,), dynamic_shapes=({0: rows},), strict=False)


def _saved(program: torch.export.ExportedProgram, saved: SavedModel) -> bytes:
    buffer = io.BytesIO()
    for module in program.graph_module.modules():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)  # paths of this machine
    extra = {"contract.json": contract_json(saved).decode()}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()
