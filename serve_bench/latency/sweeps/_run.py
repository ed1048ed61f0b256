"""Sweeps over a bundle, one after the other, and their records."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from export.bundle.store import Bundle
from export.bundle.types import from_json, to_json
from export.progress import Progress
from export.registry import entries, entry
from serve_bench.cells import Cell
from serve_bench.latency import gpu_state
from serve_bench.latency.records import Records
from serve_bench.latency.rounds import real_samples
from serve_bench.latency.sweeps._types import Asked, Sweep, SweepPoint

if TYPE_CHECKING:
    from serve_bench.worker import Workers

PACKAGE = "serve_bench.latency.sweeps"
KIND = "sweep"


def sweep_named(name: str) -> Sweep:
    """Raises UnknownName, which lists the known ones."""
    return cast(Sweep, entry(PACKAGE, "sweep", name))


def sweeps() -> dict[str, Sweep]:
    return cast("dict[str, Sweep]", entries(PACKAGE))


def sweep_bundle(
    bundle: Bundle,
    workers: Workers,
    cells: Sequence[Cell],
    names: Sequence[str],
    *,
    progress: Progress,
    **settings: Any,
) -> list[SweepPoint]:
    """Runs the sweeps `names` over `cells`; appends a record for each point once its sweep is complete.

    `settings` are those of `Asked`. A sweep that goes over its budget, as every point has its least runs, says so.
    """
    taken: list[SweepPoint] = []
    samples = real_samples(bundle)
    on_gpu = any(cell.device == "cuda" for cell in cells)
    for name in names:
        with (
            gpu_state.reader() if on_gpu else nullcontext(list) as gpus,
            progress.stage(f"sweep {name}") as bar,
            tempfile.TemporaryDirectory(prefix="pipeline-sweep-") as folder,
        ):
            asked = Asked(
                bundle=bundle,
                workers=workers,
                cells=cells,
                samples=samples,
                folder=Path(folder),
                bar=bar,
                gpus=gpus,
                **settings,
            )
            points = sweep_named(name).run(asked)
            bar.advance(1, 1, f"{len(points)} points")
        for point in points:
            bundle.append(KIND, to_json(point))
        taken += points
    return taken


def whole_sweeps(bundle: Records) -> dict[str, tuple[SweepPoint, ...]]:
    """The newest run of each sweep whose every record is there, by name, in the order of the registry."""
    runs: dict[str, list[SweepPoint]] = {}
    for value in bundle.read(KIND):
        point = from_json(SweepPoint, value)
        runs.setdefault(point.run, []).append(point)
    newest = {r[0].sweep: tuple(r) for r in runs.values() if len(r) == r[0].facts["points"]}
    return {name: newest[name] for name in sweeps() if name in newest}
