"""Proof that the verdict can fail: deliberate faults in copies of every exported form, and what catches them.

Each copy is judged as an export is: by numbers (a few of the stored samples, the bands of their whole classes), by its
constants, by its structure. What other tools would have said of the same answers stands beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import PipelineError
from export.bundle.files import digest_of
from export.bundle.store import Bundle
from export.bundle.types import LENGTHS, Artifact, from_json, to_json
from export.progress import Progress
from export.registry import entries
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence import cell_verdict, constants, judge, structure
from serve_bench.equivalence.comparators import COMPARATORS
from serve_bench.equivalence.faults._base import Fault, Source, Subject
from serve_bench.equivalence.truth import Truth, chosen_from, few_rows
from serve_bench.worker import Worker, Workers

Array = npt.NDArray[np.generic]
RULES = 6
"""Raised when the faults or the verdict change: trials of older rules are made again."""
SHARES = {"test": 96, "gaussian": 64, "uniform": 32, "constant": 4, LENGTHS: 60}
"""Samples of each probe, 256 in all."""
LIMIT = 4
"""Faults of one kind in one file."""
UNTRIED = ("int8", "bfloat16")
SOUND = "nothing changed"
"""The kind of the trial of each file as it is: what rejects it says nothing by rejecting its copies."""
RUNS_ON = {"exported_program": "eager", "torchscript": "torchscript", "onnx": "onnxruntime-cpu"}


def _key(sha256: str, kind: str, fault: str) -> str:
    return digest_of([sha256, kind, fault, RULES])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fault and what caught it."""

    artifact: str
    """Artifact.name."""
    artifact_sha256: str
    kind: str
    fault: str
    tensor: str
    caught: Mapping[str, bool]
    """By "numbers", "constants", "structure"."""
    reason: str
    """The first sentence against it; empty where it was missed."""
    others: Mapping[str, bool]
    """Which comparator of other tools catches it; empty where the copy gives no answer at all."""
    seconds: float
    rules: int = RULES

    @property
    def key(self) -> str:
        return _key(self.artifact_sha256, self.kind, self.fault)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Every trial of a bundle so far, and how many are left."""

    trials: tuple[Trial, ...]
    left: int
    absent: Mapping[str, str] = field(default_factory=dict)
    """Artifact → why it has no trials."""

    @property
    def missed(self) -> tuple[Trial, ...]:
        return tuple(t for t in self.trials if t.kind != SOUND and not any(t.caught.values()))

    @property
    def false_alarms(self) -> tuple[Trial, ...]:
        return tuple(t for t in self.trials if t.kind == SOUND and any(t.caught.values()))


def run(bundle: Bundle, workers: Workers, seconds: float | None, progress: Progress, seed: int = 0) -> Result:
    """Makes every trial that the bundle's records lack, at most for `seconds`; appends each as it is made."""
    known = {t.key: t for t in kept(bundle)}
    jobs, absent = [], {}
    for artifact in bundle.artifacts:
        if artifact.precision in UNTRIED:
            absent[artifact.name] = f"faults of {artifact.precision} forms are not among the trials"
        elif artifact.format in RUNS_ON:
            jobs += list(_jobs(bundle, artifact, seed))
        elif artifact.format != "weights":
            absent[artifact.name] = (
                "its constants cannot be read, and only a GPU runs it"
                if artifact.format == "tensorrt"
                else "no backend runs it by itself"
            )
    todo = [job for job in jobs if job.key not in known]
    end = None if seconds is None else time.monotonic() + seconds
    bench = _Bench(bundle, workers)
    made = 0
    with tempfile.TemporaryDirectory(prefix="pipeline-faults-") as folder, progress.stage("self-test") as bar:
        try:
            for made, job in enumerate(todo):
                if end is not None and time.monotonic() > end:
                    break
                trial = bench.trial(job, Path(folder))
                bundle.append("selftest", to_json(trial))
                known[trial.key] = trial
                bar.advance(made + 1, len(todo), f"{sum(any(t.caught.values()) for t in known.values())} caught")
            else:
                made = len(todo)
        finally:
            bench.stop()
    return Result(
        trials=tuple(known[job.key] for job in jobs if job.key in known), left=len(todo) - made, absent=absent
    )


def kept(bundle: Bundle) -> Iterator[Trial]:
    """The trials of these rules that the bundle's records hold."""
    for value in bundle.read("selftest"):
        try:
            trial = from_json(Trial, value)
        except ValueError:
            continue
        if trial.rules == RULES:
            yield trial


@dataclass(frozen=True)
class _Job:
    artifact: Artifact
    path: Path
    fault: Fault

    @property
    def key(self) -> str:
        return _key(self.artifact.sha256, self.fault.kind, self.fault.name)


