"""`pipeline compare BASE NEW`: is the new one slower, and by how much? From measurements, or from runs in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.bundle.errors import UsageError
from export.bundle.store import Bundle
from export.progress import Progress
from pipeline.compare_sides import Cell, Side, newest
from pipeline.comparison import Comparison, Row
from pipeline.options import Options
from serve_bench.latency import compare, stats
from serve_bench.latency.compare import Medians
from serve_bench.latency.records import show, whole_runs
from serve_bench.latency.run_conditions import felt, moved, unlike
from serve_bench.latency.stats import Interval

SHOWN = "base and new are geometric means of the replicates' medians, and the ratio is their quotient"
SHOWN_OF_PAIRS = "base and new are geometric means over runs, and the ratio is their quotient: the mean over pairs"


def compared(base: Side, new: Side, *, anyway: bool) -> Comparison:
    """Cell by cell; raises UsageError where the sides cannot be compared: no cell in common, or, unless `anyway`,
    another model, another environment, or runs that were taken otherwise."""
    _check_models((base.name, new.name), (base.model, new.model), anyway=anyway)
    notes = []
    if base.environment != new.environment:
        words = "; ".join(_unlike_environments(base.where, new.where)) or f"{base.environment} and {new.environment}"
        if not anyway:
            who = f"{base.name} and {new.name}"
            raise UsageError(f"{who} come from unlike environments ({words}); --anyway compares them still")
        notes.append(f"unlike environments: {words}")
    if base.runs and new.runs and (words := "; ".join(unlike(base.runs[0], new.runs[0]))):
        if not anyway:
            who = f"{base.name} and {new.name}"
            raise UsageError(f"{who} were measured under unlike conditions ({words}); --anyway compares them still")
        notes.append(f"unlike conditions: {words}")
    common = [cell for cell in base.cells if cell in new.cells]
    if not common:
        raise UsageError(f"{base.name} and {new.name} have no backend and batch in common")
    known_runs = {name for runs in base.cells.values() for name in runs}
    spread = compare.between([base.repeats(), new.repeats({new.run, *known_runs})])
    notes.append(f"between runs a latency is taken to vary by {spread.deviation:.1%} ({_known(spread)})")
    if base.run and base.run == new.run:
        notes.append(f"both sides hold run {base.run}: it is compared with itself")
    shifts = moved(base.runs[:1], new.runs[:1])
    notes.append(_machine(base, new, shifts))
    rows = []
    for cell in common:
        ratio = compare.ratio([base.of(cell)], [new.of(cell)], spread)
        if ratio and cell[0] in base.on_cpu & new.on_cpu:
            ratio = compare.widened(ratio, felt(shifts))
        rows.append(_row(cell, [base.of(cell)], [new.of(cell)], ratio, compare.latency_ns))
    return Comparison(
        base=base.name,
        new=new.name,
        rows=tuple(row for row in rows if row),
        only_base=_only([base], [new]),
        only_new=_only([new], [base]),
        notes=(SHOWN, *notes),
        unjudged=_unjudged(common, rows),
    )


def _known(spread: compare.Spread) -> str:
    """What the spread between runs is known from, in words."""
    if not spread.repeats:
        return "given, for want of repeated runs"
    given = f"{compare.BETWEEN_RUNS:.1%}"
    runs = f"{spread.repeats} repeated run{'s' if spread.repeats > 1 else ''}"
    return f"from {runs} here, and {given} that is given and weighs as {compare.KNOWN_LIKE} runs"


def _check_models(names: Sequence[object], models: Sequence[str], *, anyway: bool) -> None:
    if models[0] != models[1] and not anyway:
        raise UsageError(f"{names[0]} measures {models[0]} and {names[1]} {models[1]}; --anyway compares them still")


def _machine(base: Side, new: Side, shifts: Mapping[str, float]) -> str:
    """What the machine alone did on the two sides, in words."""
    if not shifts:
        silent = [side.name for side in (base, new) if not side.runs] or [base.name, new.name]
        return f"what the machine alone did is not known of {' and '.join(silent)}: intervals have no part for it"
    took = ", ".join(f"{name} {100 * (by - 1):+.1f} %" for name, by in shifts.items())
    why = "intervals reach as far as a form may feel that"
    return f"the machine alone took in {new.name}, against {base.name}: {took}; {why}"


def _row(
    cell: Cell,
    base: Sequence[Medians],
    new: Sequence[Medians],
    ratio: Interval | None,
    latency_ns: Callable[[Sequence[Medians]], float],
) -> Row | None:
    if ratio is None:
        return None
    return Row(
        backend=cell[0],
        batch=cell[1],
        boundary=cell[2],
        base_ns=latency_ns(base),
        new_ns=latency_ns(new),
        ratio=ratio,
        word=stats.word(ratio, stats.LEAST_DELTA),
    )


def _only(sides: Sequence[Side], others: Sequence[Side]) -> tuple[str, ...]:
    """Cells that any of the `sides` holds and not every one of the `others`."""
    cells = dict.fromkeys(cell for side in sides for cell in side.cells)
    return tuple(_named(cell) for cell in cells if not all(cell in other.cells for other in others))


def _named(cell: Cell) -> str:
    return f"{cell[0]} at batch {cell[1]}"


def _unjudged(cells: Sequence[Cell], rows: Sequence[Row | None]) -> tuple[str, ...]:
    return tuple(_named(cell) for cell, row in zip(cells, rows, strict=True) if row is None)


def _unlike_environments(base: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two environments, in words."""
    for name in ("cpu", "cores", "cpu_flags", "gpus", "os", "python", "settings"):
        if base.get(name) != new.get(name):
            yield f"{name}: {base.get(name)} and {new.get(name)}"
    ours, theirs = base.get("versions") or {}, new.get("versions") or {}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name, 'none')} and {theirs.get(name, 'none')}"


