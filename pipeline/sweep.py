"""`bench --sweep`: verify, sweep, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.bundle.environment import environment
from export.bundle.errors import PipelineError
from export.bundle.store import Bundle
from export.bundle.workspace import workspace
from export.progress import Progress
from pipeline.judge import Judged, passed_cells, record_absent, start_cold, verify, write_reports, write_verdicts
from pipeline.options import Options
from serve_bench.latency.sweeps._run import sweep_bundle, sweep_named
from serve_bench.latency.sweeps._types import LIMIT, REPLICATES, SweepPoint
from serve_bench.worker import Workers

if TYPE_CHECKING:
    from pipeline.run import Outcome


def sweep(bundle: Bundle, names: tuple[str, ...], options: Options, progress: Progress) -> Outcome:
    """The sweeps `names` over a bundle, instead of an interleaved run."""
    from pipeline.run import Outcome, cold_sections

    with workspace(bundle.root), Workers() as workers:
        judged = verify(bundle, options, workers, progress)
        record_absent(bundle, judged, None)
        write_verdicts(bundle, judged, options.threads)
        _sweep(bundle, judged, names, options, workers, progress)
        start_cold(bundle, judged, options, workers, progress)
        with progress.stage("report") as bar:
            reports = write_reports(bundle)
            bar.advance(1, 1, str(reports["html"]))
    cold = cold_sections(options)
    return Outcome(bundle=bundle, built=None, judged=judged, reports=reports, swept=names, sections=cold)


def possible(bundle: Bundle, options: Options, progress: Progress) -> tuple[str, ...]:
    """Those of the sweeps asked for that this model has an axis for; raises PipelineError where there are none."""
    names, refused = [], []
    for name in dict.fromkeys(options.sweeps):
        reason = sweep_named(name).refuses(bundle.manifest.inputs)
        if reason is None:
            names.append(name)
        else:
            refused.append(f"{bundle.root}: --sweep {name}: {reason}")
    if not names:
        raise PipelineError("; ".join(refused))
    for line in refused:
        progress.note(line)
    return tuple(names)


def _sweep(
    bundle: Bundle, judged: Judged, names: tuple[str, ...], options: Options, workers: Workers, progress: Progress
) -> list[SweepPoint]:
    chosen = passed_cells(bundle, judged, options)
    if not chosen:
        progress.done("sweep", "nothing passed its verification")
        return []
    points = sweep_bundle(
        bundle,
        workers,
        chosen,
        names,
        progress=progress,
        environment_id=environment().id,
        batches=options.batches if "batches" in options.given else (),
        budget_s=options.budget_s,
        replicates=options.replicates if "replicates" in options.given else REPLICATES,
        threads=options.threads,
        isolate=options.isolate,
        limit=options.sweep_limit or LIMIT,
        processes=options.processes,
        seed=options.drawn_seed,
    )
    for name in names:
        over = next((p.facts["over_budget_s"] for p in points if p.sweep == name), 0)
        if over >= 0.05:
            progress.note(
                f"sweep {name} took {over:.1f} s more than its budget, for the least of runs that a point has"
            )
    return points
