"""`make bench-embed`: what an app costs to start, whether every runtime answers rightly, whether a flipped bit is seen.

Every way to a first answer is a process made anew; the ways take turns in random order. Golden answers are asked on
every runtime at hand. Bits are flipped in a copy of the bundle.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.environment import environment
from export.bundle.errors import PipelineError
from export.bundle.files import write_atomic
from export.bundle.store import Bundle
from export.bundle.types import to_json
from pipeline.bench_integrity import Flips, flip_trials
from pipeline.console import Terminal
from pipeline.first_answers import Way, measured
from pipeline.latency_trials import onnx_of
from pipeline.results import ROOT
from serve_bench.embed._base import kit_of
from serve_bench.embed._check import Checked, check

RESULTS = ROOT / "results" / "embed.json"
ROUNDS, FLIPS = 15, 10_000
FIRST_ANSWER_S = 0.3
"""Promised of the Python app."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What was seen of one bundle."""

    model: str
    app_bytes: int
    model_bytes: int
    """Of model.onnx."""
    ways: tuple[Way, ...]
    golden: tuple[Checked, ...]
    flips: Flips


def markdown(found: Embedded) -> str:
    """The tables of README."""
    where = environment()
    lines = [
        f"# What an app around {found.model} costs, and whether it is right",
        "",
        f"app.onnx has {found.app_bytes:,} bytes, model.onnx {found.model_bytes:,}.",
        "",
        "| way to the first answer | seconds from the start of the process, median [least, most] | memory | starts |",
        "| --- | ---: | ---: | ---: |",
    ]
    for way in found.ways:
        if way.missing:
            lines.append(f"| {way.name} | not run: {way.missing} | | |")
            continue
        seconds = [s.first_answer_s for s in way.starts]
        memory = statistics.median(s.memory_bytes for s in way.starts)
        said = f"{statistics.median(seconds):.2f} [{min(seconds):.2f}, {max(seconds):.2f}]"
        lines.append(f"| {way.name} | {said} | {memory / 1e6:.0f} MB | {len(seconds)} |")
    lines += [
        "",
        "Memory: the most that was ever resident; of the web page, the proportional set sizes of all the browser's",
        "processes. The page also asks all golden samples before it counts as answered.",
        "",
        "| runtime | golden samples inside the float32 band | |",
        "| --- | --- | --- |",
    ]
    for row in found.golden:
        far = ", ".join(f"{d.error:.1e} of {d.tolerance:.1e}" for d in row.distances)
        said = f"not run: {row.reason}" if row.passed is None else f"all {row.samples}" if row.passed else row.reason
        lines.append(f"| {row.runtime} {row.version} | {said} | {far} |")
    flips = found.flips
    lines += [
        "",
        f"{flips.found:,} of {flips.trials:,} single flipped bits in `payload/` and `records/` "
        f"({len(flips.by_file)} files) were found by `pipeline verify --integrity`; the untouched bundle passed.",
        "",
        f"{where.cpu}, {where.cores} cores.",
        "",
    ]
    return "\n".join(lines)


def held(found: Embedded) -> Mapping[str, bool]:
    """What README promises."""
    python = next(w for w in found.ways if w.name == "Python app")
    seconds = [s.first_answer_s for s in python.starts]
    return {
        f"Python app answers within {FIRST_ANSWER_S} s": bool(seconds) and statistics.median(seconds) <= FIRST_ANSWER_S,
        "every runtime is inside the band": all(row.passed is not False for row in found.golden),
        "every flipped bit is found": not found.flips.missed,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where a promise is not held."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_embed", description=__doc__.split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--flips", type=int, default=FLIPS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default results/embed.json; the .md beside it")
    given = parser.parse_args(arguments)
    progress = Terminal()
    try:
        bundle = Bundle.open(given.bundle)
        kit = kit_of(bundle)
        found = Embedded(
            model=bundle.manifest.title,
            app_bytes=kit.app.bytes,
            model_bytes=onnx_of(bundle).bytes,
            ways=tuple(measured(bundle, kit, given.rounds, progress)),
            golden=check(kit, (), progress).rows,
            flips=flip_trials(given.bundle, given.flips, 0),
        )
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    promises: dict[str, Any] = dict(held(found))
    value = to_json(found) | {"held": promises, "environment": to_json(environment())}
    write_atomic(given.out, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
    write_atomic(given.out.with_suffix(".md"), markdown(found).encode())
    print(markdown(found))
    for name, kept in promises.items():
        print(f"{'held' if kept else 'NOT HELD'}: {name}")
    return int(not all(promises.values()))


if __name__ == "__main__":
    sys.exit(main())
