"""Scenarios over a bundle: a process made anew for each cell and scenario, a pilot, LoadGen's runs, one record."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundle.errors import BackendUnavailable, PipelineError
from export.bundle.store import Bundle
from export.bundle.types import Artifact, to_json
from export.progress import Bar, Progress
from serve_bench._child import fixed_batch
from serve_bench.backends._helpers import batch_axis, importable
from serve_bench.cells import Cell, backend_named
from serve_bench.exchange import SUFFIX, write_arrays
from serve_bench.latency.hanging import hangs_after_s
from serve_bench.latency.rounds import real_samples
from serve_bench.latency.scenarios._base import GIVEN, GROWING, SEEDS, Asked, Found, Load, Scenario, Served
from serve_bench.latency.scenarios._record import KIND, ScenarioRecord

if TYPE_CHECKING:
    from serve_bench._opened import OpenedFacts, Warm
    from serve_bench.worker import Worker, Workers

PILOT_LIMIT_S = 0.3
"""Of the warm-up whose median the expected latency or rate is set from."""
NO_LOADGEN = (
    "LoadGen is not installed: pip install mlcommons-loadgen (it has wheels for Linux only; elsewhere leave "
    "--scenario out)"
)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all records of one command share."""

    name: str
    threads: int
    isolate: bool
    asked: Asked
    inputs: Path
    """Model-ready real samples, as `exchange` writes them."""
    distinct: int
    environment: str
    forms: int
    """That are asked for in each scenario."""


def require_loadgen() -> None:
    """Raises BackendUnavailable, with the remedy, where LoadGen is not installed."""
    if not importable("mlperf_loadgen"):
        raise BackendUnavailable(NO_LOADGEN)


def measure_scenarios(
    bundle: Bundle,
    workers: Workers,
    cells: Sequence[Cell],
    scenarios: Sequence[Scenario],
    asked: Asked,
    threads: int = 1,
    isolate: bool = False,
    *,
    environment_id: str,
    progress: Progress,
) -> list[ScenarioRecord]:
    """Runs each of `scenarios` on each of `cells`, appends a record as soon as it is complete and returns them all.

    A cell that fails, or whose process dies, is a record with its `error`, and the rest stands. Raises
    BackendUnavailable where LoadGen is not installed.
    """
    require_loadgen()
    samples = real_samples(bundle)
    first = bundle.manifest.inputs[0]
    records = []
    with tempfile.TemporaryDirectory(prefix="pipeline-scenarios-") as folder:
        inputs = write_arrays(Path(folder) / f"samples{SUFFIX}", samples)
        run = _Run(
            name=uuid.uuid4().hex[:12],
            threads=threads,
            isolate=isolate,
            asked=asked,
            inputs=inputs,
            distinct=int(samples[first.name].shape[batch_axis(first) or 0]),
            environment=environment_id,
            forms=len(cells),
        )
        for scenario in scenarios:
            with progress.stage(f"LoadGen {scenario.name}") as bar:
                for number, cell in enumerate(cells):
                    bar.advance(number, len(cells), cell.label)
                    record = _one(bundle, workers, cell, scenario, run, _Sayer(bar, number, len(cells), cell.label))
                    bundle.append(KIND.name, to_json(record))
                    records.append(record)
                bar.advance(len(cells), len(cells), f"{len(cells)} forms")
    return records


@dataclass(frozen=True)
class _Sayer:
    """Says beside the bar what is under way in a cell."""

    bar: Bar
    done: int
    total: int
    label: str

    def __call__(self, text: str) -> None:
        self.bar.advance(self.done, self.total, f"{self.label}, {text}")


