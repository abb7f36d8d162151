"""What a trainer does together with those of other processes, each of which has rows of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from spinlock.distributed.rows import RowShare
from spinlock.distributed.world import World, add_up
from spinlock.training.seeding import Stream
from spinlock.training.shared_interrupt import SharedInterrupt

if TYPE_CHECKING:
    from spinlock.training.loop import Saver, Trainer
    from spinlock.training.progress import Progress
    from spinlock.vqvae import CategoricalHierarchicalVQVAE


class Team:
    """The processes of a run, and which rows each of them has.

    Batches, samples and draws are those of one process with all rows; each process does the part
    of a batch that it has.  Parts differ in size, so that gradients are sums, not averages: each
    process weighs its losses by its share of the batch.

    Attributes:
        world: the processes.
        train: which training rows are here.
        validation: which held-out rows are here.
        interrupt: asked in every step whether a signal has come to any process.
    """

    def __init__(self, world: World, train: RowShare, validation: RowShare) -> None:
        self.world, self.train, self.validation = world, train, validation
        self.interrupt: SharedInterrupt | None = None

    def backward(
        self, losses: dict[str, Tensor], share: float, parameters: Sequence[nn.Parameter]
    ) -> dict[str, Tensor]:
        """Gradients of the whole batch, in one message; its losses.

        Args:
            losses: of the rows here.
            share: rows here / rows of the batch.
            parameters: whose gradients are added up.
        """
        (losses["total"] * share).backward()  # type: ignore[no-untyped-call]
        moved = [p.grad for p in parameters if p.grad is not None]
        terms = torch.stack([loss.detach() * share for loss in losses.values()])
        flags = terms.new_zeros(2)
        if self.interrupt is not None and self.interrupt.signalled:
            flags = terms.new_tensor([1.0, float(self.interrupt.terminated)])
        packed = torch.cat([*(grad.flatten() for grad in moved), terms, flags])
        add_up(packed)
        parts = packed.split([*(grad.numel() for grad in moved), len(terms), 2])  # type: ignore[no-untyped-call]
        for grad, part in zip(moved, parts, strict=False):
            grad.copy_(part.view_as(grad))
        if self.interrupt is not None:
            signalled, terminated = parts[-1].tolist()
            if signalled > 0:
                self.interrupt.agree(terminated=terminated > 0)
        return dict(zip(losses, parts[-2].unbind(), strict=True))

    def seed_dropout(self, seed: int, step: int) -> None:
        """Dropout of a step as a function of seed, step and process: nothing to be saved."""
        words = np.random.SeedSequence((seed, int(Stream.DROPOUT), step, self.world.rank))
        torch.manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def sample_rows(self, x: Tensor, count: int, source: torch.Generator) -> Tensor:
        """The rows that :func:`~spinlock.training.seeding.sample_rows` draws of all training rows.

        Args:
            x: the training rows here, ``[n, D]``.
            count: at most so many.
            source: in the same state in all processes.
        """
        total = self.train.total
        wanted = torch.arange(total)
        if total > count:
            wanted = torch.randperm(total, generator=source)[:count]
        rows = x.new_zeros(len(wanted), x.shape[1])
        where, here = self.train.held(wanted)
        rows[where.to(x.device)] = x.index_select(0, here.to(x.device))
        return add_up(rows)

    def revive(
        self,
        model: CategoricalHierarchicalVQVAE,
        donors: Tensor,
        threshold: float,
        source: torch.Generator,
    ) -> int:
        """Process 0 revives dead codes, and the others take its codes; how many it revived."""
        revived = model.revive(donors, threshold, source) if self.world.first else 0
        self.world.copy_from_first(list(model.quantizer.state_dict().values()))
        return int(self.world.object_from_first(revived))

    def share_best(self, progress: Progress) -> None:
        """Which checkpoint is the best so far all take from process 0, which has looked."""
        best = self.world.object_from_first((progress.best_mse, progress.best_checkpoint))
        progress.best_mse, progress.best_checkpoint = best


class SharedSaver:
    """Process 0 writes checkpoints, and the others wait until they are complete.

    Args:
        world: the processes.
        saver: of process 0.
    """

    def __init__(self, world: World, saver: Saver | None) -> None:
        self._world, self._saver = world, saver

    def save(self, trainer: Trainer, *, best: bool) -> Path:
        """Writes one; its path."""
        path = None if self._saver is None else self._saver.save(trainer, best=best)
        return Path(self._world.object_from_first(path))
