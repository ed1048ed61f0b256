"""Sweeps over fakes: which points are taken, what ends a series, what a failure costs."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from latency_fakes import FakeBundle, FakeCell, FakeWorker, FakeWorkers, artifact

from export.bundle.errors import Untrusted
from export.bundle.types import TensorSpec, from_json, to_json
from export.progress import Silent
from serve_bench.exchange import read_arrays
from serve_bench.latency import clock
from serve_bench.latency.sweeps import _run, _series, concurrency, threads
from serve_bench.latency.sweeps._types import SweepPoint

CELLS = (
    FakeCell(artifact("exported_program"), "eager"),
    FakeCell(artifact("onnx"), "onnxruntime-cpu"),
    FakeCell(artifact("onnx", "float16"), "onnxruntime-cpu"),
)
SEQUENCE = (
    TensorSpec(name="x", dtype="float32", shape=("batch", "length")),
    TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1.0, high=4.0),
)


@dataclass
class Worker(FakeWorker):
    """Runs that follow each other without a gap, from the barrier on, or late by `late` of the time told or by
    `late_ns`."""

    def measure_between(self, key, batch, start_ns, end_ns, offset, limit_s=None):
        self.pool.limits.append(("measure_between", limit_s, (end_ns - start_ns) / 1e9))
        self._meet("measure_between", key, batch)
        run_ns = self.pool.run_ns(self.backends[key], batch)
        late = offset * (self.pool.late_ns or self.pool.late * (end_ns - start_ns))
        count = max(1, (end_ns - start_ns) // run_ns)
        return [round(late) + i * run_ns for i in range(count)], [run_ns] * count


class Workers(FakeWorkers):
    """`rises`: up to which batch a run takes no longer than one sample."""

    def __init__(self, rises=1, late=0, late_ns=0, **more):
        super().__init__(**more)
        self.rises, self.late, self.late_ns = rises, late, late_ns

    def run_ns(self, backend, batch):
        return super().run_ns(backend, 1) * max(batch // self.rises, 1)

    def spawn(self, family, preload, fresh=False):
        self.spawned += 1
        worker = Worker(self, family)
        self.made.append((worker, family, fresh))
        return worker


@pytest.fixture(autouse=True)
def _seams(monkeypatch):
    def backend_named(name):
        return SimpleNamespace(family=name, preload=(name,), boundaries=lambda device: ("host", "device"))

    monkeypatch.setattr(_series, "backend_named", backend_named)
    monkeypatch.setattr(_series, "topology", lambda: None)
    monkeypatch.setattr(_run, "real_samples", lambda bundle: {"x": np.ones((100, 2), np.float32)})


def sweep(name, workers=None, bundle=None, cells=CELLS, **changes):
    settings = {"environment_id": "here", "budget_s": 30.0}
    bundle = bundle or FakeBundle()
    points = _run.sweep_bundle(bundle, workers or Workers(), cells, (name,), progress=Silent(), **(settings | changes))
    assert [from_json(SweepPoint, record) for record in bundle.read("sweep")] == points
    return points


def by_label(points):
    found = {}
    for point in points:
        found.setdefault((point.backend, point.artifact), []).append(point)
    return found


def test_batches_are_doubled_until_the_throughput_stops_rising():
    for points in by_label(sweep("batch", Workers(rises=4))).values():
        # a run of up to four samples takes as long as one: 1, 2, 4 rise, 8 and 16 do not
        assert [p.batch for p in points] == [1, 2, 4, 8, 16]
        assert {p.ended for p in points} == {"throughput stopped rising"}
        assert not any(p.error for p in points)
        assert all(set(p.replicates) == {0, 1, 2} for p in points)


def test_a_batch_sweep_ends_at_its_limit():
    points = sweep("batch", Workers(rises=64), limit=6)
    assert sorted({p.batch for p in points}) == [1, 2, 4]
    assert {p.ended for p in points} == {"limit 4"}


def test_a_batch_that_fails_ends_its_own_series_only():
    series = by_label(sweep("batch", Workers(rises=64, breaks=[("warm_up", "eager", 4)]), limit=16))
    eager = series["eager", "exported_program"]
    assert [(p.batch, p.error) for p in eager] == [(1, ""), (2, ""), (4, "eager: no")]
    assert eager[-1].latencies_ns == ()
    assert {p.ended for p in eager} == {"error"}
    assert [p.batch for p in series["onnxruntime-cpu", "onnx"]] == [1, 2, 4, 8, 16]


def test_a_process_that_dies_costs_its_own_series_only():
    series = by_label(sweep("batch", Workers(rises=64, dies=[("measure", "eager", 2)]), limit=4))
    assert "SIGSEGV" in series["eager", "exported_program"][-1].error
    assert [p.batch for p in series["onnxruntime-cpu", "onnx float16"]] == [1, 2, 4]


def test_a_step_that_would_take_longer_than_its_share_ends_the_series_with_a_row_that_says_so():
    points = sweep("batch", Workers(base_ns=10**8, rises=1), cells=CELLS[1:2], budget_s=5.0)
    # batch 1 takes 0.1 s a run: 3 replicates of 4 timed runs and 2 untimed ones
    assert [p.batch for p in points][:2] == [1, 2]
    assert {p.ended for p in points} == {"budget"}
    assert "3 × 4 runs would take about 3.6 s, its share of the budget is 2.5 s" in points[-1].error
    assert points[-1].latencies_ns == ()


def test_a_file_that_is_not_to_be_opened_is_a_row():
    class Stranger(FakeBundle):
        def resolve(self, artifact):
            if artifact.format == "exported_program":
                raise Untrusted("add --trust")
            return artifact

    series = by_label(sweep("batch", bundle=Stranger(), limit=2))
    assert [(p.batch, p.error, p.ended) for p in series["eager", "exported_program"]] == [(1, "add --trust", "error")]
    assert [p.batch for p in series["onnxruntime-cpu", "onnx"]] == [1, 2]


def test_threads_go_up_to_the_cores_at_two_batches(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 6)
    points = sweep("threads", cells=CELLS[:1])
    assert [(p.batch, p.threads) for p in points] == [(b, n) for b in (1, 64) for n in (1, 2, 4, 6)]
    assert {p.settings["threads"] for p in points} == {1, 2, 4, 6}
    assert {p.ended for p in points} == {"every core (6)"}
    chosen = sweep("threads", cells=CELLS[:1], batches=(8,))
    assert {p.batch for p in chosen} == {8}


def test_threads_of_the_cpu_are_not_the_axis_of_a_gpu():
    gpu = FakeCell(CELLS[1].artifact, "onnxruntime-cpu", "cuda")
    points = sweep("threads", cells=[gpu, CELLS[0]])
    assert [p.error for p in points if p.device == "cuda"] == [
        "it computes on cuda: threads of the CPU are not its axis"
    ] * 2
    assert not any(p.error for p in points if p.device == "cpu")


def test_every_precision_is_compared_with_float32_on_the_same_backend():
    points = sweep("precision")
    assert Counter((p.artifact, p.batch) for p in points) == Counter(
        (c.artifact.name, b) for c in CELLS for b in (1, 64)
    )
    entry = _run.sweep_named("precision")
    bases = {(p.artifact, p.batch): entry.base(p, points) for p in points}
    assert {(b.artifact, b.batch) for (a, _), b in bases.items() if a == "onnx float16"} == {("onnx", 1), ("onnx", 64)}
    assert bases["exported_program", 1].backend == "eager"


def test_lengths_go_up_to_the_documented_one(monkeypatch):
    class Text(FakeBundle):
        manifest = SimpleNamespace(inputs=SEQUENCE, outputs=())

    samples = {"x": np.ones((5, 3), np.float32), "lengths": np.array([3, 2, 1, 3, 3])}
    monkeypatch.setattr(_run, "real_samples", lambda bundle: samples)
    seen = []

    class Reader(Worker):
        def load_inputs(self, path: Path) -> None:
            given = read_arrays(path)
            seen.append((given["x"].shape[1], frozenset(given["lengths"].tolist())))

    class Readers(Workers):
        def spawn(self, family, preload, fresh=False):
            worker = Reader(self, family)
            self.made.append((worker, family, fresh))
            return worker

    points = sweep("length", Readers(), bundle=Text(), cells=CELLS[:1], replicates=2)
    assert [(p.batch, p.length) for p in points] == [(b, n) for b in (1, 64) for n in (1, 2, 4)]
    assert {p.ended for p in points} == {"longest documented (4)"}
    assert Counter(seen) == {(n, frozenset({n})): 2 for n in (1, 2, 4)}


def test_a_batch_that_fails_along_another_axis_leaves_the_other_batch_its_series(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    points = sweep("threads", Workers(breaks=[("warm_up", "eager", 64)]), cells=CELLS[:1])
    assert [(p.batch, p.threads, bool(p.error)) for p in points] == [
        (1, 1, False),
        (1, 2, False),
        (1, 4, False),
        (64, 1, True),
    ]


def windows(workers):
    """Lengths of the windows that the processes were told, s."""
    return [limit[2] for limit in workers.limits if limit[0] == "measure_between"]


def test_several_processes_run_at_once_and_only_the_common_window_counts(monkeypatch):
    monkeypatch.setattr(concurrency, "available_cores", lambda: 2)
    points = sweep("concurrency", Workers(late=0.5), cells=CELLS[1:2])
    assert [p.processes for p in points] == [1, 2]
    one, two = points
    assert {w.replicate for w in two.windows} == {0, 1, 2}
    assert len(two.starts_ns) == len(two.process_of) == len(two.latencies_ns) == len(two.replicates)
    assert set(two.process_of) == {0, 1}
    # the second begins half-way: half of the runs of each lie in the window
    counted = sum(map(len, two.counted()))
    assert counted == pytest.approx(len(two.latencies_ns) / 2, rel=0.1)
    assert two.throughput() == pytest.approx(2 * one.throughput(), rel=0.1)
    assert {p.ended for p in points} == {"every core (2)"}


def test_processes_that_never_meet_are_a_row(monkeypatch):
    monkeypatch.setattr(concurrency, "available_cores", lambda: 2)
    workers = Workers(late=2)
    points = sweep("concurrency", workers, cells=CELLS[1:2])
    one, *told = windows(workers)
    assert told == pytest.approx([one] * 2 + [2 * one] * 2 + [4 * one] * 2 + [one] * 2)
    meant = f"there was no time in which all 2 processes were running, in 3 windows of up to {4e3 * one:.0f} ms"
    assert points[1].error == meant
    assert points[1].windows == ()
    assert not points[0].error


def test_a_window_that_a_late_process_missed_is_taken_again_twice_as_long(monkeypatch):
    monkeypatch.setattr(concurrency, "available_cores", lambda: 2)
    workers = Workers(late_ns=2 * 10**9)
    points = sweep("concurrency", workers, cells=CELLS[1:2], budget_s=9.0)
    assert [p.error for p in points] == ["", ""]
    assert {w.replicate for w in points[1].windows} == {0, 1, 2}
    assert all(w.start_ns == 2 * 10**9 and w.end_ns > w.start_ns for w in points[1].windows)
    assert [{w.tries for w in point.windows} for point in points] == [{1}, {2}]


def test_a_window_is_no_shorter_than_a_few_time_slices():
    workers = Workers(base_ns=1000)
    sweep("concurrency", workers, cells=CELLS[1:2], processes=1, budget_s=1e-3)
    assert windows(workers) == [0.02] * 3


def test_what_hangs_in_a_window_is_ended_after_what_the_window_should_take():
    """The fake opens in about a microsecond; its runs at batch 1 take 4 s, its first ones ten times as long. A window
    of the least runs is 48 s; its limit is twenty times that, a run and what comes before the barrier."""
    workers = Workers(base_ns=4 * 10**9)
    sweep("concurrency", workers, cells=CELLS[1:2], processes=1)
    timed = [limit for limit in workers.limits if limit[0] == "measure_between"]
    assert timed == [("measure_between", pytest.approx(20 * (48 + 4 + concurrency.LEAD_S)), 48.0)] * 3
    others = [limit for limit in workers.limits if limit[0] != "measure_between"]
    assert others == [("open", None), ("warm_up", None), *[("open", 30.0), ("warm_up", 800.0)] * 2]


def test_more_processes_than_cores_are_asked_for_and_all_are_ended():
    workers = Workers(breaks=[("measure_between", "eager", 1)])
    series = by_label(sweep("concurrency", workers, cells=CELLS[:2], processes=4))
    assert [p.processes for p in series["onnxruntime-cpu", "onnx"]] == [1, 2, 4]
    assert {p.ended for p in series["onnxruntime-cpu", "onnx"]} == {"--concurrency 4"}
    assert [(p.processes, p.error) for p in series["eager", "exported_program"]] == [(1, "eager: no")]
    assert all(worker.stopped for worker, _, _ in workers.made)


def test_the_newest_whole_run_of_each_sweep_is_shown():
    bundle = FakeBundle()
    first = sweep("batch", bundle=bundle, limit=2)
    second = _run.sweep_bundle(bundle, Workers(), CELLS, ("batch",), progress=Silent(), environment_id="here", limit=4)
    assert _run.whole_sweeps(bundle) == {"batch": tuple(second)}
    bundle.records["sweep"].pop()
    assert _run.whole_sweeps(bundle) == {"batch": tuple(first)}
    assert to_json(first[0])["facts"]["points"] == 6


class Session:
    """Calls in order."""

    def __init__(self):
        self.calls = []

    def bind(self, batch):
        self.calls.append(batch)

    def run(self):
        self.calls.append("run")

    sync = outputs = lambda self: None


def test_runs_between_two_times_begin_in_them_and_take_turns_with_the_batches():
    session = Session()
    start = clock.soon_ns(0.002)
    starts, latencies = clock.runs_between(session, ["a", "b", "c"], start, start + 2_000_000, 1)
    assert starts[0] >= 0
    assert starts[-1] < 2_000_000
    assert len(starts) == len(latencies) > 3
    assert session.calls[:8:2] == ["b", "c", "a", "b"]


def test_one_run_is_made_even_where_the_time_is_over():
    session = Session()
    starts, latencies = clock.runs_between(session, ["a"], clock.soon_ns(-1), clock.soon_ns(-0.5), 0)
    assert len(starts) == len(latencies) == 1
    assert starts[0] > 0