FEW_PAIRS = 4
"""Below it, Student's t of pairs is more than 3 standard errors."""


def _few(pairs: int) -> str:
    """What so few pairs cost, in words."""
    if pairs >= FEW_PAIRS:
        return ""
    here, more = (stats.t_quantile(0.975, count - 1) / math.sqrt(count) for count in (pairs, 6))
    return f", {here / more:.0f} times as wide as --alternate 6 makes it"


def alternate(
    base: Path, new: Path, pairs: int, options: Options, progress: Progress, *, anyway: bool = False
) -> Comparison:
    """Measures both, `pairs` times each, taking turns; the order of a pair changes from one to the next.

    The runs are kept, and reports go on showing what they showed before. A cell that any run lacks has no ratio and is
    named. Raises UsageError for a path that is no bundle and, unless `anyway`, for another model.
    """
    from pipeline.run import bench_paths

    titles = []
    for path in (base, new):
        if not path.is_dir():
            raise UsageError(f"{path}: is no bundle, and --alternate measures two")
        titles.append(Bundle.open(path).manifest.title)
    _check_models((base, new), titles, anyway=anyway)
    first: list[Side] = []
    second: list[Side] = []
    options = replace(options, no_peak=True, shown=False)
    if few := _few(pairs):
        progress.note(f"an interval over {pairs} pairs is wide{few}")
    with _shown_again({base, new}, progress):
        for pair in range(pairs):
            turns = ((base, first), (new, second))
            for path, runs in turns if pair % 2 == 0 else turns[::-1]:
                progress.note(f"pair {pair + 1} of {pairs}: {path}")
                for outcome in bench_paths([path], options, progress):
                    outcome.raise_for_failures()
                runs.append(newest(path))
    common = [cell for cell in first[0].cells if all(cell in side.cells for side in (*first, *second))]
    rows = []
    for cell in common:
        ours, theirs = ([side.of(cell) for side in sides] for sides in (first, second))
        rows.append(_row(cell, ours, theirs, compare.alternated(ours, theirs), compare.latency_in_turns_ns))
    return Comparison(
        base=str(base),
        new=str(new),
        rows=tuple(row for row in rows if row),
        only_base=_only(first, second),
        only_new=_only(second, first),
        unjudged=_unjudged(common, rows),
        notes=(SHOWN_OF_PAIRS, f"{pairs} runs of each, in turns; the interval is over pairs{_few(pairs)}"),
        pairs=pairs,
    )


@contextmanager
def _shown_again(paths: Collection[Path], progress: Progress) -> Iterator[None]:
    """The bundles' reports show afterwards what they showed before, however what was measured meanwhile ended."""
    from pipeline.judge import write_reports

    shown = {path: whole_runs(Bundle.open(path))[-1:] for path in paths}
    try:
        yield
    finally:
        for path, before in shown.items():
            bundle = Bundle.open(path)
            if before and show(bundle, before[0]):
                write_reports(bundle)
                progress.note(f"{path}: its report shows run {before[0][0].run} as before; those of now are kept too")