def _jobs(bundle: Bundle, artifact: Artifact, seed: int) -> Iterator[_Job]:
    path = Path(bundle.resolve(artifact).path)
    yield _Job(artifact, path, Fault(kind=SOUND, name=SOUND, write=partial(_copied, path)))
    seen = set()
    for fault in faults_of(bundle, artifact, seed):
        job = _Job(artifact, path, fault)
        if job.key not in seen:
            seen.add(job.key)
            yield job


def faults_of(bundle: Bundle, artifact: Artifact, seed: int = 0) -> Iterator[Fault]:
    """Every fault that a form of the bundle is tried with, the same for the same seed."""
    path = Path(bundle.resolve(artifact).path)
    sources: Mapping[str, Source] = entries("serve_bench.equivalence.faults")
    for source in sources.values():
        rng = np.random.default_rng(seed)
        yield from source.faults(Subject(path=path, artifact=artifact, limit=LIMIT, rng=rng))


def _copied(path: Path, destination: Path) -> None:
    destination.write_bytes(path.read_bytes())


class _Bench:
    """What every trial of one bundle shares: the few samples, the checkpoint, a process for each backend."""

    def __init__(self, bundle: Bundle, workers: Workers) -> None:
        self.bundle, self.workers = bundle, workers
        whole = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
        self.truth = few(whole)
        self.task = bundle.manifest.task
        self.weights = next(bundle.file(a.path) for a in bundle.artifacts if a.format == "weights")
        self.program = bundle.file(bundle.program.path) if bundle.program else None
        self.told = structure.told_of(bundle.manifest)
        self.running: dict[str, Worker] = {}

    def stop(self) -> None:
        for worker in self.running.values():
            worker.stop()

    def trial(self, job: _Job, folder: Path) -> Trial:
        started = time.perf_counter()
        copy = folder / f"copy{job.path.suffix}"
        job.fault.write(copy)
        artifact = replace(job.artifact, path=str(copy))
        reasons = {"constants": self._constants(artifact, copy), "structure": self._structure(artifact, copy)}
        reasons["numbers"], others = self._numbers(artifact, folder)
        copy.unlink()
        return Trial(
            artifact=artifact.name,
            artifact_sha256=artifact.sha256,
            kind=job.fault.kind,
            fault=job.fault.name,
            tensor=job.fault.tensor,
            caught={name: bool(said) for name, said in reasons.items()},
            reason=next((said for said in reasons.values() if said), ""),
            others=others,
            seconds=time.perf_counter() - started,
        )

    def _constants(self, artifact: Artifact, copy: Path) -> str:
        try:
            found = constants.compare(self.weights, copy, artifact.format, artifact.precision, self.program)
        except PipelineError as error:
            return str(error)
        return constants.why(found)

    def _structure(self, artifact: Artifact, copy: Path) -> str:
        try:
            return structure.why(structure.check(copy, artifact, self.told))
        except PipelineError as error:
            return str(error)

    def _numbers(self, artifact: Artifact, folder: Path) -> tuple[str, dict[str, bool]]:
        """Why the numbers speak against it, and which comparators do; a copy that cannot run is caught."""
        name = RUNS_ON[artifact.format]
        backend = backend_named(name)
        cell = Cell(artifact, name, "cpu")
        try:
            if name not in self.running:
                self.running[name] = self.workers.spawn(backend.family, backend.preload)
            worker = self.running[name]
            opened = worker.open(cell.key, name, artifact, "cpu", 1)
            try:
                return self._judged(worker, cell, opened, folder)
            finally:
                worker.close(cell.key)
        except PipelineError as error:
            dead = self.running.pop(name, None)
            if dead is not None:
                dead.stop()
            return f"it does not run: {error}", {}

    def _judged(self, worker: Worker, cell: Cell, opened: Any, folder: Path) -> tuple[str, dict[str, bool]]:
        precision = cell_verdict.judged_in(cell_verdict.asked_of(cell.artifact, opened.settings), opened.precision)
        answered, others = {}, dict.fromkeys(COMPARATORS, False)
        for probe in self.truth.probes:
            path = folder / f"{probe}.npz"
            if not path.exists():
                np.savez(path, **self.truth.inputs(probe))  # type: ignore[arg-type]
            answered[probe] = worker.answer(cell.key, path, max(self.truth.samples(probe) - 1, 1))
        said = judge.why_numbers(self.truth, self.task, precision, answered)
        for probe, answers in answered.items():
            reference = {n: y.astype(np.float32) for n, y in self.truth.outputs(probe).items()}
            for name, passes in COMPARATORS.items():
                others[name] = others[name] or not passes(answers, reference)
        return said, others


def few(whole: Truth) -> Truth:
    """At most 256 samples: of the test set half with the smallest margins, of each other probe the first."""
    rows: dict[str, Sequence[int]] = {}
    for probe in whole.probes:
        total, share = whole.samples(probe), SHARES.get(probe, 16)
        rows[probe] = range(min(total, share))
    rows["test"] = few_rows(whole, SHARES["test"])
    return chosen_from(whole, rows)