def _one(bundle: Bundle, workers: Workers, cell: Cell, scenario: Scenario, run: _Run, say: _Sayer) -> ScenarioRecord:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    backend = backend_named(cell.backend)
    worker: Worker | None = None
    try:
        artifact = bundle.resolve(cell.artifact)
        worker = workers.spawn(backend.family, backend.preload, fresh=run.isolate)
        opened = worker.open(cell.key, cell.backend, artifact, cell.device, run.threads)
        worker.load_inputs(run.inputs)
        batch = batch_of(artifact, scenario.batch(run.asked))
        say("pilot")
        pilot = worker.warm_up(cell.key, batch, "host", PILOT_LIMIT_S)
        found = scenario.measure(float(pilot.median_ns), batch, run.asked, _runner(worker, cell), say)
    except PipelineError as error:
        return _record(cell, scenario, run, started, error=str(error))
    finally:
        if worker is not None:
            worker.hang_up()
            worker.stop()
    return _record(cell, scenario, run, started, **_figures(found, opened, pilot, batch))


def _runner(worker: Worker, cell: Cell) -> Any:
    def run(load: Load) -> Served:
        return worker.load(cell.key, load, hangs_after_s(load.expected_s))

    return run


def batch_of(artifact: Artifact, wanted: int) -> int:
    """Samples in one run: `wanted`, or what the form takes where its batch is fixed or its profile ends below."""
    fixed = fixed_batch(artifact.inputs)
    if fixed is not None:
        return fixed
    first = artifact.inputs[0]
    profile = artifact.facts.get("profile", {}).get(first.name)
    return min(wanted, int(profile["max"][batch_axis(first) or 0])) if profile else wanted


def _figures(found: Found, opened: OpenedFacts, pilot: Warm, batch: int) -> dict[str, Any]:
    served, load = found.served, found.load
    held = any(trial.held for trial in found.trials) if found.trials else served.valid
    return {
        "precision": opened.precision,
        "settings": opened.settings,
        "loadgen": served.loadgen,
        "valid": held,
        "reasons": served.reasons if served.kept_up else (*served.reasons, GROWING),
        "min_queries": load.min_queries,
        "samples_per_query": served.samples // max(served.queries, 1),
        "batch": load.batch,
        "queries": served.queries,
        "samples": served.samples,
        "latencies_ns": served.latencies_ns,
        "taken": served.taken,
        "duration_ns": served.duration_ns,
        "latency_bound_ns": found.latency_bound_ns,
        "bound_from": found.bound_from,
        "trials": found.trials,
        "pilot": {"median_ns": pilot.median_ns, "runs": pilot.runs, "settled": pilot.settled, "batch": batch},
        "overhead_ns": served.overhead_ns,
        "reported": served.reported,
    }


NOTHING: dict[str, Any] = {
    "loadgen": "",
    "valid": False,
    "reasons": (),
    "min_queries": 0,
    "samples_per_query": 0,
    "batch": 0,
    "queries": 0,
    "samples": 0,
    "latencies_ns": (),
    "taken": 0,
    "duration_ns": 0,
}
"""Of a scenario that has no figure."""


def _as_asked(scenario: Scenario, asked: Asked) -> dict[str, Any]:
    """What the record of a scenario without a figure says of its settings."""
    if scenario.name == "Server" and asked.latency_bound_ns is not None:
        return {"latency_bound_ns": asked.latency_bound_ns, "bound_from": GIVEN}
    return {"samples_per_query": asked.samples_per_query} if scenario.name == "MultiStream" else {}


def _record(cell: Cell, scenario: Scenario, run: _Run, started: str, **figures: Any) -> ScenarioRecord:
    return ScenarioRecord(
        artifact=cell.artifact.name,
        artifact_sha256=cell.artifact.sha256,
        backend=cell.backend,
        device=cell.device,
        scenario=scenario.name,
        threads=run.threads,
        seeds=dict(SEEDS),
        min_duration_s=run.asked.min_duration_s,
        distinct_samples=run.distinct,
        environment=run.environment,
        run=run.name,
        started=started,
        forms=run.forms,
        **({"precision": cell.artifact.precision} | NOTHING | _as_asked(scenario, run.asked) | figures),
    )
