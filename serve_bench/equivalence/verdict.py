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
from export.bundle.errors import PipelineError, WorkerDied
from export.bundle.store import Bundle
from export.bundle.types import Artifact, Disagreement, Json, Precision, ProbeResult, Verification, to_json
from export.progress import Progress
from serve_bench.backends._helpers import batch_axis, importable
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence import bands, constants, judge, records, search, structure
from serve_bench.equivalence.probes import SPECIAL
from serve_bench.equivalence.program import Callers
from serve_bench.equivalence.questions import LARGEST_BATCH, Question, questions_of
from serve_bench.equivalence.truth import Truth

if TYPE_CHECKING:
    from serve_bench.worker import OpenedFacts, Worker, Workers

JOBS = 2
"""Cells judged at a time: their numbers do not depend on the clock."""


@dataclass
class _Findings:
    """What is known of one cell so far; it stays as it is where the backend breaks."""

    opened: OpenedFacts | None = None
    probes: list[ProbeResult] = field(default_factory=list)
    decisions: int = 0
    disagreements: tuple[Disagreement, ...] = ()
    metric: dict[str, float] = field(default_factory=dict)
    against_truth: dict[str, float] = field(default_factory=dict)
    non_finite: dict[str, str] = field(default_factory=dict)
    first_wrong: str = ""
    reason: str = ""
    broke: bool = False

    def precision(self, artifact: Artifact) -> str:
        """The one whose band applies to the open session."""
        assert self.opened is not None
        return judged_in(asked_of(artifact, self.opened.settings), self.opened.precision)


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
        questions = questions_of(truth, Path(folder))
        program = trusted_program(bundle)
        callers = None if program is None else Callers(program)
        if callers is not None and any(cell.artifact.precision == "float32" for cell in cells):
            # Not in the threads: Python 3.11 cannot build syntax trees in two at once, and torch builds them.
            callers.load("float64")
            callers.load("float32")
        judged = Standard(truth, questions, bundle.manifest.task, threads, environment_id, callers)
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
class Standard:
    """What is the same for every cell."""

    truth: Truth
    questions: Sequence[Question]
    task: str
    threads: int
    environment: str
    callers: Callers | None = None
    """The trusted `model.pt2`: searched against, and compared with node by node; None where it may not be run."""


@dataclass(frozen=True)
class Read:
    """What reading an artifact, without running it, says."""

    constants: Mapping[str, Json] = field(default_factory=dict)
    structure: tuple[str, ...] = ()


def _jobs(
    bundle: Bundle, workers: Workers, cells: Sequence[Cell], standard: Standard
) -> Iterator[tuple[Cell, Callable[[], Verification]]]:
    """Each cell with what judges it; files are checked here, one after the other."""
    checked: dict[str, Read] = {}
    for cell in cells:
        if cell.artifact.path not in checked:
            checked[cell.artifact.path] = _read(bundle, cell.artifact)
        found = checked[cell.artifact.path]
        try:
            resolved = Cell(bundle.resolve(cell.artifact), cell.backend, cell.device)
        except PipelineError as error:
            findings = _Findings(reason=str(error), broke=True)
            yield cell, partial(verification, cell, standard, findings, Read(), 0.0)
        else:
            yield cell, partial(verify_cell, resolved, workers, standard, found)


def verify_cell(cell: Cell, workers: Workers, standard: Standard, found: Read) -> Verification:
    """The verdict on one cell, whose artifact's path is absolute; `found` is what reading it says."""
    started = time.perf_counter()
    findings = _Findings()
    worker: Worker | None = None
    try:
        backend = backend_named(cell.backend)
        worker = workers.spawn(backend.family, backend.preload)
        findings.opened = worker.open(cell.key, cell.backend, cell.artifact, cell.device, standard.threads)
        _ask(worker, cell, standard, findings)
        _search(worker, cell, standard, findings)
        _ask_special(worker, cell, standard, findings)
        _find_first_wrong(worker, cell, standard, findings)
    except PipelineError as error:
        findings.reason, findings.broke = str(error), True
    finally:
        if worker is not None:
            worker.stop()
    return verification(cell, standard, findings, found, time.perf_counter() - started)


def _ask(worker: Worker, cell: Cell, standard: Standard, findings: _Findings) -> None:
    truth, precision = standard.truth, findings.precision(cell.artifact)
    most = largest_batch(cell.artifact)
    for question in standard.questions:
        parts = [worker.answer(cell.key, path, min(question.batch, most)) for path in question.inputs]
        given = [name for name in truth.output_names if name in parts[0]]
        answers = {n: np.concatenate([p[n] for p in parts], axis=truth.output_axis(n)) for n in given}
        if question.every > 1:
            answers = {n: _every(a, truth.output_axis(n), question.every) for n, a in answers.items()}
        findings.probes += judge.probe_results(
            truth, question.probe, question.source, answers, precision, question.rows
        )
        if question.probe == "test":
            output = judge.decided(truth, standard.task, answers)
            if output is not None:
                findings.decisions = len(answers[output])
                findings.against_truth = judge.against_truth(truth, output, answers)
                findings.disagreements = judge.disagreements(truth, output, answers, findings.probes)
            findings.metric = judge.metric(truth, standard.task, output, answers)


def _every(answers: npt.NDArray[np.generic], axis: int, step: int) -> npt.NDArray[np.generic]:
    return answers.take(range(0, answers.shape[axis], step), axis=axis)


