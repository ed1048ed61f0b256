"""The verdict on every exported form of a bundle, on every backend that runs here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.environment import available_cores
from export.bundle.errors import PipelineError
from export.bundle.store import Bundle
from export.bundle.types import Artifact, Json, Verification, to_json
from export.progress import Progress
from serve_bench.backends._helpers import importable
from serve_bench.cells import Cell
from serve_bench.equivalence import constants, integers, raw, records, structure
from serve_bench.equivalence.cell_verdict import Findings, Read, Standard, verification, verify_cell
from serve_bench.equivalence.program import Callers, one_thread
from serve_bench.equivalence.questions import questions_of
from serve_bench.equivalence.truth import Truth

if TYPE_CHECKING:
    from serve_bench.worker import Workers

JOBS = 2
"""Cells judged at a time: their numbers do not depend on the clock."""


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
        judged = Standard(truth, questions, bundle.manifest.task, threads, environment_id, callers, Path(folder))
        try:
            futures = {pool.submit(job): cell for cell, job in _jobs(bundle, workers, cells, judged)}
            with one_thread() if callers is not None else nullcontext():
                if callers is not None and any(_searched(cell) for cell in cells):
                    # Beside the first forms, whose search waits for it; never two loads at once (`program.load`).
                    callers.load("float64")
                    callers.load("float32")
                for future in as_completed(futures):
                    cell, record = futures[future], future.result()
                    bundle.append(records.VERDICTS.name, to_json(record))
                    found[cell.key] = record
                    said = f"{short(record)}  {record.seconds:.1f} s"
                    progress.finished(f"verify {cell.label}", said, well=record.passed)
                    bar.advance(len(found), len(cells))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [found[cell.key] for cell in cells]


def _searched(cell: Cell) -> bool:
    """Whether inputs are searched for on which this form is worst: then the model's program is run beside it."""
    return cell.artifact.precision == "float32" and cell.artifact.format != "app"


def _title(cells: Sequence[Cell]) -> str:
    return f"verify {len(cells)} exported form{'s' if len(cells) > 1 else ''}"


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
            findings = Findings(reason=str(error), broke=True)
            yield cell, partial(verification, cell, standard, findings, Read(), 0.0)
        else:
            yield cell, partial(verify_cell, resolved, workers, standard, found)


def trusted_program(bundle: Bundle) -> Path | None:
    """`model.pt2` where it may be run here: it is the bundle's own, trusted, and torch is installed."""
    if not importable("torch"):
        return None
    try:
        return None if bundle.program is None else Path(bundle.resolve(bundle.program).path)
    except PipelineError:
        return None


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
        found = tuple(structure_of(bundle, artifact, bundle.file(artifact.path)))
    except PipelineError as error:
        found = (str(error),)
    return Read(constants=_constants(bundle, artifact), structure=found)


def structure_of(bundle: Bundle, artifact: Artifact, path: Path) -> list[str]:
    """Everything in which the file at `path` is not what `artifact` of this bundle promises; what apps embed is also
    held against model.onnx, node for node."""
    if artifact.format != "app":
        return structure.check(path, artifact, structure.told_of(bundle.manifest))
    said = structure.check(path, artifact, raw.told_of(bundle.manifest, artifact))
    single = single_of(bundle)
    return said if single is None else [*said, *raw.differences(path, single, bundle.manifest, artifact)]


def single_of(bundle: Bundle) -> Path | None:
    """The bundle's float32 ONNX file, checked; None where it has none."""
    return bundle.file(bundle.graph.path) if bundle.graph is not None else None


def _constants(bundle: Bundle, artifact: Artifact) -> Mapping[str, Json]:
    """What the bit check of one artifact's constants finds; empty where there is nothing to compare."""
    kept = next((a for a in bundle.artifacts if a.format == "weights"), None)
    if kept is None or artifact.stored_as not in constants.READABLE:
        return {}
    try:
        if artifact.precision == "int8":
            single = single_of(bundle)
            return integers.compare(single, bundle.file(artifact.path)) if single else {}
        program = bundle.file(bundle.program.path) if bundle.program else None
        weights, path = bundle.file(kept.path), bundle.file(artifact.path)
        return constants.compare(weights, path, artifact.stored_as, artifact.precision, program)
    except PipelineError as error:
        return {"mismatched": [str(error)]}
