"""One LoadGen run, inside the child process that holds the session.

An exception inside LoadGen's issue callback would end the interpreter with a signal, so the callback catches
everything, completes its queries at once and leaves the error to be raised when LoadGen has returned.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BackendFailed
from export.bundle.types import TensorSpec
from serve_bench._child import fixed_batch
from serve_bench.backends._base import Arrays, Session
from serve_bench.backends._helpers import batch_axis, first_line
from serve_bench.latency.clock import no_collection, timed_answer
from serve_bench.latency.scenarios._arrivals import arrivals, from_arrival, idle
from serve_bench.latency.scenarios._base import Load, Served

MOST_KEPT = 100_000
CHECKS = {
    "result_perf_constraints_met": "p99 is over the bound",
    "result_min_duration_met": "it was over before the minimum duration",
    "result_min_queries_met": "fewer queries than the minimum",
    "early_stopping_met": "early stopping is not satisfied",
}
"""What LoadGen checks, and how it is said where it was not met."""


class Queries:
    """LoadGen's system under test: one session, its real samples, and the stamps of every run."""

    def __init__(self, session: Session, specs: Sequence[TensorSpec], inputs: Arrays, batch: int, loadgen: Any) -> None:
        self.begun: list[int] = []
        """Stamps in ns: before the samples of a run are put together, …"""
        self.ended: list[int] = []
        """… and with its answers in host memory."""
        self.first_run: list[int] = []
        """Index of the first run of each query."""
        self.samples = 0
        self.failure: BaseException | None = None
        self._session, self._batch, self._loadgen = session, batch, loadgen
        self._fixed = fixed_batch(specs) or 1
        self._axes = {s.name: batch_axis(s) or 0 for s in specs}
        self._inputs = inputs
        first = specs[0]
        self.count = int(inputs[first.name].shape[self._axes[first.name]])
        self._alone = [self._take([i]) for i in range(self.count)] if batch == 1 else []

    def _take(self, rows: Sequence[int]) -> Arrays:
        """The samples `rows`; a graph whose batch is fixed has it filled up with repetitions of the last one."""
        rows = [*rows, *[rows[-1]] * (self._fixed - len(rows))]
        return {n: np.ascontiguousarray(np.take(self._inputs[n], rows, axis=axis)) for n, axis in self._axes.items()}

    def _batch_of(self, rows: Sequence[int]) -> Arrays:
        return self._alone[rows[0]] if self._batch == 1 else self._take(rows)

    def issue(self, query: Sequence[Any]) -> None:
        """The callback: answers `query` in runs of at most the batch, each completed as it is answered."""
        done = 0
        try:
            if self.failure is None:
                self.first_run.append(len(self.begun))
                while done < len(query):
                    part = query[done : done + self._batch]
                    rows = [sample.index for sample in part]
                    begun, ended = timed_answer(self._session, self._batch_of, rows)
                    self._complete(part)
                    done += len(part)
                    self.begun.append(begun)
                    self.ended.append(ended)
                self.samples += len(query)
        except BaseException as error:
            self.failure = error
        finally:
            if done < len(query):
                self._complete(query[done:])

    def _complete(self, part: Sequence[Any]) -> None:
        response = self._loadgen.QuerySampleResponse
        self._loadgen.QuerySamplesComplete([response(sample.id, 0, 0) for sample in part])


def run_load(session: Session, specs: Sequence[TensorSpec], inputs: Arrays, load: Load, directory: Path) -> Served:
    """Runs LoadGen once over real samples; its files go to a folder inside `directory` that is removed.

    Raises whatever the session raised, as BackendFailed where that is no ordinary exception.
    """
    import mlperf_loadgen

    queries = Queries(session, specs, inputs, load.batch, mlperf_loadgen)
    with tempfile.TemporaryDirectory(prefix="loadgen-", dir=directory) as folder, no_collection(), _prompt_timers():
        _start(mlperf_loadgen, queries, load, Path(folder))
        reported = read_detail(Path(folder) / "mlperf_log_detail.txt")
    if isinstance(queries.failure, Exception):
        raise queries.failure
    if queries.failure is not None:
        raise BackendFailed(f"{type(queries.failure).__name__}: {first_line(queries.failure)}") from queries.failure
    return _served(queries, load, reported)


