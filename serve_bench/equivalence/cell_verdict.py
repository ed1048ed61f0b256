"""The verdict on one exported form on one backend: what it is asked, what is found, and what that says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from export.bundle.errors import PipelineError, WorkerDied
from export.bundle.types import Artifact, Disagreement, Json, Precision, ProbeResult, Verification
from serve_bench.backends._helpers import batch_axis
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence import bands, constants, judge, quantised, raw, records, search, structure
from serve_bench.equivalence.probes import SPECIAL
from serve_bench.equivalence.program import Callers
from serve_bench.equivalence.questions import LARGEST_BATCH, Question, questions_of
from serve_bench.equivalence.truth import Truth
from serve_bench.exchange import SUFFIX

if TYPE_CHECKING:
    from serve_bench._opened import OpenedFacts
    from serve_bench.worker import Worker, Workers

DROP_ALLOWED = 0.5
"""Points, of an int8 form whose export names none."""


@dataclass
class Findings:
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
    folder: Path | None = None
    """Where the questions' inputs lie."""
    whole: Truth | None = None
    """The model's truth, where `truth` is that of an int8 form's own graph."""

    def of(self, artifact: Artifact) -> Standard:
        """What this artifact, whose path is absolute, is judged by: an int8 form by its own graph, what apps embed in
        raw values."""
        truth = truth_for(self.truth, artifact) if self.folder is not None else self.truth
        if truth is self.truth or self.folder is None:
            return self
        folder = self.folder / artifact.sha256
        folder.mkdir(exist_ok=True)
        given = replace(self, truth=truth, questions=questions_of(truth, folder), callers=None)
        return replace(given, whole=self.truth) if artifact.precision == "int8" else given


def truth_for(whole: Truth, artifact: Artifact) -> Truth:
    """What an artifact, whose path is absolute, is judged by: an int8 form by its own graph's truth, what apps embed by
    the model's in raw values, every other by the model's as it is."""
    if artifact.format == "app":
        return raw.truth_of(whole, artifact)
    return quantised.truth_of(whole, artifact) if artifact.precision == "int8" else whole


@dataclass(frozen=True)
class Read:
    """What reading an artifact, without running it, says."""

    constants: Mapping[str, Json] = field(default_factory=dict)
    structure: tuple[str, ...] = ()


def verify_cell(cell: Cell, workers: Workers, standard: Standard, found: Read) -> Verification:
    """The verdict on one cell, whose artifact's path is absolute; `found` is what reading it says."""
    started = time.perf_counter()
    findings = Findings()
    worker: Worker | None = None
    try:
        standard = standard.of(cell.artifact)
        backend = backend_named(cell.backend)
        worker = workers.spawn(backend.family, backend.preload)
        findings.opened = worker.open(cell.key, cell.backend, cell.artifact, cell.device, standard.threads)
        _ask(worker, cell, standard, findings)
        _ask_whole(worker, cell, standard, findings)
        _search(worker, cell, standard, findings)
        _ask_special(worker, cell, standard, findings)
        _find_first_wrong(worker, cell, standard, findings)
    except PipelineError as error:
        findings.reason, findings.broke = str(error), True
    finally:
        if worker is not None:
            worker.stop()
    return verification(cell, standard, findings, found, time.perf_counter() - started)


def _ask(worker: Worker, cell: Cell, standard: Standard, findings: Findings) -> None:
    truth, precision = standard.truth, findings.precision(cell.artifact)
    most = largest_batch(cell.artifact)
    for question in standard.questions:
        parts = [worker.answer(cell.key, path, min(question.batch, most)) for path in question.inputs]
        given = [name for name in truth.output_names if name in parts[0]]
        answers = {n: np.concatenate([p[n] for p in parts], axis=truth.output_axis(n)) for n in given}
        if question.probe == "test" and cell.artifact.format == "app":
            findings.reason = raw.why_label({n: np.concatenate([p[n] for p in parts]) for n in parts[0]})
        if question.every > 1:
            answers = {n: _every(a, truth.output_axis(n), question.every) for n, a in answers.items()}
        findings.probes += judge.probe_results(
            truth, question.probe, question.source, answers, precision, question.rows
        )
        if question.probe == "test":
            output = judge.decided(truth, standard.task, answers)
            if output is not None:
                findings.decisions = len(answers[output])
                findings.disagreements = judge.disagreements(truth, output, answers, findings.probes)
            if standard.whole is None:
                _note_metric(truth, standard.task, answers, findings)


def _note_metric(truth: Truth, task: str, answers: Mapping[str, npt.NDArray[Any]], findings: Findings) -> None:
    output = judge.decided(truth, task, answers)
    findings.metric = judge.metric(truth, task, output, answers)
    findings.against_truth = judge.change(truth, task, output, answers)


def _ask_whole(worker: Worker, cell: Cell, standard: Standard, findings: Findings) -> None:
    """What an int8 form costs the model's metric: over the whole test set, beside the model itself."""
    if standard.whole is None or standard.folder is None:
        return
    path = standard.folder / f"test{SUFFIX}"
    answers = worker.answer(cell.key, path, min(LARGEST_BATCH, largest_batch(cell.artifact)))
    _note_metric(standard.whole, standard.task, answers, findings)
    findings.reason = quantised.why_fallen(
        findings.against_truth, float(cell.artifact.facts.get("max_metric_drop", DROP_ALLOWED))
    )


def _every(answers: npt.NDArray[np.generic], axis: int, step: int) -> npt.NDArray[np.generic]:
    return answers.take(range(0, answers.shape[axis], step), axis=axis)


def _search(worker: Worker, cell: Cell, standard: Standard, findings: Findings) -> None:
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


def _ask_special(worker: Worker, cell: Cell, standard: Standard, findings: Findings) -> None:
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


def _find_first_wrong(worker: Worker, cell: Cell, standard: Standard, findings: Findings) -> None:
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


def verification(cell: Cell, standard: Standard, findings: Findings, found: Read, seconds: float) -> Verification:
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
