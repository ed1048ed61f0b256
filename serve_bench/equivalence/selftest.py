"""Proof that the verdict can fail: deliberate faults in copies of every exported form, and what catches them.

Each copy is judged as an export is: by numbers (a few of the stored samples, the bands of their whole classes), by its
constants, by its structure. What other tools would have said of the same answers stands beside it. The truth of a copy
of an int8 form is the graph of the form it was copied from, in float64. An engine cannot be edited or read: it is built
anew from a faulty copy of its ONNX file, where a GPU can run it, and only the numbers speak.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.files import digest_of
from export.bundle.kinds import Kind
from export.bundle.store import Bundle
from export.bundle.types import Artifact, to_json
from export.progress import Progress
from export.registry import entries
from serve_bench.cells import backend_named
from serve_bench.equivalence.faults._base import Fault, Source, Subject
from serve_bench.equivalence.selftest_judge import RUNS_ON, Bench, runs_on
from serve_bench.worker import Workers

Array = npt.NDArray[np.generic]
RULES = 8
"""Raised when the faults or the verdict change: trials of older rules are made again."""
RULES_OF = {"int8": 9}
"""Of one precision, where only its verdict has changed."""
LIMIT = 4
"""Faults of one kind in one file."""
SOUND = "nothing changed"
"""The kind of the trial of each file as it is: what rejects it says nothing by rejecting its copies."""
UNSEEN_BY_ENGINES = ("metadata",)
"""Faults of what an ONNX file says beside its graph: no engine is built from that."""


def _key(sha256: str, kind: str, fault: str, rules: int) -> str:
    return digest_of([sha256, kind, fault, rules])


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
        return _key(self.artifact_sha256, self.kind, self.fault, self.rules)

    @property
    def was_read(self) -> bool:
        """Whether constants and structure had their say: False of an engine."""
        return "constants" in self.caught


TRIALS = Kind("selftest", Trial)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Every trial of a bundle so far, and how many are left."""

    trials: tuple[Trial, ...]
    left: int
    absent: Mapping[str, str] = field(default_factory=dict)
    """Artifact → why it has no trials."""

    @property
    def missed(self) -> tuple[Trial, ...]:
        """Of the forms that can be read: an engine's misses are counted, not listed."""
        return tuple(t for t in self.trials if t.kind != SOUND and t.was_read and not any(t.caught.values()))

    @property
    def false_alarms(self) -> tuple[Trial, ...]:
        return tuple(t for t in self.trials if t.kind == SOUND and any(t.caught.values()))


def run(bundle: Bundle, workers: Workers, seconds: float | None, progress: Progress, seed: int = 0) -> Result:
    """Makes every trial that the bundle's records lack, at most for `seconds`; appends each as it is made."""
    known = {t.key: t for t in kept(bundle)}
    jobs, absent = [], {}
    for artifact in bundle.artifacts:
        reason = _why_untried(bundle, artifact)
        if reason is None:
            jobs += list(_jobs(bundle, artifact, seed))
        elif artifact.format != "weights":
            absent[artifact.name] = reason
    todo = [job for job in jobs if job.key not in known]
    end = None if seconds is None else time.monotonic() + seconds
    bench = Bench(bundle, workers)
    made = 0
    with tempfile.TemporaryDirectory(prefix="pipeline-faults-") as folder, progress.stage("self-test") as bar:
        try:
            for made, job in enumerate(todo):
                if end is not None and time.monotonic() > end:
                    break
                trial = _tried(bench, job, Path(folder))
                bundle.append(TRIALS.name, to_json(trial))
                known[trial.key] = trial
                bar.advance(made + 1, len(todo), f"{sum(any(t.caught.values()) for t in known.values())} caught")
            else:
                made = len(todo)
        finally:
            bench.stop()
    return Result(
        trials=tuple(known[job.key] for job in jobs if job.key in known), left=len(todo) - made, absent=absent
    )


def _why_untried(bundle: Bundle, artifact: Artifact) -> str | None:
    if artifact.format in RUNS_ON:
        return None
    if artifact.format == "aotinductor":
        return "it is machine code, in which no single weight or node can be found"
    if artifact.format != "tensorrt":
        return "no backend runs it by itself"
    if _source_of(bundle, artifact) is None:
        return "the ONNX file it was built from is not in the bundle"
    reason = backend_named(runs_on(artifact)).missing("cuda")
    return reason and f"only its numbers could speak: {reason}"


def _source_of(bundle: Bundle, artifact: Artifact) -> Artifact | None:
    """What faults are made in: the form itself; of an engine, the ONNX file of its precision."""
    if artifact.format != "tensorrt":
        return artifact
    return next((a for a in bundle.artifacts if a.format == "onnx" and a.precision == artifact.precision), None)


def kept(bundle: Bundle) -> Iterator[Trial]:
    """The trials of these rules that the bundle's records hold."""
    for trial in TRIALS.read(bundle):
        if trial.rules in (RULES, *RULES_OF.values()):
            yield trial


@dataclass(frozen=True)
class _Job:
    artifact: Artifact
    path: Path
    fault: Fault

    @property
    def key(self) -> str:
        return _key(self.artifact.sha256, self.fault.kind, self.fault.name, self.rules)

    @property
    def rules(self) -> int:
        return RULES_OF.get(self.artifact.precision, RULES)


def _jobs(bundle: Bundle, artifact: Artifact, seed: int) -> Iterator[_Job]:
    path = Path(bundle.resolve(_source_of(bundle, artifact) or artifact).path)
    yield _Job(artifact, path, Fault(kind=SOUND, name=SOUND, write=partial(_copied, path)))
    seen = set()
    for fault in faults_of(bundle, artifact, seed):
        job = _Job(artifact, path, fault)
        if job.key not in seen:
            seen.add(job.key)
            yield job


def faults_of(bundle: Bundle, artifact: Artifact, seed: int = 0) -> Iterator[Fault]:
    """Every fault that a form of the bundle is tried with, the same for the same seed."""
    changed = _source_of(bundle, artifact) or artifact
    path = Path(bundle.resolve(changed).path)
    sources: Mapping[str, Source] = entries("serve_bench.equivalence.faults")
    for name, source in sources.items():
        if artifact is changed or name not in UNSEEN_BY_ENGINES:
            rng = np.random.default_rng(seed)
            yield from source.faults(Subject(path=path, artifact=changed, limit=LIMIT, rng=rng))


def _copied(path: Path, destination: Path) -> None:
    destination.write_bytes(path.read_bytes())


def _tried(bench: Bench, job: _Job, folder: Path) -> Trial:
    started = time.perf_counter()
    copy = folder / f"copy{job.path.suffix}"
    job.fault.write(copy)
    said = bench.judged(job.artifact, copy, folder)
    copy.unlink()
    return Trial(
        artifact=job.artifact.name,
        artifact_sha256=job.artifact.sha256,
        kind=job.fault.kind,
        fault=job.fault.name,
        tensor=job.fault.tensor,
        caught={way: bool(words) for way, words in said.reasons.items()},
        reason=next((words for words in said.reasons.values() if words), ""),
        others=said.others,
        seconds=time.perf_counter() - started,
        rules=job.rules,
    )
