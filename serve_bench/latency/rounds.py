"""One interleaved run over a bundle: replicates of sessions made anew, rounds inside them, raw latencies out.

Nothing is written before every replicate is complete: an interrupted run leaves no record. Each record then names the
run and how many records it has, so that readers pass over a run whose writing was cut short (`cells` in `facts`).
The clock itself is in `clock.py`.
"""

from __future__ import annotations

import random
import tempfile
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import PipelineError, UsageError
from export.bundle.store import Bundle
from export.bundle.types import Boundary, Measurement, to_json
from export.progress import Bar, Progress
from serve_bench.backends._helpers import batch_axis
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence.records import latest
from serve_bench.exchange import SUFFIX, write_arrays
from serve_bench.latency import gpu_state
from serve_bench.latency.clock import Settled, settle, timed_runs
from serve_bench.latency.conditions import Conditions, Seconds, lanes_of
from serve_bench.latency.cores import topology
from serve_bench.latency.enough import Width, comparable, ended, fits, pace, share_s, spent_s, width
from serve_bench.latency.peak import with_peaks
from serve_bench.latency.replicate import Lost, Replicate, median
from serve_bench.latency.run_facts import MEASUREMENTS
from serve_bench.latency.run_record import Run, record_of
from serve_bench.latency.schedule import BUDGET_S, ROUNDS, cost_ns, least_runs, most_runs
from serve_bench.latency.subject import Subject, Taken
from serve_bench.latency.twin import twin_of, twins_of

if TYPE_CHECKING:
    from serve_bench.worker import Workers

__all__ = ["ROUNDS", "Settled", "measure_bundle", "settle", "timed_runs"]

SAMPLES = 1024
"""Most real samples that the batches are taken from."""
BATCHES = (1, 8, 64, 512)


def measure_bundle(
    bundle: Bundle,
    workers: Workers,
    cells: Sequence[Cell],
    batches: Sequence[int] = BATCHES,
    budget_s: float = BUDGET_S,
    replicates: int = 10,
    threads: int = 1,
    isolate: bool = False,
    precision_of_ratio: float = 0.02,
    peak: bool = True,
    twin: bool = False,
    *,
    environment_id: str,
    seed: int,
    progress: Progress,
) -> list[Measurement]:
    """Measures `cells` at each of `batches` in one interleaved run, appends the records and returns them.

    `budget_s` is the wall time of all timed and re-warming runs together; set-up and warm-up of the `replicates` come
    on top, but for what they take beyond a third of it. Where two timed runs a replicate do not fit it, it is exceeded
    and that is said. `replicates` share three fifths of it; more follow until the interval of every ratio to eager is
    within ± `precision_of_ratio` (a fraction; with 0 there are exactly `replicates`, which share all of it) or the
    budget ends: the records say which. Batches whose ratios are all narrow enough take no part in the further ones.
    With `peak`, what the CPU can do at most is measured before and after. With `twin`, eager (without it the first
    form) is timed a second time as a session of its own, and the records say what it was found to be. On the CPU
    boundary `host` is timed, on CUDA every boundary that the backend has. A subject that fails is a record with its
    `error`, the rest stands; where a process died, the replicate it died in is taken again without the culprit. Raises
    UsageError for settings that cannot be measured; a cell whose verification failed is not measured and its record
    says so.
    """
    _check(batches, budget_s, replicates, threads)
    if precision_of_ratio < 0:
        raise UsageError("a ratio's interval has no negative width: ask for --precision-of-ratio 2%")
    run = Run(
        name=uuid.uuid4().hex[:12],
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        budget_s=budget_s,
        replicates=replicates,
        threads=threads,
        isolate=isolate,
        seed=seed,
        batches=tuple(batches),
        environment=environment_id,
        precision_of_ratio=precision_of_ratio,
    )
    samples = real_samples(bundle)
    subjects, taken = _subjects(bundle, cells, batches, environment_id, threads)
    forms = len(subjects)
    if twin:
        subjects += twins_of([s for s, t in zip(subjects, taken, strict=True) if not t.error])
        taken += [Taken() for _ in subjects[forms:]]
    states = gpu_state.reader() if any(cell.device == "cuda" for cell in cells) else nullcontext(list)
    with tempfile.TemporaryDirectory(prefix="pipeline-measure-") as folder, states as gpus:
        where = topology()
        conditions = Conditions(
            inputs=_written(samples, Path(folder)),
            threads=threads,
            isolate=isolate,
            lanes=lanes_of(subjects, threads, where),
            least=least_runs(replicates),
            most=most_runs(replicates),
            where=where,
            gpus=gpus,
        )
        with progress.stage("measure latency") as bar:
            devices = {s.cell.device for s, t in zip(subjects, taken, strict=True) if peak and not t.error}
            facts = with_peaks(devices, threads, lambda: _replicates(workers, run, subjects, taken, conditions, bar))
    if facts["over_budget_s"] > 0:
        least = f"the least of runs ({conditions.least} a replicate) do not fit {budget_s:g} s"
        progress.note(f"measuring took {facts['over_budget_s']:.1f} s more than its budget: {least}")
    first = bundle.manifest.inputs[0]
    count = samples[first.name].shape[batch_axis(first) or 0]
    if twin:
        facts["twins"] = [to_json(twin_of(s, t)) for s, t in zip(subjects[forms:], taken[forms:], strict=True)]
    records = [record_of(run, s, taken[i], facts, count, forms) for i, s in enumerate(subjects[:forms])]
    for record in records:
        bundle.append(MEASUREMENTS.name, to_json(record))
    return records