def _search(worker: Worker, cell: Cell, standard: Standard, findings: _Findings) -> None:
    """Looks for inputs on which a float32 form that passed so far is worse than on all others."""
    fixed = any(batch_axis(s) is None for s in cell.artifact.inputs)
    if standard.callers is None or fixed or findings.precision(cell.artifact) != "float32":
        return
    if not all(p.passed for p in findings.probes) or largest_batch(cell.artifact) < search.POPULATION:
        return
    findings.probes += search.of_backend(
        standard.truth,
        cell.artifact.inputs,
        lambda inputs: worker.answer(cell.key, inputs, search.POPULATION),
        standard.callers,
    )


def _ask_special(worker: Worker, cell: Cell, standard: Standard, findings: _Findings) -> None:
    inputs, finite = standard.truth.special
    if not finite or largest_batch(cell.artifact) < len(SPECIAL):
        return
    try:
        answers = worker.answer(cell.key, inputs, len(SPECIAL))
    except WorkerDied:
        raise
    except PipelineError as error:
        findings.non_finite = {name: f"an error: {error}" for name, _, _ in SPECIAL}
    else:
        findings.non_finite = judge.non_finite(standard.truth, answers)


def _find_first_wrong(worker: Worker, cell: Cell, standard: Standard, findings: _Findings) -> None:
    """Names the first node that is wrong, where numbers failed and the graph can be opened up."""
    failed = [p for p in findings.probes if not p.passed and p.probe in standard.truth.probes]
    if not failed or cell.artifact.format != "onnx" or standard.callers is None:
        return
    from serve_bench.equivalence import bisect

    worst = max(failed, key=lambda p: p.ratio)
    precision = findings.precision(cell.artifact)
    try:
        found = bisect.of_cell(worker, cell, standard.truth, standard.callers.path, worst, precision, standard.threads)
    except PipelineError as error:
        findings.first_wrong = f"where it goes wrong could not be found: {error}"
    else:
        findings.first_wrong = found.sentence if found else ""


def trusted_program(bundle: Bundle) -> Path | None:
    """`model.pt2` where it may be run here: it is the bundle's own, trusted, and torch is installed."""
    if not importable("torch"):
        return None
    try:
        artifact = next(a for a in bundle.artifacts if a.format == "exported_program")
        return Path(bundle.resolve(artifact).path)
    except (StopIteration, PipelineError):
        return None


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


def verification(cell: Cell, standard: Standard, findings: _Findings, found: Read, seconds: float) -> Verification:
    """The record: passed where nothing has a reason against it."""
    opened = findings.opened
    asked = asked_of(cell.artifact, opened.settings if opened else {})
    in_less = judge.why_less(cell.backend, asked, opened.precision, opened.precision_evidence) if opened else ""
    reasons = [
        findings.reason,
        in_less,
        structure.why(found.structure),
        constants.why(found.constants),
        judge.why_probes(findings.probes),
        judge.why_decisions(findings.disagreements),
    ]
    reason = next((r for r in reasons if r), "")
    if reason and findings.first_wrong:
        reason = f"{reason}; {findings.first_wrong}"
    settings: dict[str, Any] = dict(opened.settings) if opened else {}
    return Verification(
        artifact=cell.artifact.name,
        artifact_sha256=cell.artifact.sha256,
        backend=cell.backend,
        device=cell.device,
        environment=standard.environment,
        precision_asked=asked,
        precision_found=opened.precision if opened else asked,
        precision_evidence=opened.precision_evidence if opened else "it was not opened",
        probes=tuple(findings.probes),
        constants=found.constants,
        structure=found.structure,
        first_wrong=findings.first_wrong,
        decisions=findings.decisions,
        disagreements=findings.disagreements,
        metric=findings.metric,
        against_truth=findings.against_truth,
        non_finite=findings.non_finite,
        passed=not reason,
        reason=reason,
        seconds=seconds,
        settings=settings | {"asked": {"threads": standard.threads, "rules": records.RULES}, "broke": findings.broke},
    )


def short(record: Verification) -> str:
    """ "error 2.1e-07, band 1.7e-06" of the worst probe, or "not the same: …", for the end of a progress line."""
    verdict = records.verdict_of(record)
    if verdict != "same":
        return f"{verdict}: {record.reason}"
    worst = records.worst_probe(record.probes)
    return verdict if worst is None else f"error {worst.error:.2g}, band {worst.band:.2g}"


def _read(bundle: Bundle, artifact: Artifact) -> Read:
    """What constants and structure say. Zip and protobuf are read, nothing is run: no trust is needed."""
    try:
        found = tuple(structure.check(bundle.file(artifact.path), artifact, structure.told_of(bundle.manifest)))
    except PipelineError as error:
        found = (str(error),)
    return Read(constants=_constants(bundle, artifact), structure=found)


def _constants(bundle: Bundle, artifact: Artifact) -> Mapping[str, Json]:
    """What the bit check of one artifact's constants finds; empty where there is nothing to compare."""
    by_format = {a.format: a for a in bundle.artifacts}
    if "weights" not in by_format or artifact.format not in constants.READABLE:
        return {}
    try:
        program = bundle.file(by_format["exported_program"].path) if "exported_program" in by_format else None
        weights, path = bundle.file(by_format["weights"].path), bundle.file(artifact.path)
        return constants.compare(weights, path, artifact.format, artifact.precision, program)
    except PipelineError as error:
        return {"mismatched": [str(error)]}
