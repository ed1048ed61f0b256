"""The judge of the self-test: wrong copies of one bundle's forms, by numbers on a few samples, constants, structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import PipelineError
from export.bundle.store import Bundle
from export.bundle.types import LENGTHS, Artifact
from export.formats import tensorrt
from serve_bench.cells import Cell, backend_named
from serve_bench.equivalence import cell_verdict, constants, integers, judge, structure
from serve_bench.equivalence.comparators import COMPARATORS
from serve_bench.equivalence.truth import Truth, chosen_from, few_rows
from serve_bench.equivalence.verdict import single_of, structure_of
from serve_bench.exchange import SUFFIX, write_arrays
from serve_bench.worker import Worker, Workers

SHARES = {"test": 96, "gaussian": 64, "uniform": 32, "constant": 4, LENGTHS: 60}
"""Samples of each probe, 256 in all."""
RUNS_ON = {
    "exported_program": "eager",
    "torchscript": "torchscript",
    "onnx": "onnxruntime-cpu",
    "app": "onnxruntime-cpu",
}
ENGINES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""What runs an engine, by the flavour that built it."""


def runs_on(artifact: Artifact) -> str:
    return RUNS_ON.get(artifact.format) or ENGINES[str(artifact.facts.get("flavour", "tensorrt"))]


@dataclass(frozen=True)
class Said:
    """Of one wrong copy."""

    reasons: Mapping[str, str]
    """Why "constants", "structure" and "numbers" speak against it; empty where one does not."""
    others: Mapping[str, bool]
    """Which comparator of other tools catches it; empty where the copy gives no answer at all."""


class Bench:
    """What every trial of one bundle shares: the few samples, the checkpoint, a process for each backend."""

    def __init__(self, bundle: Bundle, workers: Workers) -> None:
        self.bundle, self.workers = bundle, workers
        whole = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
        self.truth = few(whole)
        self.task = bundle.manifest.task
        self.truths: dict[str, Truth] = {}
        self.weights = next(bundle.file(a.path) for a in bundle.artifacts if a.format == "weights")
        self.single = single_of(bundle)
        self.program = bundle.file(bundle.program.path) if bundle.program else None
        self.running: dict[str, Worker] = {}

    def stop(self) -> None:
        for worker in self.running.values():
            worker.stop()

    def judged(self, artifact: Artifact, copy: Path, folder: Path) -> Said:
        """What speaks against a wrong copy of `artifact`, and what other tools would say of its answers."""
        wrong = replace(artifact, path=str(copy))
        if artifact.format == "tensorrt":
            return self._built(wrong, copy, folder)
        numbers = self._numbers(wrong, folder)
        read = {"constants": self._constants(wrong, copy), "structure": self._structure(wrong, copy)}
        return Said({**read, **numbers.reasons}, numbers.others)

    def _built(self, artifact: Artifact, copy: Path, folder: Path) -> Said:
        """What the numbers of an engine built from a faulty ONNX file say; one that cannot be built is caught."""
        engine = folder / "copy.engine"
        try:
            tensorrt.build_again(artifact, copy, engine)
        except PipelineError as error:
            return Said({"numbers": f"no engine can be built from it: {error}"}, {})
        return self._numbers(replace(artifact, path=str(engine)), folder)

    def _truth_of(self, artifact: Artifact) -> Truth:
        """By the form as it was exported; made once for each."""
        if artifact.sha256 not in self.truths:
            sound = next(a for a in self.bundle.artifacts if a.sha256 == artifact.sha256)
            self.truths[artifact.sha256] = cell_verdict.truth_for(self.truth, self.bundle.resolve(sound))
        return self.truths[artifact.sha256]

    def _constants(self, artifact: Artifact, copy: Path) -> str:
        try:
            if artifact.precision == "int8":
                return constants.why(integers.compare(self.single, copy)) if self.single else ""
            found = constants.compare(self.weights, copy, artifact.stored_as, artifact.precision, self.program)
        except PipelineError as error:
            return str(error)
        return constants.why(found)

    def _structure(self, artifact: Artifact, copy: Path) -> str:
        try:
            return structure.why(structure_of(self.bundle, artifact, copy))
        except PipelineError as error:
            return str(error)

    def _numbers(self, artifact: Artifact, folder: Path) -> Said:
        """Why the numbers speak against it, and which comparators do; a copy that cannot run is caught."""
        name = runs_on(artifact)
        backend, device = backend_named(name), "cuda" if artifact.format == "tensorrt" else "cpu"
        cell = Cell(artifact, name, device)
        try:
            if name not in self.running:
                self.running[name] = self.workers.spawn(backend.family, backend.preload)
            worker = self.running[name]
            opened = worker.open(cell.key, name, artifact, device, 1)
            try:
                return self._judged(worker, cell, opened, folder)
            finally:
                worker.close(cell.key)
        except PipelineError as error:
            dead = self.running.pop(name, None)
            if dead is not None:
                dead.stop()
            return Said({"numbers": f"it does not run: {error}"}, {})

    def _judged(self, worker: Worker, cell: Cell, opened: Any, folder: Path) -> Said:
        precision = cell_verdict.judged_in(cell_verdict.asked_of(cell.artifact, opened.settings), opened.precision)
        answered, others = {}, dict.fromkeys(COMPARATORS, False)
        truth, most = self._truth_of(cell.artifact), cell_verdict.largest_batch(cell.artifact)
        for probe in truth.probes:
            path = folder / ((probe if cell.artifact.format != "app" else f"{probe}-raw") + SUFFIX)
            if not path.exists():
                write_arrays(path, truth.inputs(probe))
            answered[probe] = worker.answer(cell.key, path, min(max(truth.samples(probe) - 1, 1), most))
        said = judge.why_numbers(truth, self.task, precision, answered)
        for probe, answers in answered.items():
            reference = {n: y.astype(np.float32) for n, y in truth.outputs(probe).items()}
            for name, passes in COMPARATORS.items():
                others[name] = others[name] or not passes(answers, reference)
        return Said({"numbers": said}, others)


def few(whole: Truth) -> Truth:
    """At most 256 samples: of the test set half with the smallest margins, of each other probe the first."""
    rows: dict[str, Sequence[int]] = {}
    for probe in whole.probes:
        total, share = whole.samples(probe), SHARES.get(probe, 16)
        rows[probe] = range(min(total, share))
    rows["test"] = few_rows(whole, SHARES["test"])
    return chosen_from(whole, rows)