def _check(batches: Sequence[int], budget_s: float, replicates: int, threads: int) -> None:
    if not batches or min(batches) < 1:
        raise UsageError("batch sizes must be whole numbers of at least 1: ask for --batch 1,8,64")
    if budget_s <= 0:
        raise UsageError(f"a measuring budget of {budget_s:g} s measures nothing: ask for --budget {BUDGET_S:g}")
    if replicates < 2:
        raise UsageError("an interval needs at least 2 replicates: ask for --replicates 10")
    if threads < 1:
        raise UsageError("at least one thread is needed: ask for --threads 1")


def real_samples(bundle: Bundle, limit: int = SAMPLES) -> dict[str, npt.NDArray[np.generic]]:
    """The first `limit` samples of the stored test inputs, as the model takes them, by name."""
    from serve_bench.equivalence.truth import Truth

    inputs = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess).inputs("test")
    found = {}
    for spec in bundle.manifest.inputs:
        array, axis = inputs[spec.name], batch_axis(spec) or 0
        found[spec.name] = np.ascontiguousarray(np.take(array, range(min(limit, array.shape[axis])), axis=axis))
    return found


def _written(samples: Mapping[str, npt.NDArray[np.generic]], folder: Path) -> Path:
    return write_arrays(folder / f"samples{SUFFIX}", samples)


def _subjects(
    bundle: Bundle, cells: Sequence[Cell], batches: Sequence[int], environment_id: str, threads: int
) -> tuple[list[Subject], list[Taken]]:
    """What is to be timed, and an empty result for each: with its error where it cannot even begin."""
    verdicts = latest(bundle, cells, environment_id, threads)
    failed = {(v.artifact_sha256, v.backend, v.device) for v in verdicts if not v.passed}
    subjects, taken = [], []
    for cell in cells:
        backend = backend_named(cell.backend)
        artifact, error = cell.artifact, ""
        if (artifact.sha256, cell.backend, cell.device) in failed:
            error = "not measured: its verification failed"
        else:
            try:
                artifact = bundle.resolve(artifact)
            except PipelineError as problem:
                error = str(problem)
        boundaries: tuple[Boundary, ...] = backend.boundaries(cell.device) if cell.device != "cpu" else ("host",)
        for batch in batches:
            for boundary in boundaries:
                subjects.append(Subject.of(cell, artifact, backend, batch, boundary))
                taken.append(Taken(error=error))
    return subjects, taken


