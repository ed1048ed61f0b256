"""What the records of sweeps say, as rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from export.bundle.store import Bundle
from export.bundle.types import Artifact, to_json
from serve_bench.cells import label
from serve_bench.latency import gpu_state, stats
from serve_bench.latency.stats import Interval, Quantile
from serve_bench.latency.sweeps._run import sweep_named, whole_sweeps
from serve_bench.latency.sweeps._types import SweepPoint
from serve_bench.reports import _format as show

HEADLINE = "Only sweeps were measured: there is no run that compares every backend with eager."


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One point of a sweep."""

    label: str
    """As a Subject has it."""
    artifact: str
    """Its name in the bundle."""
    backend: str
    """Name of the backend, without precision and device."""
    device: str
    """ "cpu" or "cuda"."""
    precision_asked: str
    """What the form asks for."""
    precision_found: str
    """What the session computes in."""
    batch: int
    """Samples in one run."""
    threads: int
    """Of one session."""
    length: int | None
    """Of every sequence; null where the inputs are as the test set has them."""
    processes: int
    """Running at once."""
    p50: Quantile | None
    """ns, over all runs that count; None where they are too few to bear it."""
    p90: Quantile | None
    """ns, as p50."""
    of_processes: tuple[Quantile | None, ...]
    """p50 of each process, where several ran at once."""
    throughput: float | None
    """Samples a second."""
    ratio: Interval | None
    """How many times as fast, a sample, as what the sweep compares with."""
    word: str
    """ "faster", "slower" or "indistinguishable", by the sweep's own δ at this batch; empty without a ratio."""
    runs: int
    """That count."""
    unsettled: int
    """Warm-ups that ended at their time limit."""
    ended: str
    """What ended the series of this point."""
    last: bool
    """Of its series."""
    error: str
    """Why there is no figure; empty where there is one."""
    latencies_ns: tuple[int, ...] = field(repr=False)
    """Raw: as the record has them."""
    of_replicate: tuple[int, ...] = field(repr=False)
    """The replicate of each latency."""


@dataclass(frozen=True, kw_only=True)
class SweepTable:
    """The newest whole run of one sweep."""

    name: str
    """Of the sweep: "batch", "threads", …"""
    axis: str
    """The field of a row that is swept."""
    compared: str
    """Heading of the ratio; empty without one."""
    legend: str
    """What the table means, in a sentence or two."""
    facts: str
    """Run, replicates, budget, in a sentence each."""
    run: str
    """Names the run of the sweep: only its own points are compared."""
    environment: str
    """Environment.id."""
    budget_s: float
    """Seconds of timed runs that were asked for."""
    replicates: int
    """That were asked for."""
    isolate: bool
    """Every session had a new interpreter of its own."""
    seed: int
    """Of the random order."""
    rows: tuple[SweepRow, ...]
    """Series by series, each along the axis."""


def tables(bundle: Bundle) -> tuple[SweepTable, ...]:
    """The newest whole run of each sweep that a bundle holds."""
    by_sha = {artifact.sha256: artifact for artifact in bundle.artifacts}
    return tuple(_table(points, by_sha) for points in whole_sweeps(bundle).values())


def _table(points: Sequence[SweepPoint], by_sha: Mapping[str, Artifact]) -> SweepTable:
    first, sweep = points[0], sweep_named(points[0].sweep)
    costs = {id(p): p.ns_per_sample() for p in points if p.latencies_ns}
    deltas = {key: stats.delta([costs[id(p)] for p in own]) for key, own in _beside(points, sweep.axis, costs).items()}
    rows = []
    for place, point in enumerate(points):
        base = sweep.base(point, points) if id(point) in costs else None
        ratio = None
        if base is not None and base is not point and id(base) in costs:
            ratio = stats.speed_ratio(costs[id(base)], costs[id(point)])
        following = points[place + 1] if place + 1 < len(points) else None
        last = following is None or _series(following, sweep.axis) != _series(point, sweep.axis)
        delta = deltas.get(_group(point, sweep.axis), stats.LEAST_DELTA)
        rows.append(_row(point, by_sha.get(point.artifact_sha256), ratio, delta, last=last))
    return SweepTable(
        name=first.sweep,
        axis=sweep.axis,
        compared=sweep.compared,
        legend=sweep.legend,
        facts=_facts(points),
        run=first.run,
        environment=first.environment,
        budget_s=float(first.facts["budget_s"]),
        replicates=int(first.facts["replicates"]),
        isolate=bool(first.facts.get("isolate")),
        seed=int(first.facts["seed"]),
        rows=tuple(rows),
    )


