"""LoadGen's scenarios over a bundle, as the command line asks for them."""

from __future__ import annotations

from export.bundle.environment import environment
from export.bundle.store import Bundle
from export.progress import Progress
from pipeline.judge import Judged, passed_cells
from pipeline.options import Options
from serve_bench.latency.scenarios._base import named
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.latency.scenarios._run import measure_scenarios, require_loadgen
from serve_bench.worker import Workers

__all__ = ["require_loadgen", "run_scenarios"]


def run_scenarios(
    bundle: Bundle, judged: Judged, options: Options, workers: Workers, progress: Progress
) -> list[ScenarioRecord]:
    """Every scenario that was asked for, on every form that passed its verification."""
    chosen = passed_cells(bundle, judged, options)
    if not chosen:
        progress.done("scenarios", "nothing passed its verification")
        return []
    wanted = {scenario.name: scenario for scenario in map(named, options.scenarios)}
    return measure_scenarios(
        bundle,
        workers,
        chosen,
        list(wanted.values()),
        options.asked,
        threads=options.threads,
        isolate=options.isolate,
        environment_id=environment().id,
        progress=progress,
    )
