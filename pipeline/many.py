"""`train-export` for several models: each in a process of its own, one overall progress, and a table at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from export.bundle.errors import BundleError, ExportError, UsageError
from export.bundle.store import is_bundle
from export.bundle.types import ModelSpec
from export.bundle.workspace import check_writable
from export.progress import Progress
from export.registry import entries, entry
from pipeline import results
from pipeline.options import Options
from pipeline.reproduction import Row, deployed_from_bundle, rows
from pipeline.reproduction_page import write
from pipeline.variants import variants

COMMAND = (sys.executable, "-P", "-m", "pipeline.cli", "train-export")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How one model's process ended."""

    id: str
    status: int
    seconds: float
    said: str
    """Its last line on stderr."""


def run_many(
    ids: Sequence[str],
    words: Sequence[str],
    jobs: int,
    out: Path,
    progress: Progress,
    title: str = "train-export",
    *,
    go_on: bool = False,
) -> list[Finished]:
    """`pipeline train-export ID WORDS…` for each id, `jobs` at a time; none stops the others.

    What each said stands in `out`/ID.log, below what it said before where they `go_on`. Ctrl-C ends those under way,
    whose next run continues them.
    """
    out.mkdir(parents=True, exist_ok=True)
    running: set[subprocess.Popen[bytes]] = set()
    lock = threading.Lock()

    def one(name: str) -> Finished:
        started, log = time.monotonic(), out / f"{name}.log"
        with log.open("ab" if go_on else "wb") as stream:
            process = subprocess.Popen(
                [*COMMAND, name, *words], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=_environment()
            )
            with lock:
                running.add(process)
            status = process.wait()
            with lock:
                running.discard(process)
        return Finished(id=name, status=status, seconds=time.monotonic() - started, said=last_line(log))

    finished = []
    with (
        progress.stage(f"{title} {len(ids)} model{'s' if len(ids) != 1 else ''}") as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        futures = [pool.submit(one, name) for name in ids]
        try:
            for future in as_completed(futures):
                done = future.result()
                finished.append(done)
                well = done.status == 0
                told = f"{done.seconds:.0f} s" if well else f"{done.said} (log: {out / done.id}.log)"
                progress.finished(done.id, told, well=well)
                failed = sum(one.status != 0 for one in finished)
                said = f"{len(finished)} of {len(ids)}{f', {failed} failed' if failed else ''}"
                bar.advance(len(finished), len(ids), said)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with lock:
                for process in running:
                    process.terminate()
            raise
    return sorted(finished, key=lambda one: ids.index(one.id))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of several models."""

    finished: tuple[Finished, ...]
    rows: tuple[Row, ...]
    reports: Mapping[str, Path]

    def raise_for_failures(self) -> None:
        raise_for(self.finished)


def train_export_many(
    ids: Sequence[str],
    everything: bool,
    words: Sequence[str],
    jobs: int,
    options: Options,
    progress: Progress,
    *,
    bench: bool = True,
) -> Outcome:
    """Every model of `ids`, or of the zoo, brought to a measured bundle; then the reproduction table over them.

    With `jobs` above 1, all is done side by side but measuring, which follows one model at a time: a neighbour's
    training would be in every figure. Raises UnknownName or UsageError before anything is started.
    """
    known = entries("pipeline.models")
    if everything and ids:
        raise UsageError(f"--all is every model already, and {', '.join(ids)} named beside it; say one of the two")
    if not everything and not ids:
        raise UsageError("no model is named; name some, or say --all; `pipeline models` lists them")
    if options.params:
        raise UsageError("--set: is for one model at a time; name that model alone")
    chosen = list(known) if everything else list(dict.fromkeys(ids))
    for name in chosen:
        entry("pipeline.models", "model", name)
    check_writable(options.out)
    finished = _each(chosen, words, jobs, options.out, progress, bench=bench)
    found = _rows(chosen, options.out)
    shown = tuple(row for row in found if row.id in chosen)
    return Outcome(finished=tuple(finished), rows=shown, reports=write(found, options.out))


def _rows(ids: Sequence[str], out: Path) -> list[Row]:
    """Of the models `ids`, and of every other that has a bundle in `out`."""
    specs = [spec for model in entries("pipeline.models").values() for spec in variants(model)]
    there = [spec for spec in specs if (spec.id in ids and not spec.variant) or is_bundle(out / spec.name)]
    deployed = {
        (spec.id, spec.variant): deployed_from_bundle(out / spec.name, spec.dataset, results.metric_of(spec))
        for spec in there
    }
    kept = results.read()
    found = rows([*_trained_here(there, out, kept), *kept], deployed, list(dict.fromkeys(spec.id for spec in there)))
    return [row for row in found if row.deployed or row.recipes]


def _each(
    ids: Sequence[str], words: Sequence[str], jobs: int, out: Path, progress: Progress, *, bench: bool
) -> list[Finished]:
    if not bench:
        return run_many(ids, [*words, "--no-bench"], jobs, out, progress)
    if jobs == 1:
        return run_many(ids, words, 1, out, progress)
    before = run_many(ids, [*words, "--no-bench"], jobs, out, progress)
    sound = [one.id for one in before if one.status == 0]
    after = {one.id: one for one in run_many(sound, words, 1, out, progress, "measure", go_on=True)} if sound else {}
    return [_joined(one, after.get(one.id)) for one in before]


def _joined(one: Finished, then: Finished | None) -> Finished:
    return one if then is None else replace(then, seconds=one.seconds + then.seconds)


def _trained_here(specs: Sequence[ModelSpec], out: Path, kept: Sequence[results.Run]) -> Iterator[results.Run]:
    """The training of each bundle, unless by another recipe or on other data than the kept runs of the model."""
    from export.bundle.store import Bundle

    contents: dict[tuple[str, str, str], set[str]] = {}
    for known in kept:
        contents.setdefault(known.key[:3], set()).add(known.content)
    for spec in specs:
        with suppress(BundleError):
            run = results.run_of_bundle(spec, Bundle.open(out / spec.name).manifest)
            if run is not None and run.content in contents.get(run.key[:3], {run.content}):
                yield run


def raise_for(finished: Sequence[Finished]) -> None:
    """Raises ExportError where a model could not be brought to its end."""
    failed = [one for one in finished if one.status]
    if failed:
        names = ", ".join(one.id for one in failed)
        raise ExportError(f"{len(failed)} of {len(finished)} models failed: {names}; their logs say why")


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    told = [line for line in lines if line.startswith("error:")]
    return (told or [line for line in lines if line] or ["it said nothing"])[-1][:300]


def _environment() -> Mapping[str, str]:
    """A checkout is found from any folder."""
    here = Path(__file__).resolve().parent.parent
    if here.name in ("site-packages", "dist-packages"):
        return os.environ
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(here), os.environ.get("PYTHONPATH")]))}
