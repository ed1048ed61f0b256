"""`train-export` and its parts: build, publish, verify, measure, report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from export.bundle.errors import BackendUnavailable, BundleError, ExportError, UsageError
from export.bundle.store import Bundle, Training
from export.bundle.workspace import check_writable, workspace
from export.progress import Progress
from export.registry import entry
from pipeline.build import Built, build, weights_stage
from pipeline.judge import (
    Judged,
    cells_of,
    measure,
    raise_for,
    raise_for_missing,
    record_absent,
    start_cold,
    verify,
    write_reports,
    write_verdicts,
)
from pipeline.options import Options
from pipeline.origins import Origin, ZooOrigin
from pipeline.own_origin import OwnOrigin
from pipeline.scenarios import require_loadgen, run_scenarios
from serve_bench.cells import NAMED_ONLY, Missing, backends
from serve_bench.worker import Workers

if TYPE_CHECKING:
    from serve_bench.equivalence.selftest import Result

Bench = Literal["no", "where new", "again"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a whole run left."""

    bundle: Bundle
    built: Built | None
    judged: Judged
    reports: dict[str, Path]
    swept: tuple[str, ...] = ()
    """Names of the sweeps that took the place of the interleaved run."""
    sections: tuple[str, ...] = ()
    """Keys of the report's further sections that were measured now."""

    def raise_for_failures(self) -> None:
        """Raises VerdictFailed or ExportError where a verdict or a stage failed; the bundle is kept either way."""
        raise_for(self.judged.failed)
        failed = [n for n in self.built.not_built if n.failed] if self.built else []
        if failed:
            raise ExportError(f"{failed[0].format} is not in the bundle: {failed[0].reason}")
        raise_for_missing(self.judged)


def run_all(origin: Origin, options: Options, progress: Progress, *, bench: bool = True) -> Outcome:
    """Every stage for one model, the up-to-date ones passed over."""
    root = options.out / origin.id
    with workspace(root) as place, Workers() as workers:
        note_replaced(root, origin, progress)
        built = build(place, origin, options, progress, on_change=lambda: prepare(workers, options))
        return _judge(built.bundle, built, options, workers, progress, "where new" if bench else "no")


def note_replaced(root: Path, origin: Origin, progress: Progress) -> None:
    """Says so where the bundle at `root` will make way for one that is made from something else."""
    try:
        manifest = Bundle.open(root).manifest
    except BundleError:
        return
    if manifest.stages["weights"]["key"] != origin.key():
        progress.note(
            f"{root}: holds a bundle of {manifest.created[:10]} that was made from another model, other data or "
            "other settings; it is replaced (--out keeps both)"
        )


def prepare(workers: Workers, options: Options) -> None:
    """Lets the worker processes import their libraries while the exports are written: they will be needed."""
    for backend in backends().values():
        chosen = backend.name in options.backends if options.backends else backend.name not in NAMED_ONLY
        if chosen and any(backend.missing(device) is None for device in backend.devices()):
            workers.prepare(backend.preload)


def judge_bundle(bundle: Bundle, options: Options, progress: Progress, bench: Bench) -> Outcome:
    """Verification and, where asked, measurement of a bundle that stands."""
    with workspace(bundle.root), Workers() as workers:
        return _judge(bundle, None, options, workers, progress, bench)


def _judge(
    bundle: Bundle, built: Built | None, options: Options, workers: Workers, progress: Progress, bench: Bench
) -> Outcome:
    judged = verify(bundle, options, workers, progress)
    record_absent(bundle, judged, built.not_built if built else None)
    write_verdicts(bundle, judged, options.threads)
    if bench != "no":
        if options.scenarios:
            run_scenarios(bundle, judged, options, workers, progress)
        else:
            measure(bundle, judged, options, workers, progress, again=bench == "again")
        start_cold(bundle, judged, options, workers, progress)
    with progress.stage("report") as bar:
        reports = write_reports(bundle)
        bar.advance(1, 1, str(reports["html"]))
    cold = cold_sections(options) if bench != "no" else ()
    copied = ("transfers",) if bench != "no" and not options.scenarios else ()
    return Outcome(bundle=bundle, built=built, judged=judged, reports=reports, sections=(*copied, *cold))


def cold_sections(options: Options) -> tuple[str, ...]:
    """Of the report, that cold starts were taken for."""
    return ("cold_start",) if options.cold_starts else ()


def train_only(origin: Origin, options: Options, progress: Progress) -> Training:
    """The weights stage alone; its result waits in the workspace for `train-export`."""
    with workspace(options.out / origin.id) as place:
        training = weights_stage(place, origin, options, progress)
    progress.note(f"the weights wait in {options.out / origin.id}; `pipeline train-export` with the same words goes on")
    return training


