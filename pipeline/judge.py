"""What is done to a published bundle: verify it, measure it, report on it. The payload is never touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.environment import available_cores, environment
from export.bundle.errors import BackendFailed, BackendUnavailable, VerdictFailed
from export.bundle.files import write_atomic
from export.bundle.kinds import ENVIRONMENTS, environments
from export.bundle.store import Bundle
from export.bundle.types import Environment, Measurement, Verification, to_json
from export.formats._base import ExportOptions
from export.progress import Progress
from export.registry import entries
from export.run import NotBuilt, path_of
from pipeline.options import BATCHES, Options
from serve_bench._child import fixed_batch
from serve_bench.cells import Cell, Missing, backend_named, plan
from serve_bench.worker import Workers


@dataclass(frozen=True, kw_only=True)
class Judged:
    verifications: tuple[Verification, ...]
    """The latest of each cell in this environment."""
    missing: tuple[Missing, ...]

    @property
    def failed(self) -> tuple[Verification, ...]:
        return tuple(v for v in self.verifications if not v.passed)

    def raise_for_failures(self) -> None:
        """Raises VerdictFailed or BackendUnavailable; does nothing where all that was asked for passed."""
        raise_for(self.failed)
        raise_for_missing(self)


def cells_of(bundle: Bundle, options: Options) -> tuple[list[Cell], list[Missing]]:
    """What can run here, and what cannot with the reason."""
    named = {path_of(name, ExportOptions(target=options.target)) for name in options.with_formats}
    asked = options.precisions
    artifacts = [a for a in bundle.artifacts if not asked or a.precision in asked or a.path in named]
    return plan(artifacts, options.backends or None, options.device)


def verify(bundle: Bundle, options: Options, workers: Workers, progress: Progress) -> Judged:
    """Verifies each cell that has no verdict of this environment yet (all of them with `options.fresh`)."""
    from serve_bench.equivalence.records import latest, pending
    from serve_bench.equivalence.verdict import verify_bundle

    bundle.check()
    cells, missing = cells_of(bundle, options)
    here = record_environment(bundle).id
    todo = cells if options.fresh else pending(bundle, cells, here, options.threads)
    if len(todo) < len(cells) and not bundle.made_here:
        progress.note("verdicts that came with a bundle from elsewhere are signed by no one: --fresh judges anew")
    for cell in cells:
        if cell not in todo:
            progress.done(f"verify {cell.label}", "up to date")
    if todo:
        for name in dict.fromkeys(cell.backend for cell in todo):
            workers.prepare(backend_named(name).preload)
        verify_bundle(bundle, workers, todo, options.threads, here, progress)
    return Judged(verifications=tuple(latest(bundle, cells, here, options.threads)), missing=tuple(missing))


def record_environment(bundle: Bundle) -> Environment:
    """This machine, now; kept in the records where neither the manifest nor they have it, since every other record
    holds its id alone."""
    here = environment()
    if here.id not in environments(bundle):
        bundle.append(ENVIRONMENTS.name, to_json(here))
    return here


def start_cold(bundle: Bundle, judged: Judged, options: Options, workers: Workers, progress: Progress) -> None:
    """Cold starts of every cell whose verdict passed, where they were asked for."""
    from serve_bench.latency.cold import cold_starts

    chosen = passed_cells(bundle, judged, options)
    if options.cold_starts and chosen:
        here = environment().id
        given = options.cold_starts, options.threads
        cold_starts(bundle, workers, chosen, *given, environment_id=here, seed=options.drawn_seed, progress=progress)


def measure(
    bundle: Bundle, judged: Judged, options: Options, workers: Workers, progress: Progress, *, again: bool
) -> list[Measurement]:
    """Measures every cell whose verdict passed, all in one interleaved run; with `again` even where that was done.

    A run that was taken earlier with these settings is not taken again but shown again.
    """
    from serve_bench.latency.records import also_kept, matching, show, whole_runs
    from serve_bench.latency.rounds import measure_bundle

    chosen = passed_cells(bundle, judged, options)
    if options.threads > available_cores():
        progress.note(f"{options.threads} threads share {available_cores()} cores: they wait for each other")
    here = environment().id
    settings: dict[str, Any] = {
        "batches": batches_of(bundle, options),
        "replicates": options.replicates,
        "threads": options.threads,
        "isolate": options.isolate,
        "budget_s": options.budget_s,
        "precision_of_ratio": options.precision_of_ratio,
        **({"twin": True} if options.twin else {}),
    }
    if not chosen:
        progress.done("measure", "nothing passed its verification")
        return []
    run = None if again or options.fresh else matching(bundle, chosen, here, settings)
    if run is not None:
        shown = show(bundle, run)
        progress.done("measure", f"up to date{f': run {run[0].run} is shown again' if shown else ''}")
        return []
    measured = measure_bundle(
        bundle,
        workers,
        chosen,
        environment_id=here,
        progress=progress,
        seed=options.drawn_seed,
        peak=not options.no_peak,
        **settings,
    )
    kept = also_kept(whole_runs(bundle))
    if kept and options.shown:
        progress.note(f"the report now shows this run; also kept: {kept}")
    return measured


def passed_cells(bundle: Bundle, judged: Judged, options: Options) -> list[Cell]:
    """What can run here and passed its verification: nothing else is measured. app.onnx takes other inputs than the
    model, so that its latency would be no comparison."""
    passed = {(v.artifact_sha256, v.backend, v.device) for v in judged.verifications if v.passed}
    cells = [c for c in cells_of(bundle, options)[0] if c.artifact.format != "app"]
    return [c for c in cells if (c.artifact.sha256, c.backend, c.device) in passed]


def batches_of(bundle: Bundle, options: Options) -> tuple[int, ...]:
    """The batch sizes asked for; where none was, and the model's is fixed, that one."""
    fixed = fixed_batch(bundle.manifest.inputs)
    return options.batches if fixed is None or options.batches != BATCHES else (fixed,)


