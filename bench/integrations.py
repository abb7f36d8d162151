"""Codecs of the transformers library before and after ``swap_quantizers``, on random weights.

    python -m bench.integrations --output bench/results/integrations.json
    python -m bench.integrations --render docs/integrations.md

Each model has the sizes of its published checkpoint; weights, codebooks and audio are random, so
that nothing is downloaded.  Original and swapped model take turns on one thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from bench.quality_grid import RESULTS, environment


@dataclass(frozen=True)
class Case:
    """One codec.

    Attributes:
        name: of the published sizes.
        sampling_rate: of its audio, Hz.
        make: the model, with random weights.
        width: D of the latents [1, D, T] that its quantizer gets.
        frames_per_second: of these.
    """

    name: str
    sampling_rate: int
    make: Callable[[], nn.Module]
    width: int
    frames_per_second: float


def cases() -> list[Case]:
    """Encodec 24 kHz, Mimi, DAC 44 kHz and X-codec, with the default configurations."""
    import transformers as t

    def made(kind: str, **options: Any) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            torch.manual_seed(0)
            config = getattr(t, f"{kind}Config")(**options)
            model: nn.Module = getattr(t, f"{kind}Model")(config).eval()
            for path, buffer in model.named_buffers():
                if path.endswith(("embed", "embed_sum")):
                    nn.init.normal_(buffer)
            return model

        return make

    return [
        Case("Encodec 24 kHz", 24_000, made("Encodec"), 128, 75),
        Case("Mimi", 24_000, made("Mimi"), 512, 12.5),
        Case("DAC 44 kHz", 44_100, made("Dac", sampling_rate=44_100), 1_024, 86),
        Case("X-codec", 16_000, made("Xcodec"), 1_024, 50),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measures, or fills in the table of a page; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.render is not None:
        page = options.render.read_text(encoding="utf-8")
        options.render.write_text(rendered(page), encoding="utf-8")
        return 0
    import transformers

    torch.set_num_threads(1)
    rows = [measured(case, options.seconds, options.repeats) for case in cases()]
    record = {
        "environment": {**environment(), "transformers": transformers.__version__},
        "seconds_of_audio": options.seconds,
        "repeats": options.repeats,
        "rows": rows,
    }
    print(markdown(record))
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


@torch.no_grad()
def measured(case: Case, seconds: int, repeats: int) -> dict[str, Any]:
    """Medians of quantizer and whole encoder, before and after, taking turns."""
    from spinlock.integrations.transformers import swap_quantizers

    plain = case.make()
    swapped = copy.deepcopy(plain)
    report = swap_quantizers(swapped)
    x = torch.randn(1, case.width, round(seconds * case.frames_per_second))
    audio = torch.randn(1, 1, seconds * case.sampling_rate)

    def quantize(model: Any) -> Tensor:
        # DAC's quantizer is called, the others encode.
        found: Any = model.quantizer(x)[1] if "DAC" in case.name else model.quantizer.encode(x)
        return torch.as_tensor(found)

    times: dict[str, list[float]] = {}
    same = 0.0
    for turn in range(repeats + 1):
        codes = {}
        for label, model in (("before", plain), ("after", swapped)):
            for part, work in (
                ("quantizer", lambda m=model: quantize(m)),
                ("encode", lambda m=model: m.encode(audio)),
            ):
                started = time.perf_counter()
                found = work()
                if turn:  # the first turn warms up
                    times.setdefault(f"{part} {label}", []).append(time.perf_counter() - started)
                if part == "quantizer":
                    codes[label] = found
        same = float((codes["before"] == codes["after"]).double().mean())
    return {
        "model": case.name,
        "quantizers": str(report).splitlines(),
        "same_codes": same,
        "seconds": {name: median(values) for name, values in times.items()},
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a Markdown table."""
    lines = [
        f"{record['seconds_of_audio']} s of audio, one thread, medians of {record['repeats']}; "
        f"transformers {record['environment']['transformers']}, torch "
        f"{record['environment']['torch']}.",
        "",
        "| model | codes | quantizer: before | after | ratio | encoder: before | after | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        s = row["seconds"]
        sizes = " and ".join(text.split(", ", 1)[1] for text in row["quantizers"])
        cells = [row["model"], sizes]
        for part in ("quantizer", "encode"):
            before, after = s[f"{part} before"], s[f"{part} after"]
            cells += [f"{1e3 * before:.0f} ms", f"{1e3 * after:.0f} ms", f"{before / after:.1f}x"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def rendered(page: str) -> str:
    """A page with what is between its markers ``<!-- integrations: FILE -->`` made anew."""

    def table(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"<!-- integrations: {match['file']} -->\n{markdown(record)}\n<!-- end -->"

    pattern = r"<!-- integrations: (?P<file>\S+) -->.*?<!-- end -->"
    return re.sub(pattern, table, page, flags=re.DOTALL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="of audio")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--render", type=Path, metavar="PAGE", help="fill in the table of a page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
