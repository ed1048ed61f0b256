"""What `pipeline compare` says of whole runs of one bundle: how often it calls them different, and what it finds.

Every two of the runs are compared as a user would compare them, either one as the base. Nothing was changed between
them, so that each word other than "indistinguishable" is false; and one form at a time is made `PLANTED` slower in the
new one, which a gate at `GATE` is to find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, NamedTuple

from export.bundle.types import Measurement, from_json, to_json
from pipeline.compare import compared
from pipeline.compare_sides import Cell, Side
from serve_bench.cells import label
from serve_bench.latency import compare, stats
from serve_bench.latency.run_conditions import RunConditions, conditions_of

GATE, PLANTED = 0.05, 0.15


class Apart(NamedTuple):
    """Counts over all ordered pairs of runs."""

    different: int
    """Ratios of a form to itself that were called faster or slower."""
    ratios: int
    found: int
    """Planted slowdowns that closed the gate."""
    planted: int


def kept_run(records: Sequence[Measurement], artifacts: Mapping[str, Any]) -> dict[str, Any]:
    """What of a run a comparison reads, as JSON: conditions, and each form's medians by replicate."""
    cells = [
        [
            label(artifacts.get(r.artifact_sha256), r.backend, r.device),
            r.batch,
            r.boundary,
            list(stats.medians_by_replicate(r.latencies_ns, r.replicates).items()),
        ]
        for r in records
        if r.latencies_ns
    ]
    return {"conditions": to_json(conditions_of(records[0])), "cells": cells}


def side_of_run(name: str, run: Mapping[str, Any]) -> Side:
    """A side of a comparison, as of a file that holds one run of CPU forms."""
    cells: dict[Cell, Mapping[str, compare.Medians]] = {
        (form, batch, boundary): {name: {int(r): float(ns) for r, ns in medians}}
        for form, batch, boundary, medians in run["cells"]
    }
    return Side(
        name=name,
        model="one",
        environment="one",
        run=name,
        cells=cells,
        runs=(from_json(RunConditions, run["conditions"]),),
        on_cpu=frozenset(form for form, _, _ in cells),
    )


def apart(runs: Sequence[Mapping[str, Any]]) -> Apart:
    """Over every two of the runs, in both orders."""
    sides = [side_of_run(str(i), run) for i, run in enumerate(runs)]
    different = ratios = found = planted = 0
    for base, new in permutations(sides, 2):
        rows = compared(base, new, anyway=False).rows
        different += sum(row.word != "indistinguishable" for row in rows)
        ratios += len(rows)
        for slow, cell in _slowed(new):
            row = next(r for r in compared(base, slow, anyway=False).rows if (r.backend, r.batch, r.boundary) == cell)
            found += compare.slower_by(row.ratio, GATE)
            planted += 1
    return Apart(different, ratios, found, planted)


def _slowed(side: Side) -> Iterator[tuple[Side, Cell]]:
    """The side with one of its forms at a time PLANTED slower."""
    for cell in side.cells:
        longer = {r: ns * (1 + PLANTED) for r, ns in side.of(cell).items()}
        yield replace(side, cells={**side.cells, cell: {side.run: longer}}), cell