def write_verdicts(bundle: Bundle, judged: Judged, threads: int) -> None:
    """verification.json beside the payload: the latest verdict on every form in this environment, whatever was asked
    for now; left alone where it says the same already."""
    from serve_bench.equivalence.document import FILE, document
    from serve_bench.equivalence.records import latest

    cells, _ = plan(bundle.artifacts, None, "auto")
    verdicts = latest(bundle, cells, environment().id, threads)
    found = document(verdicts, judged.missing, bundle.root.resolve().name)
    _write_anew(bundle.root / FILE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _write_anew(path: Path, text: str) -> None:
    """Leaves a file alone that says the same already, with its time: what watches or copies it has nothing to do."""
    data = text.encode()
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(path, data)


def write_reports(bundle: Bundle) -> dict[str, Path]:
    """report.html, report.md, report.json and report.csv beside the payload, made from the records."""
    from serve_bench.reports.summary import summarise

    summary = summarise(bundle)
    written = {}
    for name, report in entries("serve_bench.reports").items():
        path = bundle.root / f"report.{report.extension}"
        _write_anew(path, report.render([summary]))
        written[name] = path
    return written


def record_absent(bundle: Bundle, judged: Judged, not_built: Sequence[NotBuilt] | None) -> None:
    """Adds what could not run or be built, where it is not what the last record says."""
    from serve_bench.absent import KIND, Absent, NotRun, latest

    last = latest(bundle)
    kept = () if last is None else last.not_built
    absent = Absent(
        environment=environment().id,
        missing=tuple(
            NotRun(backend=m.backend, artifact=m.artifact.name if m.artifact else "", device=m.device, reason=m.reason)
            for m in judged.missing
        ),
        not_built=kept if not_built is None else tuple(not_built),
    )
    if absent != last:
        bundle.append(KIND.name, to_json(absent))


def raise_for_missing(judged: Judged) -> None:
    """A backend that was asked for by name and cannot run is an error."""
    named = [m for m in judged.missing if m.named]
    if named:
        raise BackendUnavailable(f"{named[0].label}: {named[0].reason}")


def raise_for(failed: Sequence[Verification]) -> None:
    """One line for the first failure and the number of the others."""
    if failed:
        first = min(failed, key=lambda v: bool(v.settings.get("broke")))
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        if first.settings.get("broke"):
            raise BackendFailed(f"{first.artifact} on {first.backend} could not be verified{more}: {first.reason}")
        raise VerdictFailed(f"{first.artifact} on {first.backend} is not the same model{more}: {first.reason}")
