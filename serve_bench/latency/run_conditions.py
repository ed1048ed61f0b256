"""How a run was taken, as far as another must be like it to be compared, and what the machine alone did meanwhile."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from export.bundle.types import Measurement
from serve_bench.latency.clock import COPIED
from serve_bench.latency.stats import quantile

MACHINE = {2: "a fixed loop", 3: f"a copy of {COPIED >> 20} MiB"}
"""What is timed in every round beside the forms, by its place in a calibration entry."""
FELT = dict(zip(MACHINE.values(), (1.0, 0.5), strict=True))
"""How much of its change, on the log scale, a form feels at most. In 22 runs the copy moved by 58 % and forms followed
with 0.07 to 0.25 of that, one with 0.48; the loop's seconds are everybody's (METHODOLOGY §2)."""


@dataclass(frozen=True, kw_only=True)
class RunConditions:
    """What all forms of a run had in common."""

    threads: int
    """Of each session."""
    isolate: bool
    """Every session had a new interpreter of its own."""
    cores_drawn: bool
    """All CPU forms of a replicate were bound to the same cores; false where the system placed them."""
    rewarm_ns: int
    """Length of the untimed runs at the beginning of a visit."""
    machine_ns: Mapping[str, float]
    """Median over all rounds of what was timed beside the forms, by name."""


def conditions_of(record: Measurement) -> RunConditions:
    """Those of the run that a record is of."""
    facts = record.facts
    rounds: Sequence[Sequence[int]] = facts.get("calibration") or ()
    return RunConditions(
        threads=record.threads,
        isolate=bool(facts["isolate"]),
        cores_drawn=any(facts.get("cores") or ()),
        rewarm_ns=int(facts.get("rewarm_ns", 0)),
        machine_ns={
            name: quantile([entry[place] for entry in rounds], 0.5)
            for place, name in MACHINE.items()
            if rounds and all(len(entry) > place for entry in rounds)
        },
    )


def alike(one: RunConditions, other: RunConditions) -> bool:
    return not any(unlike(one, other))


def unlike(base: RunConditions, new: RunConditions) -> Iterator[str]:
    """What makes two runs another measurement, in words."""
    if base.threads != new.threads:
        yield f"threads: {base.threads} and {new.threads}"
    if base.isolate != new.isolate:
        words = {True: "a new interpreter for each session", False: "forked"}
        yield f"processes: {words[base.isolate]} and {words[new.isolate]}"
    if base.cores_drawn != new.cores_drawn:
        words = {True: "the same for all forms", False: "left to the system"}
        yield f"cores: {words[base.cores_drawn]} and {words[new.cores_drawn]}"
    if base.rewarm_ns != new.rewarm_ns:
        yield f"untimed runs of a visit: {base.rewarm_ns / 1e6:g} ms and {new.rewarm_ns / 1e6:g} ms"


def moved(base: Sequence[RunConditions], new: Sequence[RunConditions]) -> dict[str, float]:
    """By name, how many times as long the machine alone took in the `new` runs; geometric means over runs, and only
    what was timed in all of them."""
    both = [*base, *new] if base and new else []
    return {
        name: math.exp(_mean_log(new, name) - _mean_log(base, name))
        for name in MACHINE.values()
        if both and all(run.machine_ns.get(name, 0.0) > 0 for run in both)
    }


def felt(moved: Mapping[str, float]) -> list[float]:
    """What of `moved` a form may feel, as factors on its latency."""
    return [by ** FELT[name] for name, by in moved.items()]


def _mean_log(runs: Sequence[RunConditions], name: str) -> float:
    return statistics.fmean(math.log(run.machine_ns[name]) for run in runs)