def _start(loadgen: Any, queries: Queries, load: Load, folder: Path) -> None:
    output = loadgen.LogOutputSettings()
    output.outdir = str(folder)
    output.copy_summary_to_stdout = False
    log = loadgen.LogSettings()
    log.log_output = output
    log.enable_trace = False
    system = loadgen.ConstructSUT(queries.issue, lambda: None)
    library = loadgen.ConstructQSL(queries.count, queries.count, lambda _: None, lambda _: None)
    try:
        audit = str(folder / "audit.config")
        loadgen.StartTestWithLogSettings(system, library, _settings(loadgen, load), log, audit)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)


def _settings(loadgen: Any, load: Load) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, load.scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = math.ceil(load.min_duration_s * 1000)
    settings.min_query_count = load.min_queries
    for name, seed in load.seeds.items():
        setattr(settings, name, seed)
    if load.scenario == "SingleStream":
        settings.single_stream_expected_latency_ns = load.expected_ns
    elif load.scenario == "MultiStream":
        settings.multi_stream_expected_latency_ns = load.expected_ns
        settings.multi_stream_samples_per_query = load.samples_per_query
    elif load.scenario == "Offline":
        settings.offline_expected_qps = load.rate
    else:
        settings.server_target_qps = load.rate
        settings.server_target_latency_ns = load.latency_bound_ns
        settings.server_target_latency_percentile = 0.99
    return settings


@contextmanager
def _prompt_timers() -> Iterator[None]:
    """Timer slack of this thread 1 ns instead of 50 µs (Linux): LoadGen sleeps until an arrival, and would be late."""
    if sys.platform != "linux":
        yield
        return
    import ctypes

    set_slack, get_slack, libc = 29, 30, ctypes.CDLL(None)
    before = libc.prctl(get_slack, 0, 0, 0, 0)
    libc.prctl(set_slack, ctypes.c_ulong(1), 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(set_slack, ctypes.c_ulong(max(before, 1)), 0, 0, 0)


def read_detail(path: Path) -> dict[str, Any]:
    """LoadGen's own figures: the last value of each key; errors as a list under "errors".

    Raises BackendFailed where there is no verdict in it.
    """
    found: dict[str, Any] = {"errors": []}
    text = path.read_text(errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        if not line.startswith(":::MLLOG "):
            continue
        entry = json.loads(line.removeprefix(":::MLLOG "))
        found[entry["key"]] = entry["value"]
        if entry["metadata"].get("is_error"):
            found["errors"].append(str(entry["value"]))
    if "result_validity" not in found:
        raise BackendFailed("LoadGen ended without a verdict: its detail log holds none")
    return found


def _served(queries: Queries, load: Load, reported: Mapping[str, Any]) -> Served:
    begun, ended = (np.array(stamps, np.int64) for stamps in (queries.begun, queries.ended))
    latencies, overhead, duration, kept_up = ended - begun, None, int(ended[-1] - begun[0]), True
    if load.scenario == "Server":
        due = arrivals(load.seeds["schedule_rng_seed"], load.rate, len(ended))
        latencies, overhead = from_arrival(begun, ended, due, reported)
        kept_up = bool(idle(ended, latencies)[-math.ceil(len(ended) / 4) :].any())
    elif load.scenario == "Offline":
        duration = int(reported["result_max_latency_ns"])
    else:
        first = np.array(queries.first_run)
        last = np.append(first[1:], len(ended)) - 1
        latencies = ended[last] - begun[first]
        overhead = int(reported["result_50.00_percentile_latency_ns"]) - float(np.median(latencies))
    reasons = [said for check, said in CHECKS.items() if reported.get(check) is False]
    return Served(
        latencies_ns=tuple(map(int, latencies[:: math.ceil(len(latencies) / MOST_KEPT)])),
        taken=len(latencies),
        queries=len(queries.first_run),
        samples=queries.samples,
        duration_ns=duration,
        valid=reported["result_validity"] == "VALID",
        kept_up=kept_up,
        long_enough=reported.get("result_min_duration_met") is True,
        reasons=(*reasons, *reported["errors"]),
        overhead_ns=overhead,
        reported={k: v for k, v in reported.items() if k.startswith("result_") and not isinstance(v, (str, bool))},
        loadgen=str(reported.get("loadgen_version", "")),
    )