def export_own(
    *,
    target_model: str,
    weights: Path | None,
    inputs: Path | None,
    dynamic: tuple[str, ...],
    name: str | None,
    no_bench: bool,
    options: Options,
    progress: Progress,
) -> Outcome:
    """A network that is not trained here: `FILE.py:factory`, a `.pt2`, or a zoo model with given weights."""
    origin: Origin
    if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(
            f"--name {name}: is not a plain name; use letters, digits, '.', '_' and '-', and --out for a folder"
        )
    check_writable(options.out / (name or ""))
    if ".py:" in target_model or target_model.endswith((".py", ".pt2")):
        if inputs is None:
            raise UsageError(f"{target_model}: --inputs is needed, an .npz with real samples, one array for each input")
        with progress.stage(f"load {target_model}"):
            origin = OwnOrigin(target_model, weights, inputs, dynamic, name)
        if weights is None and not target_model.endswith(".pt2"):
            progress.note("no --weights: the network is exported with the weights that its factory made")
    elif weights is None:
        raise UsageError(
            f"{target_model}: a zoo model needs --weights (to train it: `pipeline train-export {target_model}`); "
            "a network of your own is named FILE.py:FACTORY or FILE.pt2"
        )
    elif name is not None:
        raise UsageError("--name: is for a network of your own; a zoo model keeps its name, and --out names a folder")
    else:
        origin = ZooOrigin(target_model, options, progress, weights=weights)
    return run_all(origin, options, progress, bench=not no_bench)


def verify_path(
    path: Path, reference: Path | None, inputs: Path | None, options: Options, progress: Progress
) -> Judged:
    """A bundle, or a bare file judged by a `.pt2` on the samples of an `.npz`."""
    if reference is None and inputs is None:
        if path.is_file():
            raise UsageError(f"{path}: is a file, not a bundle; judge it with --reference MODEL.pt2 --inputs X.npz")
        bundle = Bundle.open(path, trust=options.trust)
        judged = judge_bundle(bundle, options, progress, "no").judged
        if not judged.verifications and not judged.missing:
            raise BackendUnavailable(nothing_asked_for(path, options))
        return judged
    if reference is None or inputs is None:
        raise UsageError("a bare file is verified with both --reference MODEL.pt2 and --inputs X.npz")
    from serve_bench.equivalence.pair import verify_pair

    return Judged(verifications=tuple(verify_pair(path, reference, inputs, progress=progress)), missing=())


def nothing_asked_for(path: Path, options: Options, missing: Sequence[Missing] = ()) -> str:
    """Why there is nothing to do, and what would make it."""
    if options.precisions:
        forms = " and ".join(options.precisions)
        return f"{path}: holds no {forms} form; make it with `pipeline train-export … --precision {forms.split()[-1]}`"
    reasons = dict.fromkeys(f"{m.backend}: {m.reason}" for m in missing if m.named)
    if reasons:
        return f"{path}: {'; '.join(reasons)}"
    return f"{path}: holds nothing of what was asked for; see --precision and --backend"


def self_test_bundle(path: Path, minutes: float, options: Options, progress: Progress) -> Result:
    """Deliberate faults in copies of every form of a bundle, at most for `minutes`; the next call goes on."""
    from serve_bench.equivalence import selftest

    bundle = Bundle.open(path, trust=options.trust)
    bundle.check()
    with workspace(bundle.root), Workers() as workers:
        return selftest.run(bundle, workers, 60 * minutes, progress)


def bench_paths(paths: Sequence[Path], options: Options, progress: Progress) -> Iterator[Outcome]:
    """Each bundle measured anew, or swept, one after the other.

    Before the first is measured all are opened, and looked at for something to measure: raises NoBundle,
    BackendUnavailable, or PipelineError where none of the sweeps has an axis.
    """
    if options.scenarios:
        require_loadgen()
    bundles = [Bundle.open(path, trust=options.trust) for path in paths]
    if options.sweeps:
        from pipeline.sweep import possible, sweep

        planned = [(bundle, possible(bundle, options, progress)) for bundle in bundles]
        yield from (sweep(bundle, names, options, progress) for bundle, names in planned)
        return
    for bundle in bundles:
        cells, missing = cells_of(bundle, options)
        if not cells and all(m.artifact is None for m in missing):
            raise BackendUnavailable(nothing_asked_for(bundle.root, options, missing))
    for bundle in bundles:
        yield judge_bundle(bundle, options, progress, "again")


def show_run(path: Path, name: str) -> None:
    """Lets the reports of a bundle show the run of this name until another is measured; writes them anew.

    Raises UsageError where no whole run is of that name.
    """
    from pipeline.judge import write_reports
    from serve_bench.latency import records

    bundle = Bundle.open(path)
    with workspace(bundle.root):
        records.show(bundle, records.named(bundle, name))
        write_reports(bundle)


def report_text(paths: Sequence[Path], report_format: str, progress: Progress) -> str:
    """One report over several bundles, from their records alone; says what of those is damaged."""
    from serve_bench.reports._warnings import gaps
    from serve_bench.reports.summary import summarise

    kind = entry("serve_bench.reports", "report format", report_format)
    bundles = [Bundle.open(path) for path in paths]
    for bundle in bundles:
        for gap in gaps(bundle):
            progress.note(f"{bundle.root}: {gap}")
    return str(kind.render([summarise(bundle) for bundle in bundles]))
