"""The device of a run, and its model before the first step."""

from __future__ import annotations

import torch
from torch import Tensor

from spinlock.errors import ConfigError
from spinlock.training.callbacks import Event, EventHandler
from spinlock.training.prepared import Prepared
from spinlock.training.seeding import Stream, generator, sample_rows
from spinlock.training.team import Team
from spinlock.training.threads import limited_threads, threads_for
from spinlock.vqvae import CategoricalHierarchicalVQVAE, build_vqvae

_INITIAL_ROWS = 65_536


def find_device(name: str) -> torch.device:
    """The device that a configuration names; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = "expected cpu, cuda, cuda:N or auto"
    if name.partition(":")[0] not in ("cpu", "cuda"):
        raise ConfigError(f"device: {expected}, got {name!r}")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): set device to "
            "cpu or auto"
        ) from error
    return device


def start_model(
    prepared: Prepared, rows: Tensor, on_event: EventHandler, team: Team | None = None
) -> CategoricalHierarchicalVQVAE:
    """The model that the plan describes, initialised from training rows ``[N, D]``.

    Of a team each process has a part of the rows; process 0 initialises from a sample of all.
    """
    model = build_vqvae(prepared.model_config).to(rows.device)
    source = generator(prepared.config.random_seed, Stream.INITIALISATION)
    settings = prepared.config.training
    num_rows = len(rows) if team is None else team.train.total
    sample = sample_rows if team is None else team.sample_rows
    with limited_threads(threads_for(model, settings.batch_size, settings.num_threads)):
        chosen = sample(rows, _INITIAL_ROWS, source)
        if team is None or team.world.first:
            model.initialize_from(chosen, source)
    if team is not None:
        team.world.copy_from_first(list(model.state_dict().values()))
    count = sum(p.numel() for p in model.parameters())
    message = (
        f"model with {count:,} parameters and {prepared.plan.total_codes:,} codes initialised "
        f"from {min(num_rows, _INITIAL_ROWS):,} training rows"
    )
    on_event(Event("initialised", message, {"parameters": count}))
    return model


def on_device(matrix: object, device: torch.device) -> Tensor:
    """A matrix as a float32 tensor."""
    return torch.as_tensor(matrix, dtype=torch.float32).to(device)
