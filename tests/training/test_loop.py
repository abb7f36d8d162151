"""The loop: batches, schedule, revival, early stopping."""

from itertools import chain
from typing import Any

import pytest
import torch

from spinlock.errors import InputError
from spinlock.training.callbacks import EpochRecord, RunInfo
from trainers import Record, make_trainer, reproducibly, rows


def test_every_epoch_shuffles_anew_and_drops_the_partial_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbered = rows(70)
    numbered[:, 0] = torch.arange(70.0)
    seen: list[list[int]] = []
    trainer = make_trainer(train=numbered, num_epochs=3)
    step = trainer._step
    monkeypatch.setattr(
        trainer, "_step", lambda rows: (seen.append(numbered[rows, 0].int().tolist()), step(rows))
    )
    trainer.run()
    assert [len(batch) for batch in seen] == [16] * 12
    epochs = [list(chain(*seen[4 * e : 4 * e + 4])) for e in range(3)]
    assert all(len(set(epoch)) == 64 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert trainer.steps_per_epoch == 4


def test_a_batch_larger_than_the_data_is_capped_and_said() -> None:
    record = Record()
    trainer = make_trainer(record, batch_size=512, num_epochs=1)
    trainer.run()
    assert trainer.batch_size == 70
    assert [e.kind for e in record.events] == ["batch_size_capped"]
    assert record.events[0].details == {"batch_size": 70}
    assert record.runs == [
        RunInfo(
            num_epochs=1, steps_per_epoch=1, first_epoch=1, first_step=1, batch_size=70, threads=1
        )
    ]


def test_without_held_out_rows_the_training_rows_are_measured_and_said() -> None:
    record = Record()
    trainer = make_trainer(record, validation=rows(0))
    trainer.run()
    assert [e.kind for e in record.events] == ["validation_on_training"]
    assert trainer.split == "training"
    assert record.epochs[-1].validation is not None
    assert record.epochs[-1].validation.rows == 70
    assert record.epochs[-1].split == "training"


def test_records_say_what_happened() -> None:
    record = Record()
    trainer = make_trainer(record, num_epochs=5, val_every_n_epochs=2, scheduler="cosine")
    assert trainer.run() is False
    assert [r.epoch for r in record.epochs] == [1, 2, 3, 4, 5]
    assert [r.step for r in record.epochs] == [4, 8, 12, 16, 20]
    assert [r.validation is not None for r in record.epochs] == [False, True, False, True, True]
    rates = [r.learning_rate for r in record.epochs]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == trainer.schedule.at(19)
    for r in record.epochs:
        assert r.losses.keys() == {"reconstruction", "commitment", "total"}
        assert r.losses["total"] == pytest.approx(
            r.losses["reconstruction"] + r.losses["commitment"], rel=1e-5
        )
        assert 0 < r.utilization <= 1
        assert r.perplexity >= 1
        assert EpochRecord.from_dict(r.to_dict()) == r
    assert trainer.progress.finished
    assert trainer.progress.metrics == record.epochs[-1].validation
    assert trainer.run() is False
    assert len(record.epochs) == 5


def test_training_improves() -> None:
    record = Record()
    data = {"train": rows(400), "validation": rows(200, seed=1)}
    reproducibly(lambda: make_trainer(record, num_epochs=15, **data).run())
    first, last = record.epochs[0], record.epochs[-1]
    assert first.validation is not None
    assert last.validation is not None
    assert last.losses["total"] < 0.9 * first.losses["total"]
    assert last.validation.mean_mse < first.validation.mean_mse


def test_usage_counts_each_epoch_alone() -> None:
    record = Record()
    trainer = make_trainer(record, num_epochs=2)
    trainer.run()
    counts = trainer.model.quantizer.bank.epoch_counts
    assert int(counts.sum()) == 4 * 16 * 4  # steps x rows x quantizers
    assert record.epochs[-1].dead_codes == int((counts == 0).sum())
    metrics = record.epochs[-1].validation
    assert metrics is not None
    assert metrics.dead_codes == record.epochs[-1].dead_codes


@pytest.mark.parametrize(
    ("interval", "fraction", "expected"),
    [(1, 0.5, [1, 2, 3]), (2, 1.0, [2, 4, 6]), (1, 0.0, []), (4, 0.8, [4])],
)
def test_revival_follows_its_interval_and_ends(
    monkeypatch: pytest.MonkeyPatch, interval: int, fraction: float, expected: list[int]
) -> None:
    trainer = make_trainer(
        num_epochs=6, dead_code_interval=interval, dead_code_stop_fraction=fraction
    )
    called: list[int] = []
    monkeypatch.setattr(
        trainer.model, "revive", lambda *_: called.append(trainer.progress.epoch) or 0
    )
    trainer.run()
    assert called == expected


def test_without_dead_codes_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    bank = trainer.model.quantizer.bank
    source = torch.Generator().manual_seed(0)
    looked_up: list[int] = []
    nearest = type(bank).nearest
    monkeypatch.setattr(
        type(bank), "nearest", lambda *args: (looked_up.append(1), nearest(*args))[1]
    )
    assert trainer.model.revive(trainer.train, 0.02, source) == 0
    assert looked_up == []
    assert torch.equal(source.get_state(), torch.Generator().manual_seed(0).get_state())
    bank.ema_counts[-1] = 0.0  # a code of the last level alone
    assert trainer.model.revive(trainer.train, 0.02, source) == 1
    with pytest.raises(InputError, match="threshold"):
        trainer.model.revive(trainer.train, float("nan"), source)


def test_early_stopping_ends_the_run() -> None:
    record = Record()
    trainer = make_trainer(
        record, num_epochs=50, early_stopping_patience=3, early_stopping_min_delta=100.0
    )
    assert trainer.run() is False
    # The first measurement improves on none; three more do not improve on it.
    assert len(record.epochs) == 4
    assert trainer.progress.finished
    assert [e.kind for e in record.events] == ["early_stop"]


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_are_clipped_where_asked(
    monkeypatch: pytest.MonkeyPatch, clip: float | None
) -> None:
    norms: list[float] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda _, norm: norms.append(norm))
    make_trainer(num_epochs=1, gradient_clip=clip).run()
    assert norms == ([] if clip is None else [0.5] * 4)


