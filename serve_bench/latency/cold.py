"""Cold start: from the start of a process to its first answer, for each backend in fresh processes, several times.

Each start executes a new interpreter, imports what the backend needs, opens the form and answers one real sample; no
other start runs beside it. Files are in the page cache (the form's digest was just read), which the record's reader is
told: a first start after boot is slower by what the disk takes.
"""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundle.errors import PipelineError, UsageError
from export.bundle.kinds import Kind, need
from export.bundle.store import Bundle
from export.bundle.types import to_json
from export.progress import Progress
from serve_bench.cells import Cell, backend_named
from serve_bench.exchange import SUFFIX, write_arrays
from serve_bench.latency import gpu_state
from serve_bench.latency.rounds import real_samples
from serve_bench.latency.run_facts import check_columns

if TYPE_CHECKING:
    from serve_bench.worker import Workers


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Fresh processes of one form on one backend: one value a start, in the order in which they were made."""

    artifact: str
    """Its name in the bundle."""
    artifact_sha256: str
    """Of its file."""
    backend: str
    """Name of the backend, without precision and device."""
    device: str
    """ "cpu" or "cuda"."""
    threads: int
    """Of the session."""
    environment: str
    """Environment.id."""
    run: str
    """Names the run: its cells took turns."""
    started: str
    """UTC, ISO 8601."""
    artifact_bytes: int
    """Size of its file."""
    seed: int = 0
    """Of the random order."""
    total_ns: tuple[int, ...] = ()
    """From before the interpreter is executed until the first answer is back."""
    open_ns: tuple[int, ...] = ()
    """Of it, opening the form: the libraries' imports included."""
    first_run_ns: tuple[int, ...] = ()
    """Of it, the first run: compiling included."""
    peak_bytes: tuple[int, ...] = ()
    """Largest resident memory up to then; empty where the system does not tell."""
    gpu_bytes: tuple[int, ...] = ()
    """GPU memory held then; empty on the CPU, and where NVML does not tell."""
    error: str = ""
    """Why it could not be started; empty where it could."""


def _check(record: ColdStart) -> None:
    """Raises ValueError where there is neither an error nor a whole start."""
    need(record.threads >= 1, "a thread")
    need(record.error or record.total_ns, "a start or an error")
    check_columns(record.total_ns, record.open_ns, record.first_run_ns)


KIND = Kind("cold", ColdStart, _check)


def cold_starts(
    bundle: Bundle,
    workers: Workers,
    cells: Sequence[Cell],
    starts: int = 3,
    threads: int = 1,
    *,
    environment_id: str,
    seed: int,
    progress: Progress,
) -> list[ColdStart]:
    """Starts every cell `starts` times, all cells in a random order of their own each time; appends the records.

    A cell that fails is a record with its error and is not started again. Raises UsageError below one start.
    """
    if starts < 1:
        raise UsageError(f"{starts} cold starts measure nothing: ask for --cold-start 3")
    rng, run, begun = random.Random(seed), uuid.uuid4().hex[:12], datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"threads": threads, "environment": environment_id, "run": run, "started": begun, "seed": seed}
    prepared = [_prepared(bundle, cell) for cell in cells]
    found = [_record(cell, error, facts) for cell, error in prepared]
    with tempfile.TemporaryDirectory(prefix="pipeline-cold-") as folder, progress.stage("cold start") as bar:
        inputs = write_arrays(Path(folder) / f"samples{SUFFIX}", real_samples(bundle, 1))
        _make_ready(workers)
        done = 0
        for _ in range(starts):
            for i in rng.sample(range(len(cells)), len(cells)):
                bar.advance(done, starts * len(cells), cells[i].label)
                if not found[i].error:
                    found[i] = _started(workers, prepared[i][0], found[i], inputs)
                done += 1
        bar.advance(done, starts * len(cells))
    for record in found:
        bundle.append(KIND.name, to_json(record))
    return found


def _make_ready(workers: Workers) -> None:
    """Lets what starts interpreters start itself: else the first cold start would hold that."""
    with suppress(PipelineError):
        workers.spawn("", ()).stop()


def _prepared(bundle: Bundle, cell: Cell) -> tuple[Cell, str]:
    """The cell with its artifact's path absolute, or why that cannot be had."""
    try:
        return replace(cell, artifact=bundle.resolve(cell.artifact)), ""
    except PipelineError as problem:
        return cell, str(problem)


def _record(cell: Cell, error: str, facts: Mapping[str, Any]) -> ColdStart:
    return ColdStart(
        artifact=cell.artifact.name,
        artifact_sha256=cell.artifact.sha256,
        backend=cell.backend,
        device=cell.device,
        artifact_bytes=cell.artifact.bytes,
        error=error,
        **facts,
    )


def _started(workers: Workers, cell: Cell, record: ColdStart, inputs: Path) -> ColdStart:
    """One more start; an error in it is the record's."""
    backend = backend_named(cell.backend)
    worker = None
    try:
        begin = time.perf_counter_ns()
        worker = workers.spawn(backend.family, backend.preload, fresh=True)
        opened = worker.start(cell.key, cell.backend, cell.artifact, cell.device, record.threads)
        _, run_ns = worker.timed_answer(cell.key, inputs, 1)
        end = time.perf_counter_ns()
        peak = worker.peak_memory().get("peak_resident")
        gpu = gpu_state.memory_of(worker.pid) if cell.device == "cuda" else None
        return replace(
            record,
            total_ns=(*record.total_ns, end - begin),
            open_ns=(*record.open_ns, opened.open_ns),
            first_run_ns=(*record.first_run_ns, run_ns),
            peak_bytes=(*record.peak_bytes, *([peak] if peak else [])),
            gpu_bytes=(*record.gpu_bytes, *([gpu] if gpu else [])),
        )
    except PipelineError as error:
        return replace(record, error=str(error))
    finally:
        if worker is not None:
            with suppress(PipelineError):
                worker.stop()


def latest(bundle: Bundle) -> list[ColdStart]:
    """The records of the last run, in their order; empty without one."""
    records = KIND.read(bundle)
    return [r for r in records if r.run == records[-1].run]
