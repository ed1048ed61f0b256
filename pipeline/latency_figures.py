"""What the trials of `make bench-latency` come to: its figures, their table and their JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export.bundle.environment import environment
from export.bundle.types import from_json, to_json
from pipeline import latency_trials as trials
from pipeline.calm import Probe
from pipeline.runs_apart import GATE, PLANTED, apart
from serve_bench.latency.schedule import BUDGET_S

IDLE, LOADED = "A/A, second core idle", "A/A, second core loaded"
REPEAT = "repeat"
RUNS = {
    IDLE: 100,
    LOADED: 400,
    "delay +5 %": 20,
    "delay +0.3 %": 20,
    "extra nodes": 20,
    REPEAT: 5,
    "agreement": 5,
    "bench": 3,
    "overhead": 5,
}
"""How often each is done; a run under two names is two trials, one for each of its batches."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """One trial as the file holds it."""

    name: str
    number: int
    seconds: float
    value: Any
    """Trials of `latency_trials`, or figures by name."""
    key: str
    host: tuple[Probe, ...] = ()
    """Before and behind the trial, where it was asked for."""


def pairs_of(done: Sequence[Done]) -> list[trials.Trial]:
    return [from_json(trials.Trial, value) for d in done for value in d.value]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the table."""

    name: str
    measured: str
    promised: str
    held: bool


def rows(done: Sequence[Done]) -> Iterator[Row]:
    """Figures of what is there so far."""
    by_name = {name: [d for d in done if d.name == name] for name in RUNS}
    for name in (IDLE, LOADED):
        if found := pairs_of(by_name[name]):
            yield from _same(name, found, len(by_name[name]))
    for name, wanted in (("delay +5 %", "slower"), ("extra nodes", "slower"), ("delay +0.3 %", "indistinguishable")):
        if found := pairs_of(by_name[name]):
            right = sum(t.word == wanted for t in found)
            off = statistics.median(abs(t.value / t.truth - 1) for t in found)
            title = f"planted {name}" + (f" ({_percent(1 / found[0].truth - 1)})" if name == "extra nodes" else "")
            yield Row(
                name=title,
                measured=f"{wanted} in {right} of {len(found)}; ratio off by {_percent(off, 2)} at the median",
                promised="≥ 95 %",
                held=right >= 0.95 * len(found),
            )
    if len(by_name[REPEAT]) > 1:
        yield _repeated([d.value for d in by_name[REPEAT]])
        yield from _compared([d.value["run"] for d in by_name[REPEAT] if "run" in d.value])
    if by_name["agreement"]:
        yield from _agreed([d.value for d in by_name["agreement"]])
    if by_name["bench"]:
        seconds = [d.value["seconds"] for d in by_name["bench"]]
        text = f"{statistics.median(seconds):.0f} s, at most {max(seconds):.0f} s of {len(seconds)} runs"
        name = f"the default `bench` over the CPU forms (budget {BUDGET_S:g} s)"
        yield Row(name=name, measured=text, promised="≤ 60 s", held=max(seconds) <= 60)
    if by_name["overhead"]:
        added = statistics.median(d.value["added_ns"] for d in by_name["overhead"])
        name = "what the measuring loop adds to a run"
        yield Row(name=name, measured=f"{added:.0f} ns", promised="≤ 500 ns", held=added <= 500)


def _same(name: str, found: Sequence[trials.Trial], runs: int) -> Iterator[Row]:
    different, covering = sum(t.word != "indistinguishable" for t in found), sum(t.covers for t in found)
    deltas = sorted(t.delta for t in found)
    yield Row(
        name=f"{name}: called different",
        measured=f"{different} of {len(found)} trials in {runs} runs; δ {_percent(statistics.median(deltas))} "
        f"at the median, {_percent(deltas[-1])} at most",
        promised="≤ 5 %",
        held=different <= 0.05 * len(found),
    )
    yield Row(
        name=f"{name}: the 95 % interval covers 1",
        measured=f"{covering} of {len(found)}",
        promised="≥ 93 %",
        held=covering >= 0.93 * len(found),
    )