def test_learning_rate_moves_with_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(num_epochs=2, warmup_epochs=1)
    used: list[float] = []
    step = trainer.optimizer.step
    monkeypatch.setattr(
        trainer.optimizer,
        "step",
        lambda: (used.append(trainer.optimizer.param_groups[0]["lr"]), step()),
    )
    trainer.run()
    assert used == [trainer.schedule.at(i) for i in range(8)]
    assert used[:4] == pytest.approx([5e-4, 1e-3, 1.5e-3, 2e-3])


FORMS: list[dict[str, Any]] = [
    {"model": {"dropout": 0.2}},
    {"model": {"use_ema": False}, "optimizer": "adamw", "weight_decay": 0.1, "warmup_epochs": 1},
    {
        "model": {"hierarchy": "independent", "dropout": 0.1, "orthogonality_weight": 0.1},
        "gradient_clip": 1.0,
        "early_stopping_patience": 9,
    },
]


@pytest.mark.parametrize("hierarchy", ["residual", "independent"])
def test_autocast_lowers_steps_and_nothing_that_is_kept_or_measured(hierarchy: str) -> None:
    def run(**settings: Any) -> tuple[EpochRecord, set[tuple[bool, torch.dtype]], torch.nn.Module]:
        record, seen = Record(), set()
        options = {"model": {"hierarchy": hierarchy}, "num_epochs": 30, **settings}
        trainer = reproducibly(lambda: make_trainer(record, **options))
        trainer.model.decoder.register_forward_hook(
            lambda module, _, out: seen.add((module.training, out.dtype))
        )
        trainer.run()
        return record.epochs[-1], seen, trainer.model

    full, exact, _ = run()
    lower, lowered, model = run(autocast="bfloat16")
    assert exact == {(True, torch.float32), (False, torch.float32)}
    assert lowered == {(True, torch.bfloat16), (False, torch.float32)}
    assert {t.dtype for t in model.state_dict().values()} <= {
        torch.float32,
        torch.int64,
        torch.bool,
    }
    assert full.validation is not None
    assert lower.validation is not None
    assert lower.validation.mean_mse == pytest.approx(full.validation.mean_mse, rel=0.25)
    assert lower.validation.mean_mse != full.validation.mean_mse
