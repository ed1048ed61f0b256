"""The verdict on every exported form, on every backend that runs here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from export.bundle.environment import available_cores
from export.bundle.errors import PipelineError
from export.bundle.store import Bundle
from export.bundle.types import LENGTHS, Artifact, Disagreement, Json, Precision, ProbeResult, Verification, to_json
from export.progress import Progress
from serve_bench.backends._helpers import batch_axis
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence import bands, constants, judge, records
from serve_bench.equivalence.probes import cut_by_length
from serve_bench.equivalence.truth import Truth

if TYPE_CHECKING:
    from serve_bench.worker import OpenedFacts, Worker, Workers

JOBS = 2
"""Cells judged at a time: their numbers do not depend on the clock."""
LARGEST_BATCH = 512
SMALL_BATCHES = (1, 2, 7)
FEW = 64
"""Samples of the probes that try small batches."""


@dataclass(frozen=True)
class Question:
    """One probe as it is put to a backend."""

    probe: str
    source: str
    """The class of inputs whose scale and reference judge it."""
    inputs: tuple[Path, ...]
    """Files whose samples follow one another in the class."""
    batch: int


@dataclass
class _Findings:
    """What is known of one cell so far; it stays as it is where the backend breaks."""

    opened: OpenedFacts | None = None
    probes: list[ProbeResult] = field(default_factory=list)
    decisions: int = 0
    disagreements: tuple[Disagreement, ...] = ()
    metric: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    broke: bool = False


def verify_bundle(
    bundle: Bundle, workers: Workers, cells: Sequence[Cell], threads: int, environment_id: str, progress: Progress
) -> list[Verification]:
    """Verifies each cell against the bundle's truth and its checkpoint; appends the records and returns them.

    Every cell gets a process of its own; two are judged at a time where there are two cores. A backend that breaks, an
    artifact that is corrupt or not trusted, is a Verification with `passed` False, no probes and the reason
    (`settings["broke"]`), and the rest stands. Raises BundleCorrupt where the truth itself cannot be read.
    """
    truth = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
    found: dict[str, Verification] = {}
    pool = ThreadPoolExecutor(min(JOBS, available_cores()))
    with tempfile.TemporaryDirectory(prefix="pipeline-verify-") as folder, progress.stage(_title(cells)) as bar:
        judged = _Judged(truth, questions_of(truth, Path(folder)), bundle.manifest.task, threads, environment_id)
        try:
            futures = {pool.submit(job): cell for cell, job in _jobs(bundle, workers, cells, judged)}
            for future in as_completed(futures):
                cell, record = futures[future], future.result()
                bundle.append("verification", to_json(record))
                found[cell.key] = record
                said = f"{short(record)}  {record.seconds:.1f} s"
                progress.finished(f"verify {cell.label}", said, well=record.passed)
                bar.advance(len(found), len(cells))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [found[cell.key] for cell in cells]


def _title(cells: Sequence[Cell]) -> str:
    return f"verify {len(cells)} exported form{'s' if len(cells) > 1 else ''}"


@dataclass(frozen=True)
class _Judged:
    """What is the same for every cell."""

    truth: Truth
    questions: Sequence[Question]
    task: str
    threads: int
    environment: str


def _jobs(
    bundle: Bundle, workers: Workers, cells: Sequence[Cell], judged: _Judged
) -> Iterator[tuple[Cell, Callable[[], Verification]]]:
    """Each cell with what judges it; files are checked here, one after the other."""
    checked: dict[str, Mapping[str, Json]] = {}
    for cell in cells:
        found = checked.setdefault(cell.artifact.path, _constants(bundle, cell.artifact))
        try:
            resolved = Cell(bundle.resolve(cell.artifact), cell.backend, cell.device)
        except PipelineError as error:
            findings = _Findings(reason=str(error), broke=True)
            yield cell, partial(verification, cell, judged.environment, judged.threads, findings, {}, 0.0)
        else:
            yield (
                cell,
                partial(
                    verify_cell,
                    resolved,
                    workers,
                    judged.truth,
                    judged.questions,
                    judged.task,
                    found,
                    judged.threads,
                    judged.environment,
                ),
            )


def verify_cell(
    cell: Cell,
    workers: Workers,
    truth: Truth,
    questions: Sequence[Question],
    task: str,
    found: Mapping[str, Json],
    threads: int,
    environment_id: str,
) -> Verification:
    """The verdict on one cell, whose artifact's path is absolute; `found` is what its constants say."""
    started = time.perf_counter()
    findings = _Findings()
    worker: Worker | None = None
    try:
        backend = backend_named(cell.backend)
        worker = workers.spawn(backend.family, backend.preload)
        findings.opened = worker.open(cell.key, cell.backend, cell.artifact, cell.device, threads)
        _ask(worker, cell, truth, questions, task, findings)
    except PipelineError as error:
        findings.reason, findings.broke = str(error), True
    finally:
        if worker is not None:
            worker.stop()
    return verification(cell, environment_id, threads, findings, found, time.perf_counter() - started)


