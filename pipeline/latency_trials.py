"""Trials of the clock: the same artifact under two names, known slowdowns, other clocks beside ours, runs apart.

Each is a measurement as `bench` makes it, of a bundle whose records are left alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from export.bundle.environment import environment
from export.bundle.errors import BackendFailed, BundleError
from export.bundle.store import Bundle
from export.bundle.types import Artifact, Measurement
from export.progress import Silent
from pipeline import bare_loop
from pipeline.runs_apart import kept_run
from serve_bench.cells import BASELINE, Cell, plan
from serve_bench.latency import stats
from serve_bench.latency.overhead import null_overhead
from serve_bench.latency.rounds import measure_bundle, real_samples
from serve_bench.latency.run_conditions import conditions_of
from serve_bench.latency.scenarios._base import Asked, named
from serve_bench.latency.scenarios._run import measure_scenarios
from serve_bench.latency.scenarios.overhead import loadgen_overhead
from serve_bench.latency.schedule import BUDGET_S
from serve_bench.worker import Workers

REPLICATES, PRECISION = 10, 0.02
"""The defaults of `bench`."""
BASE_NS = 200_000
"""A run of the waiting null backend."""
RUNTIME = "onnxruntime-cpu"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Two artifacts in one run: how many times as fast the second was found to be."""

    kind: str
    batch: int
    value: float
    low: float
    high: float
    truth: float
    """How many times as fast it is."""
    delta: float
    word: str
    by_replicate: tuple[float, ...] = ()
    """The ratio in each replicate."""

    @property
    def covers(self) -> bool:
        return self.low <= self.truth <= self.high


@dataclass(frozen=True)
class Named(Cell):
    """A cell with a name of its own: two of one artifact are two sessions in two processes."""

    name: str = ""

    @property
    def key(self) -> str:
        return f"{super().key}|{self.name}"


@dataclass
class Aside:
    """A bundle whose records stay as they are: what is measured is only given back."""

    bundle: Bundle
    records: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bundle, name)

    def append(self, kind: str, record: Mapping[str, Any]) -> None:
        self.records.append((kind, record))

    def resolve(self, artifact: Artifact) -> Artifact:
        return artifact if Path(artifact.path).is_absolute() else self.bundle.resolve(artifact)


def pair(
    bundle: Bundle, workers: Workers, cells: Sequence[Cell], kind: str, truth: float, batches: Sequence[int], seed: int
) -> list[Trial]:
    """One run of two cells at the default budget: a trial for each batch."""
    records = measured(bundle, workers, cells, batches, seed)
    found = []
    for batch in batches:
        base, new = (
            stats.medians_by_replicate(r.latencies_ns, r.replicates)
            for r in records
            if r.batch == batch and not r.error
        )
        ratio, delta = stats.speed_ratio(base, new), stats.delta([base, new])
        assert ratio is not None
        found.append(
            Trial(
                kind=kind,
                batch=batch,
                truth=truth,
                delta=delta,
                word=stats.word(ratio, delta),
                by_replicate=tuple(round(base[r] / new[r], 5) for r in sorted(base.keys() & new.keys())),
                **ratio._asdict(),
            )
        )
    return found


def measured(
    bundle: Bundle,
    workers: Workers,
    cells: Sequence[Cell],
    batches: Sequence[int],
    seed: int,
    precision: float = 0.0,
) -> list[Measurement]:
    return measure_bundle(
        Aside(bundle),  # type: ignore[arg-type]
        workers,
        cells,
        batches,
        BUDGET_S,
        REPLICATES,
        precision_of_ratio=precision,
        peak=False,
        environment_id=environment().id,
        seed=seed,
        progress=Silent(),
    )


def onnx_of(bundle: Bundle) -> Artifact:
    """The float32 ONNX form, its path absolute."""
    if bundle.graph is None:
        raise BundleError(f"{bundle.root}: holds no float32 ONNX form; train-export makes one")
    return bundle.resolve(bundle.graph)


def same_twice(bundle: Bundle, workers: Workers, kind: str, seed: int) -> list[Trial]:
    """A/A: one artifact under two names."""
    cells = [Named(onnx_of(bundle), RUNTIME, "cpu", name) for name in ("first", "second")]
    return pair(bundle, workers, cells, kind, 1.0, (1, 64), seed)


def delayed(bundle: Bundle, workers: Workers, share: float, seed: int) -> list[Trial]:
    """The null backend that waits 200 µs, and the same with `share` more."""
    sound = onnx_of(bundle)
    cells = [
        Named(replace(sound, facts={"delay_ns": round(BASE_NS * (1 + more))}), "null", "cpu", f"+{more:g}")
        for more in (0.0, share)
    ]
    return pair(bundle, workers, cells, f"delay +{100 * share:g} %", 1 / (1 + share), (1,), seed)