def _series(point: SweepPoint, axis: str) -> tuple[Any, ...]:
    return point.artifact_sha256, point.backend, point.device, None if axis == "batch" else point.batch


def _group(point: SweepPoint, axis: str) -> tuple[str, int]:
    """Points whose spread is one δ: those of a device and batch, of all batches where these are the axis."""
    return point.device, 0 if axis == "batch" else point.batch


def _beside(points: Sequence[SweepPoint], axis: str, costs: Collection[int]) -> dict[tuple[str, int], list[SweepPoint]]:
    found: dict[tuple[str, int], list[SweepPoint]] = {}
    for point in points:
        if id(point) in costs:
            found.setdefault(_group(point, axis), []).append(point)
    return found


def _row(point: SweepPoint, artifact: Artifact | None, ratio: Interval | None, delta: float, *, last: bool) -> SweepRow:
    each = point.counted()
    counted = list(chain.from_iterable(each))
    drawn_with = point.counted_replicates()
    return SweepRow(
        label=label(artifact, point.backend, point.device),
        artifact=point.artifact,
        backend=point.backend,
        device=point.device,
        precision_asked=point.precision_asked,
        precision_found=point.precision,
        batch=point.batch,
        threads=point.threads,
        length=point.length,
        processes=point.processes,
        p50=stats.replicated_quantile(counted, drawn_with, 0.5),
        p90=stats.replicated_quantile(counted, drawn_with, 0.9),
        of_processes=tuple(stats.bounded_quantile(own, 0.5) for own in each) if len(each) > 1 else (),
        throughput=point.throughput(),
        ratio=ratio,
        word=stats.word(ratio, delta) if ratio else "",
        runs=len(counted),
        unsettled=int(point.facts.get("unsettled_replicates", 0)),
        ended=point.ended,
        last=last,
        error=point.error,
        latencies_ns=point.latencies_ns,
        of_replicate=point.replicates,
    )


def _facts(points: Sequence[SweepPoint]) -> str:
    first, facts = points[0], points[0].facts
    said = f"Run {first.run} of {first.started}: {facts['replicates']} replicates, seed {facts['seed']}"
    if len({p.threads for p in points}) == 1:
        said += f", {first.threads} thread{'s' if first.threads > 1 else ''}"
    said += f"; {facts['budget_s']:g} s of timed runs asked, {facts['spent_s']:.1f} s spent. Boundary {first.boundary}."
    if facts.get("cores") and any(p.device == "cpu" for p in points):
        said += f" Cores: {show.cores(facts['cores'])}."
    cycled = sorted({p.batch for p in points if p.batch > facts["samples"]})
    if cycled:
        said += f" The {facts['samples']:,} real samples are repeated to fill batch {', '.join(map(str, cycled))}."
    unsettled = sum(int(p.facts.get("unsettled_replicates", 0)) for p in points)
    total = sum(p.facts["replicates"] * p.processes for p in points if p.latencies_ns)
    if unsettled:
        said += f" {unsettled} of {total} warm-ups ended at their time limit."
    if again := sum(window.tries - 1 for p in points for window in p.windows):
        said += f" {again} window{'s were' if again > 1 else ' was'} timed again, as a process came late."
    if held := gpu_state.held_text(facts.get("gpu_rounds", ())):
        said += f" The GPU held its clocks down: {held}."
    if facts.get("void_replicates"):
        said += f" {facts['void_replicates']} replicates were taken again, as a process died."
    return f"{said} Environment {first.environment}."


def plain(sweep: SweepTable) -> dict[str, Any]:
    """A table as JSON values; quantiles and ratios as {"value", "low", "high"}, the raw latencies included."""

    def bounds(value: Quantile | Interval | None) -> Any:
        return None if value is None else value._asdict()

    rows = [
        to_json(row)
        | {"p50": bounds(row.p50), "p90": bounds(row.p90), "ratio": bounds(row.ratio)}
        | {"of_processes": [bounds(q) for q in row.of_processes]}
        for row in sweep.rows
    ]
    found: dict[str, Any] = to_json(sweep)
    return found | {"rows": rows}
