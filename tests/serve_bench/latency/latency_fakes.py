"""A bundle, cells and workers without files, processes or waiting."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from export.bundle.errors import BackendFailed, WorkerDied, WorkerHung
from export.bundle.types import Artifact, TensorSpec
from serve_bench.exchange import read_arrays

BATCH_AXIS = ("batch", 2)
SPECS = {
    "inputs": (TensorSpec(name="x", dtype="float32", shape=BATCH_AXIS),),
    "outputs": (TensorSpec(name="y", dtype="float32", shape=BATCH_AXIS),),
}


def artifact(format: str, precision: str = "float32") -> Artifact:
    return Artifact(
        format=format,
        precision=precision,
        path=f"model.{format}.{precision}",
        sha256=f"{format}-{precision}",
        content=f"{format}-{precision}",
        bytes=1000,
        parent=None,
        producers={},
        build_seconds=0.0,
        **SPECS,
    )


@dataclass(frozen=True)
class FakeCell:
    artifact: Artifact
    backend: str
    device: str = "cpu"

    @property
    def key(self):
        return f"{self.artifact.name}|{self.backend}|{self.device}"

    @property
    def label(self):
        return self.backend


@dataclass
class FakeBundle:
    records: dict = field(default_factory=dict)
    manifest = SimpleNamespace(**SPECS)

    def read(self, kind):
        return self.records.get(kind, [])

    def append(self, kind, record):
        self.records.setdefault(kind, []).append(record)

    def resolve(self, artifact):
        return artifact


@dataclass
class FakeWorker:
    """Latencies by (backend, batch); `breaks`, `dies` and `hangs` name what fails and in which call."""

    pool: "FakeWorkers"
    family: str
    backends: dict = field(default_factory=dict)
    bound: list = field(default_factory=list)
    hung_up: bool = False
    stopped: bool = False

    def load_inputs(self, path: Path) -> None:
        assert read_arrays(path)["x"].dtype == np.float32

    def _meet(self, what, key, batch=None):
        where = (what, self.backends.get(key, key), batch)
        self.pool.calls.append((where, id(self)))
        if where in self.pool.hangs:
            raise WorkerHung(f"{where[1]}: its process ended: no answer to {what!r} within 30 s")
        if where in self.pool.dies:
            raise WorkerDied(f"{where[1]}: its process ended: killed by SIGSEGV")
        if where in self.pool.breaks:
            raise BackendFailed(f"{where[1]}: no")

    def start(self, key, backend, artifact, device, threads, limit_s=None):
        self.backends[key] = backend
        self._meet("open", key)
        self.pool.limits.append(("open", limit_s))
        return SimpleNamespace(open_ns=1000 + self.pool.spawned, settings={"threads": threads})

    def examine(self, key):
        self._meet("examine", key)
        return SimpleNamespace(precision=self.pool.precision)

    def open(self, key, backend, artifact, device, threads, limit_s=None):
        started = self.start(key, backend, artifact, device, threads, limit_s)
        return SimpleNamespace(**vars(started), **vars(self.examine(key)))

    def warm_up(self, key, batch, boundary, within_s, limit_s=None):
        self.pool.limits.append(("warm_up", limit_s))
        self._meet("warm_up", key, batch)
        run_ns = self.pool.run_ns(self.backends[key], batch)
        return SimpleNamespace(
            runs=4, settled=batch < 64, median_ns=run_ns * self.pool.warm_factor, first_run_ns=10 * run_ns
        )

    def measure(self, key, batch, boundary, runs, offset, limit_s=None):
        self._meet("measure", key, batch)
        self.pool.offsets.setdefault((key, batch), []).append((offset, runs))
        return [self.pool.run_ns(self.backends[key], batch)] * runs

    def page_faults(self):
        return sum(runs for visits in self.pool.offsets.values() for _, runs in visits) * self.pool.faults_a_run

    def bind(self, cores):
        if self.pool.unbindable:
            raise PermissionError("no")
        self.bound.append(tuple(cores))

    def hang_up(self):
        self.hung_up = True

    def stop(self):
        assert self.hung_up
        self.stopped = True


class FakeWorkers:
    def __init__(self, breaks=(), dies=(), hangs=(), base_ns=1_000_000, warm_factor=1):
        self.warm_factor = warm_factor
        self.breaks, self.dies, self.hangs, self.base_ns = set(breaks), set(dies), set(hangs), base_ns
        self.precision = "float32"
        self.limits = []
        self.calls, self.offsets, self.made = [], {}, []
        self.spawned = 0
        self.unbindable = False
        self.faults_a_run = 0

    def run_ns(self, backend, batch):
        return self.base_ns * batch * (2 if backend == "eager" else 1)

    def spawn(self, family, preload, fresh=False):
        self.spawned += 1
        worker = FakeWorker(self, family)
        self.made.append((worker, family, fresh))
        return worker
