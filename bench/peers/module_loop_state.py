"""First codes, revival and spinlock's weights for the models of ``module_loop_model``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.peers.module_loop_model import Codebook, IndependentLoop, LoopVQVAE, ResidualLoop
from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import codebook_view
from spinlock.modules.initialisation import kmeans_codes
from spinlock.vqvae import CategoricalHierarchicalVQVAE, CategoricalVQVAEConfig
from spinlock.vqvae.residual import principal_axes

__all__ = ["build_loop", "copy_weights", "initialise", "revive"]

_INITIAL_ROWS = 2048

Visit = Callable[[int, int, Tensor], None]


def build_loop(config: CategoricalVQVAEConfig) -> LoopVQVAE:
    """The model that ``config.hierarchy`` names.

    Raises:
        BenchError: learnable codebooks.
    """
    return ResidualLoop(config) if config.hierarchy == "residual" else IndependentLoop(config)


@torch.no_grad()
def initialise(model: LoopVQVAE, x: Tensor, generator: torch.Generator) -> None:
    """Principal axes and k-means++ codes from training rows ``[B, N]``, codebook by codebook."""
    if isinstance(model, ResidualLoop):
        for c, part in enumerate(model.split(x)):
            analysis, synthesis = (axes[c].weight for axes in _axes(model))
            axes = principal_axes(part)[:, : len(analysis)].to(analysis)
            analysis.copy_(axes.t())
            synthesis.copy_(axes)
    if model.config.codebook_init == "uniform":
        return
    chosen = torch.randperm(len(x), generator=generator)[:_INITIAL_ROWS]

    def place(category: int, level: int, rows: Tensor) -> None:
        book = model.codebook(category, level)
        size, dim = book.codes.shape
        layout = CodebookLayout((size,), (dim,), 1)
        codes = kmeans_codes(rows.contiguous(), layout, generator)
        book.place(
            torch.arange(size), codebook_view(codes, layout, 0), torch.tensor(len(rows) / size)
        )

    _descend(model, x.index_select(0, chosen), place)


@torch.no_grad()
def revive(model: LoopVQVAE, x: Tensor, threshold: float, generator: torch.Generator) -> int:
    """Moves codes used less than ``threshold`` x the mean of their codebook onto donor rows of x.

    Donors are drawn in proportion to their squared error, a level at a time, each on what the
    revived levels before it leave; from the generator in the order in which spinlock draws.

    Returns:
        how many codes were moved.
    """
    moved = 0

    def visit(category: int, level: int, rows: Tensor) -> None:
        nonlocal moved
        book = model.codebook(category, level)
        mean = book.counts.mean()
        dead = (book.counts < threshold * mean).nonzero().flatten()
        if len(dead):
            errors = (rows.double() - book(rows)[1].double()).square().sum(1)
            arrival = torch.empty_like(errors).exponential_(generator=generator)
            order = torch.where(errors > 0, errors / arrival, -arrival).topk(
                min(len(dead), len(rows))
            )
            donors = order.indices[order.values > 0]
            book.place(dead[: len(donors)], rows[donors], mean)
            moved += len(donors)

    _descend(model, x, visit)
    return moved


def _descend(model: LoopVQVAE, x: Tensor, visit: Visit) -> None:
    """Calls ``visit(category, level, its rows)`` level by level; later levels see its changes."""
    training = model.training
    model.eval()
    latents = model.encode(x)
    levels = model.config.num_levels
    if isinstance(model, ResidualLoop):
        residuals = [z.clone() for z in latents]
        for level in range(levels):
            for category, z in enumerate(residuals):
                dim = model.config.latent_dims[category][level]
                visit(category, level, z[:, :dim])
                z[:, :dim] -= model.codebook(category, level)(z[:, :dim])[1]
    else:
        for i, z in enumerate(latents):
            visit(*divmod(i, levels), z)
    model.train(training)


@torch.no_grad()
def copy_weights(source: CategoricalHierarchicalVQVAE, target: LoopVQVAE) -> None:
    """Gives ``target`` the weights, codes and statistics of spinlock's model.

    spinlock packs all categories into one zero-padded tensor per layer, ``[G, in, out]``; with n
    and w the real widths of map g, and c, l the category and level (g = c, or c * L + l):

    | spinlock | module_loop |
    |---|---|
    | ``encoder.hidden.weight[c, :n, :]``, ``.bias[c, 0]`` | ``encoders[c].hidden``, transposed |
    | ``encoder.embedding`` | ``encoders[c].embedding``, transposed |
    | ``encoder.norm.weight[c, 0]``, ``.bias[c, 0]`` | ``encoders[c].norm`` |
    | ``head.weight[c, :, :w]`` (residual) | ``heads[c]``, transposed |
    | ``analysis_axes[c, :n, :w]``, ``synthesis_axes[c, :w, :n]`` | ``analysis``, ``synthesis`` |
    | ``heads.weight[g, :, :w]``, ``head_norm.weight[g, 0, :w]`` (independent) | ``heads[g]`` |
    | ``partial_decoders.weight[g, :w, :n]`` (independent) | ``partial_decoders[g]`` |
    | ``decoder`` | ``decoder``, as it is |
    | ``quantizer.bank``: quantizer l * C + c (residual), c * L + l (independent) | \