def _repeated(runs: Sequence[Mapping[str, Mapping[str, float]]]) -> Row:
    """The cell whose ratio leaves the median of the runs most, and how much the machine itself moved meanwhile."""
    off = _off([run["ratios"] for run in runs])
    worst = max(off, key=lambda cell: off[cell])
    wide = sum(value > 0.03 for value in off.values())
    machine = " and ".join(f"{name} {_percent(by)}" for name, by in _off([run["machine"] for run in runs]).items())
    return Row(
        name=f"{len(runs)} runs apart, at the defaults: ratio to eager off their median",
        measured=f"{_percent(statistics.median(off.values()))} at the median of {len(off)} cells, "
        f"{_percent(off[worst])} at most ({worst}); {wide} above 3 %. Meanwhile the machine moved: {machine}",
        promised="≤ 3 % each",
        held=wide == 0,
    )


def _compared(runs: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """What `compare` says of those runs; nothing of fewer than two that hold what it reads."""
    if len(runs) < 2:
        return
    found = apart(runs)
    pairs = len(runs) * (len(runs) - 1)
    yield Row(
        name="`compare` of every two of these runs: called different",
        measured=f"{found.different} of {found.ratios} ratios in {pairs} comparisons, each pair both ways",
        promised="≤ 5 %",
        held=found.different <= 0.05 * found.ratios,
    )
    yield Row(
        name=f"… a gate at {_percent(GATE, 0)} closes for one form made {_percent(PLANTED, 0)} slower",
        measured=f"{found.found} of {found.planted}",
        promised="≥ 95 %",
        held=found.found >= 0.95 * found.planted,
    )


def _off(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """How far the values of each name that all runs have lie from their median at most, as a fraction."""
    middles = {n: statistics.median(r[n] for r in runs) for n in runs[0] if all(n in r for r in runs)}
    return {name: max(abs(run[name] / middle - 1) for run in runs) for name, middle in middles.items()}


def _agreed(found: Sequence[Mapping[str, Mapping[str, float]]]) -> Iterator[Row]:
    for runtime, other in ((r, o) for r, by in found[0].items() for o in by if o != "ours"):
        off = statistics.median(f[runtime]["ours"] / f[runtime][other] - 1 for f in found)
        ours = statistics.median(f[runtime]["ours"] for f in found) / 1e3
        yield Row(
            name=f"p50 of {runtime} at batch 1 against {other}",
            measured=f"{off:+.1%} over {len(found)} runs ({ours:.1f} µs)",
            promised="within 5 %",
            held=abs(off) <= 0.05,
        )


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def markdown(found: Sequence[Row], done: Sequence[Done], passed_over: int = 0) -> str:
    left = sum(RUNS.values()) - len({(d.name, d.number) for d in done})
    lines = [
        "# Can latencies be told apart?",
        "",
        "| figure | measured | promised | held |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {r.name} | {r.measured} | {r.promised} | {'yes' if r.held else '**no**'} |" for r in found]
    where = environment()
    lines += ["", f"{where.cpu}, {where.cores} cores; {len(done)} runs" + (f", {left} left." if left else ".")]
    if passed_over:
        lines[-1] += f" Passed over, for the host was not seen to be calm before, behind or meanwhile: {passed_over}."
    return "\n".join([*lines, ""])


def document(found: Sequence[Row], done: Sequence[Done]) -> str:
    """Figures, trials and environment as JSON, a figure and a trial a line."""
    parts = {name: ",\n  ".join(map(_plain, values)) for name, values in (("figures", found), ("trials", done))}
    lists = [f' "{name}": [\n  {lines}\n ]' for name, lines in parts.items()]
    return "{\n" + ",\n".join([*lists, f' "environment": {_plain(environment())}']) + "\n}\n"


def _plain(value: Any) -> str:
    return json.dumps(to_json(value), ensure_ascii=False)