def _replicates(
    workers: Workers, run: Run, subjects: Sequence[Subject], taken: Sequence[Taken], conditions: Conditions, bar: Bar
) -> dict[str, Any]:
    """All replicates; fills `taken` and returns the facts of the run."""
    rng, seconds, number, over_ns, void = random.Random(run.seed), Seconds(), 0, 0.0, 0
    found, first_set_up, meant_s = None, 0.0, 0.0
    kept: dict[int, int] = {}
    adaptive = run.precision_of_ratio > 0 and comparable(s for s, t in zip(subjects, taken, strict=True) if not t.error)
    gpu_rounds: list[dict[str, Any]] = []
    calibration: list[list[int]] = []
    drawn: list[list[int]] = []
    while True:
        alive = {i: s for i, s in enumerate(subjects) if not taken[i].error}
        running = alive
        set_up = seconds.get("set-up", 0.0) + seconds.get("ending", 0.0)
        first_set_up = set_up if number <= run.replicates else first_set_up
        further = number >= run.replicates
        spent = spent_s(seconds.get("measuring", 0.0), set_up, first_set_up, run.budget_s, further=further)
        each = set_up / max(number, 1)
        if further:
            found = width(subjects, taken, run.precision_of_ratio) if adaptive else None
            if found is None or not found.wider:
                break
            running = {i: subjects[i] for i in found.unfinished if i in alive}
        if not running:
            break
        took_ns = _cost_ns(taken, running)
        part = took_ns / _cost_ns(taken, alive)
        share = share_s(run.budget_s, spent, number, run.replicates, each, part, took_ns / 1e9, adaptive=adaptive)
        if not share and further:
            break
        bar.advance(min(number, run.replicates), run.replicates, _said(number, run.replicates, found))
        slower = pace(seconds.get("measuring", 0.0), meant_s)
        kept_s = slower * sum(cost_ns(median(taken[i].latencies_ns), kept.get(i, 0)) for i in running) / 1e9
        replicate = Replicate(
            number=number,
            subjects=running,
            conditions=conditions,
            rng=rng,
            seconds=seconds,
            before={i: taken[i] for i in running},
            runs=kept if fits(kept_s, run.budget_s, spent, number, run.replicates) else {},
        )
        try:
            replicate.run(workers, share / slower * 1e9)
        except Lost as lost:
            void += 1
            for i in lost.culprits:
                taken[i].error = lost.reason
            continue
        for i, new in replicate.taken.items():
            taken[i].error = new.error
            taken[i].add(new)
        meant_s += replicate.planned_ns / 1e9
        kept = kept or (replicate.planned if number else {})
        over_ns += replicate.over_ns if number < run.replicates else 0.0
        gpu_rounds += replicate.gpu_rounds
        calibration += replicate.calibration
        drawn.append(list(replicate.cores))
        number += 1
    bar.advance(run.replicates, run.replicates, _closing(number, run.precision_of_ratio, found))
    timed = seconds.get("measuring", 0.0)
    over_s = max(0.0, timed - run.budget_s) if over_ns > 0 else 0.0
    return {
        **ended(found, run.precision_of_ratio, _where(subjects[found.of]) if found else "", number, run.replicates),
        "replicates_taken": number,
        "spent_s": round(timed, 3),
        "over_budget_s": round(over_s, 3),
        "set_up_counted_s": round(spent - timed, 3) if adaptive else 0.0,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "void_replicates": void,
        "set_up_at_a_time": conditions.lanes,
        "calibration": calibration,
        "cores": drawn,
        **({"gpu_rounds": gpu_rounds} if gpu_rounds else {}),
    }


def _cost_ns(taken: Sequence[Taken], which: Collection[int]) -> float:
    """What a replicate of these subjects takes, by what was taken of them so far."""
    found = [taken[i] for i in which if taken[i].latencies_ns]
    runs = (round(len(t.latencies_ns) / len(set(t.replicates))) for t in found)
    return sum(cost_ns(median(t.latencies_ns), n) for t, n in zip(found, runs, strict=True)) or 1.0


def _said(number: int, asked: int, found: Width | None) -> str:
    if found is None:
        return f"replicate {number + 1} of {asked}"
    return f"replicate {number + 1}: {found.wider} of {found.ratios} ratios are wider than asked"


def _closing(number: int, wanted: float, found: Width | None) -> str:
    """What stands beside the stage when it is over."""
    said = f"{number} replicates"
    if found is None:
        return said
    if not found.wider:
        return f"{said}, every ratio within ±{100 * wanted:g} %"
    return f"{said}; no further one fits: {found.wider} of {found.ratios} ratios are wider than ±{100 * wanted:g} %"


def _where(subject: Subject) -> str:
    return f"{subject.cell.label} at batch {subject.batch}"
