"""What cleaning did, step by step: counted, named, printable."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spinlock.errors import CheckpointError


@dataclass(frozen=True)
class DroppedFeature:
    """A column that cleaning removed, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class CleaningStep:
    """One step: how many training values it changed and which columns it dropped."""

    name: str
    values_changed: int = 0
    columns_changed: int = 0
    dropped: tuple[DroppedFeature, ...] = ()

    def summary(self) -> str:
        """What the step did, in one line.

        >>> CleaningStep("outliers", values_changed=12, columns_changed=2).summary()
        'outliers: 12 values in 2 columns changed'
        """
        done = []
        if self.values_changed:
            done.append(
                f"{_counted(self.values_changed, 'value')} in "
                f"{_counted(self.columns_changed, 'column')} changed"
            )
        if self.dropped:
            done.append(f"{_counted(len(self.dropped), 'column')} dropped")
        return f"{self.name}: {', '.join(done) or 'nothing to do'}"


@dataclass(frozen=True)
class CleaningReport:
    """The steps in their order, on the training rows.

    >>> report = CleaningReport(
    ...     num_rows=100, features_in=3, features_out=2,
    ...     steps=(CleaningStep("duplicates", dropped=(DroppedFeature("a::y", "|r| = 1"),)),),
    ... )
    >>> print(report)
    cleaning: 3 -> 2 columns, fitted on 100 rows
      duplicates: 1 column dropped
        a::y: |r| = 1
    """

    num_rows: int
    features_in: int
    features_out: int
    steps: tuple[CleaningStep, ...]

    @property
    def dropped(self) -> tuple[DroppedFeature, ...]:
        """All dropped columns, in the order of the steps."""
        return tuple(feature for step in self.steps for feature in step.dropped)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, max_names: int | None = None) -> list[str]:
        """The report as lines of text; at most ``max_names`` dropped columns listed per step."""
        text = [
            f"cleaning: {self.features_in} -> {_counted(self.features_out, 'column')}, "
            f"fitted on {self.num_rows:,} rows"
        ]
        for step in self.steps:
            text.append(f"  {step.summary()}")
            listed = step.dropped[:max_names]
            text += [f"    {feature.name}: {feature.reason}" for feature in listed]
            if len(listed) < len(step.dropped):
                text.append(f"    ... and {len(step.dropped) - len(listed)} more")
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, as JSON and YAML know them."""
        report = asdict(self)
        report["steps"] = [{**s, "dropped": list(s["dropped"])} for s in report["steps"]]
        return report

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CleaningReport":
        """The report that ``to_dict`` wrote.

        Raises:
            CheckpointError: keys missing, or values of another kind.
        """
        try:
            steps = tuple(
                CleaningStep(
                    name=str(step["name"]),
                    values_changed=int(step["values_changed"]),
                    columns_changed=int(step["columns_changed"]),
                    dropped=tuple(
                        DroppedFeature(str(f["name"]), str(f["reason"])) for f in step["dropped"]
                    ),
                )
                for step in data["steps"]
            )
            counts = {k: int(data[k]) for k in ("num_rows", "features_in", "features_out")}
            return cls(**counts, steps=steps)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the saved cleaning report is damaged ({type(error).__name__}: {error}). Fit "
                "again, or load another checkpoint."
            ) from error


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