def _ask(
    worker: Worker,
    cell: Cell,
    truth: Truth,
    questions: Sequence[Question],
    task: str,
    findings: _Findings,
) -> None:
    assert findings.opened is not None
    precision = judged_in(asked_of(cell.artifact, findings.opened.settings), findings.opened.precision)
    most = largest_batch(cell.artifact)
    for question in questions:
        parts = [worker.answer(cell.key, path, min(question.batch, most)) for path in question.inputs]
        given = [name for name in truth.output_names if name in parts[0]]
        answers = {n: np.concatenate([p[n] for p in parts], axis=truth.output_axis(n)) for n in given}
        findings.probes += judge.probe_results(truth, question.probe, question.source, answers, precision)
        if question.probe == "test":
            output = judge.decided(truth, task, answers)
            if output is not None:
                findings.decisions = len(answers[output])
                findings.disagreements = judge.disagreements(truth, output, answers, findings.probes)
            findings.metric = judge.metric(truth, task, output, answers)


def largest_batch(artifact: Artifact) -> int:
    """The most samples that an artifact takes at once, as far as that is asked: an engine's profile may admit fewer."""
    profile = artifact.facts.get("profile") or {}
    ends = [profile[s.name]["max"][batch_axis(s) or 0] for s in artifact.inputs if s.name in profile]
    return int(min([LARGEST_BATCH, *ends]))


def asked_of(artifact: Artifact, settings: Mapping[str, Json]) -> Precision:
    """The precision that was asked of a session: its own word where the user chose one, else the artifact's."""
    return cast(Precision, settings.get("precision_asked", artifact.precision))


def judged_in(asked: str, found: str) -> str:
    """The precision whose band applies: what was asked, or the lesser one that was found (which fails in any case)."""
    return found if bands.computes_in_less(asked, found) else asked


def verification(
    cell: Cell,
    environment_id: str,
    threads: int,
    findings: _Findings,
    found: Mapping[str, Json],
    seconds: float,
) -> Verification:
    """The record: passed where nothing has a reason against it."""
    opened = findings.opened
    asked = asked_of(cell.artifact, opened.settings if opened else {})
    in_less = judge.why_less(cell.backend, asked, opened.precision, opened.precision_evidence) if opened else ""
    reasons = [
        findings.reason,
        in_less,
        constants.why(found),
        judge.why_probes(findings.probes),
        judge.why_decisions(findings.disagreements),
    ]
    reason = next((r for r in reasons if r), "")
    settings: dict[str, Any] = dict(opened.settings) if opened else {}
    return Verification(
        artifact=cell.artifact.name,
        artifact_sha256=cell.artifact.sha256,
        backend=cell.backend,
        device=cell.device,
        environment=environment_id,
        precision_asked=asked,
        precision_found=opened.precision if opened else asked,
        precision_evidence=opened.precision_evidence if opened else "it was not opened",
        probes=tuple(findings.probes),
        constants=found,
        decisions=findings.decisions,
        disagreements=findings.disagreements,
        metric=findings.metric,
        passed=not reason,
        reason=reason,
        seconds=seconds,
        settings=settings | {"asked": {"threads": threads, "rules": records.RULES}, "broke": findings.broke},
    )


def short(record: Verification) -> str:
    """ "error 2.1e-07, band 1.7e-06" of the worst probe, or "not the same: …", for the end of a progress line."""
    verdict = records.verdict_of(record)
    if verdict != "same":
        return f"{verdict}: {record.reason}"
    worst = records.worst_probe(record.probes)
    return verdict if worst is None else f"error {worst.error:.2g}, band {worst.band:.2g}"


def _constants(bundle: Bundle, artifact: Artifact) -> Mapping[str, Json]:
    """What the bit check of one artifact's constants finds; empty where there is nothing to compare.

    Zip and protobuf are read, nothing is executed, so no trust is needed.
    """
    by_format = {a.format: a for a in bundle.artifacts}
    if "weights" not in by_format or artifact.format not in constants.READABLE:
        return {}
    try:
        program = bundle.file(by_format["exported_program"].path) if "exported_program" in by_format else None
        weights, path = bundle.file(by_format["weights"].path), bundle.file(artifact.path)
        return constants.compare(weights, path, artifact.format, artifact.precision, program)
    except PipelineError as error:
        return {"mismatched": [str(error)]}


def questions_of(truth: Truth, folder: Path) -> list[Question]:
    """Every probe at the largest batch, and the first test samples in small ones; inputs are written to `folder`."""
    found = []
    for probe in truth.probes:
        path = folder / f"{probe}.npz"
        inputs = truth.inputs(probe)
        np.savez(path, **cast(dict[str, Any], inputs))
        found.append(Question(probe, probe, (path,), min(LARGEST_BATCH, max(truth.samples(probe), 1))))
        if probe == "test":
            few = folder / "few.npz"
            np.savez(few, **_first(truth, inputs, FEW))
            small = [b for b in SMALL_BATCHES if b <= truth.samples("test")]
            found += [Question(f"batch {b}", "test", (few,), b) for b in small]
        if probe == LENGTHS:
            found.append(Question("unpadded", probe, tuple(_unpadded(truth, inputs, folder)), LARGEST_BATCH))
    return found


def _unpadded(truth: Truth, inputs: Mapping[str, npt.NDArray[np.generic]], folder: Path) -> Iterator[Path]:
    """A file for each length: its samples without padding, whose answers must be those of the padded ones."""
    for number, piece in enumerate(cut_by_length(inputs, truth.meta["input_axes"], truth.length_axes)):
        path = folder / f"unpadded-{number}.npz"
        np.savez(path, **cast(dict[str, Any], piece))
        yield path


def _first(truth: Truth, inputs: Mapping[str, npt.NDArray[np.generic]], count: int) -> dict[str, Any]:
    axes = truth.meta["input_axes"]
    return {n: a.take(range(min(count, a.shape[axes[n]])), axis=axes[n]) for n, a in inputs.items()}