def with_extra_node(bundle: Bundle, workers: Workers, folder: Path, seed: int) -> list[Trial]:
    """The graph, and a copy with nodes that are known to take 5 % or more of its time at batch 64."""
    sound = onnx_of(bundle)
    slower, share = bare_loop.slowed(Path(sound.path), folder, real_samples(bundle), 64)
    cells = [
        Named(sound, RUNTIME, "cpu", "sound"),
        Named(replace(sound, path=str(slower)), RUNTIME, "cpu", "slower"),
    ]
    return pair(bundle, workers, cells, "extra nodes, 5 % or more", 1 / (1 + share), (64,), seed)


@contextmanager
def loaded() -> Iterator[None]:
    """One other process that computes all the time; it ends with this one, however that ends."""
    words = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
    other = subprocess.Popen([sys.executable, "-c", words])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def ratios(bundle: Bundle, workers: Workers, seed: int) -> dict[str, Any]:
    """Every CPU form's ratio to eager by "label, batch", from one run as `bench` takes it; nanoseconds of what was
    timed beside it, the machine alone; and what `compare` reads of it."""
    cells = [c for c in plan(bundle.artifacts, None, "cpu")[0] if c.artifact.format != "app"]
    records = measured(bundle, workers, cells, (1, 8, 64, 512), seed, PRECISION)
    medians = {
        (r.backend, r.precision, r.artifact, r.batch): stats.medians_by_replicate(r.latencies_ns, r.replicates)
        for r in records
        if r.latencies_ns
    }
    bases = {batch: m for (backend, kind, _, batch), m in medians.items() if (backend, kind) == (BASELINE, "float32")}
    found = {}
    for (backend, _, artifact, batch), own in medians.items():
        ratio = stats.speed_ratio(bases[batch], own)
        if ratio is not None and own is not bases[batch]:
            found[f"{backend} {artifact}, {batch}"] = ratio.value
    artifacts = {a.sha256: a for a in bundle.artifacts}
    machine = dict(conditions_of(records[0]).machine_ns)
    return {"ratios": found, "machine": machine, "run": kept_run(records, artifacts)}


def whole_bench(bundle: Bundle) -> dict[str, float]:
    """Wall seconds of `pipeline bench` at its defaults over every CPU form, of a copy whose verdicts are known."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(bundle.root, Path(folder) / bundle.root.name)
        words = [sys.executable, "-m", "pipeline.cli", "bench", str(copy), "--device", "cpu", "--quiet"]
        started = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        return {"seconds": time.perf_counter() - started}


def overhead() -> dict[str, float]:
    """Nanoseconds that the measuring loop adds to a run of the null backend."""
    return {"added_ns": null_overhead().added_ns}


def agreement(bundle: Bundle, workers: Workers, folder: Path, seed: int) -> dict[str, dict[str, float]]:
    """p50 in ns of ONNX Runtime and of eager at batch 1: by our clock, which lets the two take turns, by a bare loop in
    processes of its own, and ONNX Runtime's as LoadGen's SingleStream reports it, less what it adds to the null
    backend."""
    sound = onnx_of(bundle)
    if bundle.program is None:
        raise BundleError(f"{bundle.root}: holds no model.pt2 in float32; train-export makes one")
    program = bundle.resolve(bundle.program)
    loadgen = loadgen_p50(bundle, workers, sound)
    cells = [Cell(sound, RUNTIME, "cpu"), Cell(program, BASELINE, "cpu")]
    ours = [stats.quantile(r.latencies_ns, 0.5) for r in measured(bundle, workers, cells, (1,), seed)]
    samples = real_samples(bundle, 256)
    import numpy as np

    np.savez(folder / "samples.npz", **samples)  # type: ignore[arg-type]
    bare: dict[str, list[float]] = {sound.path: [], program.path: []}
    for _ in range(REPLICATES):
        for path, medians in bare.items():
            words = [sys.executable, "-m", "pipeline.bare_loop", path, str(folder / "samples.npz")]
            answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            medians.append(float(json.loads(answer)["p50_ns"]))
    loops = [stats.quantile(medians, 0.5) for medians in bare.values()]
    return {
        "ONNX Runtime": {"ours": ours[0], "a bare loop": loops[0], "LoadGen less its overhead": loadgen},
        "eager": {"ours": ours[1], "a bare loop": loops[1]},
    }


def loadgen_p50(bundle: Bundle, workers: Workers, sound: Artifact) -> float:
    records = measure_scenarios(
        Aside(bundle),  # type: ignore[arg-type]
        workers,
        [Cell(sound, RUNTIME, "cpu")],
        [named("SingleStream")],
        Asked(min_duration_s=2.0),
        environment_id=environment().id,
        progress=Silent(),
    )
    if records[0].error:
        raise BackendFailed(records[0].error)
    return float(str(records[0].reported["result_50.00_percentile_latency_ns"])) - loadgen_overhead().added_ns