``codebooks[c][l]`` |
    """
    packed: Any = source
    for c, module in enumerate(target.encoders):
        encoder = cast(Any, module)
        _copy_linear(packed.encoder.hidden, c, encoder.hidden)
        _copy_linear(packed.encoder.embedding, c, encoder.embedding)
        _copy_norm(packed.encoder.norm, c, encoder.norm)
    if isinstance(target, ResidualLoop):
        for c, head in enumerate(target.heads):
            _copy_linear(packed.head, c, cast(nn.Linear, head))
        for axes, own in zip(
            (packed.analysis_axes, packed.synthesis_axes), _axes(target), strict=True
        ):
            for c, layer in enumerate(own):
                layer.weight.copy_(axes[c, : layer.in_features, : layer.out_features].t())
    elif isinstance(target, IndependentLoop):
        for g, layers in enumerate(target.heads):
            _copy_linear(packed.heads, g, cast(Any, layers)[0])
            _copy_norm(packed.head_norm, g, cast(Any, layers)[2])
        for g, decoder in enumerate(target.partial_decoders):
            _copy_linear(packed.partial_decoders, g, cast(nn.Linear, decoder))
    target.decoder.load_state_dict(packed.decoder.state_dict())
    _copy_codebooks(source, target)


def _copy_codebooks(source: CategoricalHierarchicalVQVAE, target: LoopVQVAE) -> None:
    bank = source.quantizer.bank
    assert bank.ema_sums is not None, "codebooks with moving averages have sums"
    categories, levels = target.config.num_categories, target.config.num_levels
    for c in range(categories):
        for level in range(levels):
            q = c * levels + level
            if isinstance(target, ResidualLoop):
                q = level * categories + c
            book: Codebook = target.codebook(c, level)
            book.codes.copy_(bank.codebook(q))
            book.counts.copy_(bank.ema_counts[slice(*bank.layout.code_range(q, q + 1))])
            book.sums.copy_(codebook_view(bank.ema_sums, bank.layout, q))


def _axes(model: ResidualLoop) -> tuple[list[nn.Linear], list[nn.Linear]]:
    both: Any = (list(model.analysis), list(model.synthesis))
    return cast(tuple[list[nn.Linear], list[nn.Linear]], both)


def _copy_linear(packed: Any, g: int, layer: nn.Linear) -> None:
    layer.weight.copy_(packed.weight[g, : layer.in_features, : layer.out_features].t())
    layer.bias.copy_(packed.bias[g, 0, : layer.out_features])


def _copy_norm(packed: Any, g: int, layer: nn.LayerNorm) -> None:
    width = layer.normalized_shape[0]
    layer.weight.copy_(packed.weight[g, 0, :width])
    layer.bias.copy_(packed.bias[g, 0, :width])
