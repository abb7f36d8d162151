"""Modules with spinlock's quantizers as ONNX models.

>>> import torch, spinlock
>>> from spinlock.integrations.onnx import export_onnx
>>> quantizer = spinlock.RaggedVectorQuantizer([8], [4], init="uniform").eval()
>>> program = export_onnx(quantizer, (torch.randn(3, 4),))
>>> [node.op_type for node in program.model.graph if node.op_type == "ArgMin"]
['ArgMin']
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import spinlock.modules  # noqa: F401 - registers the operators that are taken apart here
from spinlock.errors import ConfigError, InputError, import_failure
from spinlock.layout import CodebookLayout

try:
    import onnx as _onnx  # noqa: F401 - torch's exporter needs both
    import onnxscript as _onnxscript  # noqa: F401
except ImportError as error:
    raise ConfigError(
        f"spinlock.integrations.onnx needs onnx and onnxscript{import_failure(error)}: "
        "pip install 'spinlock-vq[onnx]'"
    ) from error

__all__ = ["export_onnx"]


def export_onnx(
    module: nn.Module,
    args: tuple[Any, ...],
    path: str | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    **options: Any,
) -> Any:
    """A module in eval mode as an ONNX model of standard operators.

    ``torch.onnx.export`` with spinlock's operators taken apart: per codebook one matrix
    product around the mean of its codes, and the least score, in float32 (float64 for float64
    inputs).  Indices are those of the module wherever the nearest code and the next differ by more
    than the rounding of that; rows that are not
    finite get index 0, as in the module.  All N x K scores of a codebook are held at once.

    Args:
        module: any module with quantizers inside.
        args: example inputs.
        path: of the ``.onnx`` file; None writes none.
        kwargs: more example inputs, by name.
        dynamic_shapes: as for ``torch.export.export``: ``({0: torch.export.Dim("rows")},)``.
        options: of ``torch.onnx.export``, such as ``input_names``.

    Returns:
        ``torch.onnx.ONNXProgram``.

    Raises:
        InputError: a module in training mode, or one whose eval mode needs more of spinlock than
            lookups.
    """
    if module.training:
        raise InputError(
            f"{type(module).__name__} is in training mode, which changes its codebooks: call "
            ".eval() before exporting it"
        )
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter's own uses of what torch deprecates.
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        program = torch.export.export(
            module, args, dict(kwargs or {}), dynamic_shapes=dynamic_shapes
        )
        program = program.run_decompositions(_decompositions())
        left = {str(node.target) for node in program.graph.nodes if "spinlock." in str(node.target)}
        if left:
            raise InputError(
                f"{type(module).__name__} uses {', '.join(sorted(left))} in eval mode, which has "
                "no form in ONNX: export the part of the model that looks up and decodes"
            )
        return torch.onnx.export(program, (), path, dynamo=True, verbose=False, **options)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    ours = torch.ops.spinlock
    return {
        ours.nearest_codes.default: _nearest_codes,
        ours.gather_codes.default: _gather_codes,
        ours.quantize.default: _quantize,
        torch.ops.aten.argsort.stable: _stable_argsort,
    }


def _nearest_codes(latents: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    layout = CodebookLayout(*map(_plain, rest[:3]))
    indices = []
    for rows, codes in _parts(latents, weight, layout, _working_dtype(latents, weight)):
        centre = codes.mean(dim=0)
        around = codes - centre
        scores = 0.5 * around.square().sum(dim=1) - (rows - centre) @ around.T
        nearest = scores.argmin(dim=1)
        indices.append(torch.where(_finite(rows), nearest, torch.zeros_like(nearest)))
    return torch.stack(indices, dim=1)


def _gather_codes(indices: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    layout = CodebookLayout(*map(_plain, rest[:3]))
    books = [codes for _, codes in _parts(None, weight, layout, weight.dtype)]
    return torch.cat([book[indices[:, q]] for q, book in enumerate(books)], dim=1)


def _quantize(
    latents: Tensor, weight: Tensor, indices: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    layout = CodebookLayout(*map(_plain, rest[:3]))
    chosen = _nearest_codes(latents, weight, *rest) if indices is None else indices.clone()
    dtype = _working_dtype(latents, weight)
    codes = _gather_codes(chosen, weight.to(dtype), *rest)
    losses, counts, start = [], [], 0
    for q, (rows, book) in enumerate(_parts(latents, weight, layout, dtype)):
        stop = start + book.shape[1]
        used = _finite(rows).to(book.dtype)
        errors = (rows - codes[:, start:stop]).square().sum(dim=1)
        errors = torch.where(used > 0, errors, torch.zeros_like(errors))
        losses.append(errors.sum() / (used.sum() * book.shape[1]).clamp(min=1.0))
        known = torch.arange(book.shape[0], device=rows.device)
        hits = (chosen[:, q, None] == known) & (used[:, None] > 0)
        counts.append(hits.to(torch.float32).sum(dim=0))
        start = stop
    loss = torch.stack(losses)
    return codes, chosen, loss, loss.clone(), torch.cat(counts)


def _stable_argsort(
    values: Tensor, *, stable: bool, dim: int = -1, descending: bool = False
) -> Tensor:
    """ONNX has TopK alone, where the lower index wins ties."""
    del stable
    return values.topk(values.shape[dim], dim, largest=descending).indices


def _working_dtype(latents: Tensor, weight: Tensor) -> torch.dtype:
    """What the module computes in."""
    return torch.promote_types(torch.promote_types(latents.dtype, weight.dtype), torch.float32)


def _parts(
    latents: Tensor | None, weight: Tensor, layout: CodebookLayout, dtype: torch.dtype
) -> list[tuple[Tensor, Tensor]]:
    """Per quantizer its columns and its codes [K, D], in ``dtype``."""
    parts = []
    for q, (size, dim) in enumerate(zip(layout.codebook_sizes, layout.dims, strict=True)):
        first, stride = layout.weight_offsets[q], layout.padded_dims[q]
        codes = weight[first : first + size * stride].view(size, stride)[:, :dim].to(dtype)
        column = layout.input_offsets[q]
        rows = codes if latents is None else latents[:, column : column + dim].to(dtype)
        parts.append((rows, codes))
    return parts


def _finite(rows: Tensor) -> Tensor:
    """bool [N]."""
    return (rows - rows == 0).all(dim=1)


def _plain(value: Any) -> Any:
    """Constants of a graph as plain numbers."""
    return tuple(map(int, value)) if isinstance(value, list | tuple) else int(value)
