"""The configuration's model with finite scalar quantization in place of its codebooks."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from spinlock.comparison.measuring import Fitted, Matrix
from spinlock.comparison.models import fitted_model
from spinlock.comparison.peers.fsq_grid import component_variances, grid_levels, token_groups
from spinlock.comparison.peers.fsq_quantizer import FiniteScalarQuantizer
from spinlock.training.callbacks import Callback
from spinlock.training.interrupts import GracefulInterrupt, stopping
from spinlock.training.loop import Trainer
from spinlock.training.prepared import Prepared
from spinlock.training.seeding import Stream, generator, reproducible, sample_rows
from spinlock.training.start import find_device
from spinlock.training.threads import limited_threads, threads_for
from spinlock.vqvae import CategoricalHierarchicalVQVAE, build_vqvae
from spinlock.vqvae.config import CategoricalVQVAEConfig

_INITIAL_ROWS = 65_536


def fit_fsq(prepared: Prepared, callback: Callback | None = None) -> Fitted:
    """Trains the model of a run with a grid of as many bits per category as its plan has.

    Everything else is as in the run: encoders, decoder, optimiser, schedule, epochs and batches.
    A grid has no commitment loss and no code to revive.  With hierarchy ``independent`` the heads
    have no LayerNorm, which would leave two columns a single bit.

    Args:
        prepared: the run; its plan has the common bits.
        callback: is told of epochs and events.

    Raises:
        KeyboardInterrupt: a signal came; nothing of the training is kept.
        DataError: the training diverged.
    """
    started = time.perf_counter()
    config = prepared.config
    device = find_device(config.device)
    with reproducible(config.random_seed, device):
        rows = torch.as_tensor(prepared.train, dtype=torch.float32).to(device)
        held_out = torch.as_tensor(prepared.validation, dtype=torch.float32).to(device)
        model = grid_model(prepared.model_config, prepared.train).to(device)
        source = generator(config.random_seed, Stream.INITIALISATION)
        settings = config.training
        with limited_threads(threads_for(model, settings.batch_size, settings.num_threads)):
            model.initialize_from(sample_rows(rows, _INITIAL_ROWS, source), source)
        trainer = Trainer(
            model, rows, held_out, settings, seed=config.random_seed, callback=callback
        )
        with GracefulInterrupt() as interrupt:
            if trainer.run(interrupt):
                raise stopping(interrupt.signal_name)
    metrics = trainer.progress.metrics
    assert metrics is not None, "a finished run has been measured"
    return fitted_model(
        model.eval(),
        prepared.train,
        prepared.validation,
        dead_codes=metrics.dead_codes or 0,
        code_numbers=0,
        epochs=len(trainer.progress.history),
        seconds=time.perf_counter() - started,
    )


def grid_model(config: CategoricalVQVAEConfig, train: Matrix) -> CategoricalHierarchicalVQVAE:
    """A model of the configuration's form whose quantizer is a grid; not initialised yet.

    Args:
        config: its codebook sizes say how many bits each category has.
        train: ``[N, D]`` z-scored rows, whose principal components decide the levels.
    """
    sizes: list[tuple[int, ...]] = []
    dims: list[tuple[int, ...]] = []
    levels: list[int] = []
    groups: list[tuple[int, ...]] = []
    starts = np.cumsum([0, *config.category_sizes])
    for category, start in enumerate(starts[:-1]):
        columns = train[:, start : start + config.category_sizes[category]]
        bits = math.fsum(map(math.log2, config.codebook_sizes[category]))
        chosen = grid_levels(component_variances(columns), bits)
        tokens = token_groups(chosen, config.num_levels)
        if config.hierarchy == "independent":
            # A head has a column of its own even where its token says nothing.
            padded = [tuple(chosen[c] for c in token) or (1,) for token in tokens]
            chosen = tuple(size for token in padded for size in token)
            tokens = _side_by_side([len(token) for token in padded])
            dims.append(tuple(len(token) for token in tokens))
        else:
            dims.append((len(chosen),) * config.num_levels)
        groups += [tuple(len(levels) + column for column in token) for token in tokens]
        sizes.append(tuple(math.prod(chosen[column] for column in token) for token in tokens))
        levels += chosen
    model = build_vqvae(replace(config, codebook_sizes=tuple(sizes), latent_dims=tuple(dims)))
    model.add_module("quantizer", FiniteScalarQuantizer(levels, groups))
    if hasattr(model, "head_norm"):
        model.add_module("head_norm", nn.Identity())
    return model


def _side_by_side(widths: list[int]) -> tuple[tuple[int, ...], ...]:
    starts = np.cumsum([0, *widths]).tolist()
    return tuple(
        tuple(range(start, start + width)) for start, width in zip(starts, widths, strict=False)
    )
