"""Scenarios over fakes: what is recorded, what a failure costs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from latency_fakes import FakeBundle, FakeCell, FakeWorker, FakeWorkers, artifact

from export.bundle.types import TensorSpec, from_json, to_json
from export.progress import Silent
from serve_bench.latency.scenarios import _run
from serve_bench.latency.scenarios._base import Asked, Served, named
from serve_bench.latency.scenarios._record import ScenarioRecord, latest
from serve_bench.reports import _scenarios

CELLS = (FakeCell(artifact("torchscript"), "torchscript"), FakeCell(artifact("onnx"), "onnxruntime-cpu"))


class Worker(FakeWorker):
    def load(self, key, load, limit_s=None):
        self._meet("load", key)
        self.pool.limits.append((load.scenario, limit_s))
        self.pool.loads.append(load)
        count = load.min_queries if load.scenario != "Offline" else load.min_queries // load.batch
        p99 = 10**6 if load.rate < 400 else 10**9
        valid = load.scenario != "Server" or p99 <= load.latency_bound_ns
        return Served(
            latencies_ns=(10**6,) * count,
            taken=count,
            queries=1 if load.scenario == "Offline" else count,
            samples=load.min_queries * load.samples_per_query,
            duration_ns=2 * 10**9,
            valid=valid,
            long_enough=True,
            kept_up=load.scenario != "Server" or load.rate < self.pool.bears,
            reasons=() if valid else ("p99 is over the bound",),
            overhead_ns=None if load.scenario == "Offline" else 2000.0,
            reported={"result_99.00_percentile_latency_ns": p99},
            loadgen="6.0.17 @ abc",
        )


class Pool(FakeWorkers):
    def __init__(self, **more):
        super().__init__(**more)
        self.loads, self.bears = [], 1e9

    def spawn(self, family, preload, fresh=False):
        self.spawned += 1
        self.made.append((Worker(self, family), family, fresh))
        return self.made[-1][0]


@pytest.fixture(autouse=True)
def _seams(monkeypatch):
    monkeypatch.setattr(_run, "backend_named", lambda name: SimpleNamespace(family=name, preload=()))
    monkeypatch.setattr(_run, "real_samples", lambda bundle: {"x": np.ones((100, 2), np.float32)})
    monkeypatch.setattr(_run, "importable", lambda module: True)


def measure(pool, bundle=None, names=("SingleStream", "Server"), cells=CELLS, **asked):
    scenarios = [named(name) for name in names]
    return _run.measure_scenarios(
        bundle or FakeBundle(), pool, cells, scenarios, Asked(**asked), environment_id="here", progress=Silent()
    )


def test_every_scenario_and_cell_is_a_record_that_reads_back():
    bundle = FakeBundle()
    records = measure(Pool(), bundle, ("SingleStream", "MultiStream", "Offline", "Server"))
    assert [from_json(ScenarioRecord, r) for r in bundle.read("scenario")] == records
    assert len(records) == 8
    assert len({r.run for r in records}) == 1
    assert {(r.environment, r.loadgen, r.distinct_samples) for r in records} == {("here", "6.0.17 @ abc", 100)}
    assert not any(r.error for r in records)


def test_a_record_says_what_repeats_its_run():
    """The seeds and the shortest run that LoadGen was given, in every scenario."""
    bundle, pool = FakeBundle(), Pool()
    measure(pool, bundle, ("SingleStream", "MultiStream", "Offline", "Server"), min_duration_s=0.25)
    written = [(record["seeds"], record["min_duration_s"]) for record in bundle.read("scenario")]
    seeds = {"qsl_rng_seed": 1, "sample_index_rng_seed": 2, "schedule_rng_seed": 3}
    assert written == [(seeds, 0.25)] * 8
    assert all((load.seeds, load.min_duration_s) == (seeds, 0.25) for load in pool.loads)


def test_what_loadgen_is_told_follows_the_pilot():
    """The fake's pilot takes 1 ms a sample: half of that is expected, Offline's rate above it."""
    pool = Pool()
    measure(pool, names=("SingleStream", "MultiStream", "Offline"), cells=CELLS[1:], min_duration_s=2.0)
    single, multi, offline = pool.loads
    assert (single.expected_ns, single.min_queries) == (500_000, 64)
    assert (multi.expected_ns, multi.min_queries, multi.samples_per_query, multi.batch) == (4_000_000, 662, 8, 8)
    assert offline.min_queries % 64 == 0
    assert 2000 < offline.min_queries <= 3072


@pytest.mark.parametrize(
    ("base_ns", "min_duration_s", "limits"),
    [
        # a run takes `base_ns` a sample: 64 queries of one, 662 of eight, and of Offline one batch of 64 and 64 µs
        (10**6, 0.1, {"SingleStream": 30.0, "MultiStream": 105.92, "Offline": 30.0}),
        (10**6, 100.0, {"SingleStream": 2000.0, "MultiStream": 2000.0}),
        (10**9, 0.1, {"SingleStream": 1280.0, "MultiStream": 105_920.0, "Offline": 1280.00128}),
    ],
)
def test_a_scenario_has_twenty_times_what_it_should_take(base_ns, min_duration_s, limits):
    pool = Pool(base_ns=base_ns)
    measure(pool, names=limits, cells=CELLS[1:], min_duration_s=min_duration_s)
    assert loaded(pool) == [(name, pytest.approx(limit)) for name, limit in limits.items()]


def loaded(pool):
    """Scenario and limit of every run of LoadGen."""
    return [limit for limit in pool.limits if limit[0] not in ("open", "warm_up")]


def test_offline_and_server_have_twenty_times_what_they_should_take():
    pool = Pool()
    measure(pool, names=("Offline", "Server"), cells=CELLS[1:], min_duration_s=600.0)
    (_, offline), *servers = loaded(pool)
    # one and a half times the minimum duration, up to a whole batch of 64 ms
    assert 20 * 900 <= offline < 20 * 901
    assert servers == [("Server", 12_000.0)] * len(servers)
    pool = Pool()
    measure(pool, names=("Server",), cells=CELLS[1:], min_duration_s=0.1)
    assert loaded(pool) == [("Server", pytest.approx(max(30, 20 * 662 / load.rate))) for load in pool.loads]


def test_server_keeps_every_rate_and_the_highest_that_held():
    record = measure(Pool(), names=("Server",), cells=CELLS[1:])[0]
    assert record.latency_bound_ns == 10_000_000
    assert record.bound_from == "10 times the pilot's median"
    assert 380 <= record.rate < 400
    assert record.rate == max(t.rate for t in record.trials if t.valid)
    assert {t.reasons for t in record.trials if not t.valid} == {("p99 is over the bound",)}
    assert record.valid


def test_a_rate_whose_queue_grows_to_the_end_does_not_hold():
    pool = Pool()
    pool.bears = 100.0
    record = measure(pool, names=("Server",), cells=CELLS[1:])[0]
    assert 95 <= record.rate < 100
    assert any(t.valid and not t.kept_up for t in record.trials)


def test_a_bound_that_no_rate_meets_is_a_row_that_says_so():
    record = measure(Pool(), names=("Server",), cells=CELLS[1:], latency_bound_ns=1000)[0]
    assert (record.valid, record.rate, record.bound_from, len(record.trials)) == (False, None, "given", 4)
    text = _scenarios.cells(_scenarios.rows_of(FakeBundle({"scenario": [to_json(record)]}), [artifact("onnx")])[0])
    assert text[1].startswith("no rate held: p99 1.00 ms at 62.2 queries/s")


@pytest.mark.parametrize("where", ["open", "warm_up", "load"])
def test_a_backend_that_fails_or_dies_is_a_record_and_the_rest_stands(where):
    batch = 1 if where == "warm_up" else None
    for pool in (Pool(dies=[(where, "torchscript", batch)]), Pool(breaks=[(where, "torchscript", batch)])):
        records = measure(pool)
        assert {r.backend for r in records if r.error} == {"torchscript"}
        assert sum(not r.error for r in records) == 2
        assert all(worker.stopped for worker, _, _ in pool.made)


def test_what_was_done_before_an_interruption_is_kept():
    class Interrupted(Pool):
        def spawn(self, family, preload, fresh=False):
            if self.spawned == 1:
                raise KeyboardInterrupt
            return super().spawn(family, preload, fresh)

    bundle, pool = FakeBundle(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        measure(pool, bundle)
    assert [r["backend"] for r in bundle.read("scenario")] == ["torchscript"]
    assert pool.made[0][0].stopped


def test_the_last_record_of_each_is_shown_as_the_last_was_taken():
    bundle = FakeBundle()
    measure(Pool(), bundle)
    newer = measure(Pool(), bundle, names=("Server",))
    assert [r for r in latest(bundle) if r.scenario == "Server"] == newer
    assert {r.scenario for r in latest(bundle)} == {"SingleStream", "Server"}
    bound = measure(Pool(dies=[("load", "torchscript", None)]), bundle, names=("Server",), latency_bound_ns=10**8)
    assert [r for r in latest(bundle) if r.scenario == "Server"] == bound
    bundle.append("scenario", to_json(replace(newer[0], environment="elsewhere")))
    assert [r.environment for r in latest(bundle) if r.scenario == "Server"] == ["elsewhere"]
    assert {r.environment for r in latest(bundle) if r.scenario == "SingleStream"} == {"here"}


def test_a_form_runs_in_the_batch_that_it_takes():
    made = artifact("onnx")
    assert _run.batch_of(made, 64) == 64
    fixed = replace(made, inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 2)),))
    assert _run.batch_of(fixed, 64) == 1
    engine = replace(made, facts={"profile": {"x": {"min": [1, 2], "opt": [8, 2], "max": [32, 2]}}})
    assert (_run.batch_of(engine, 64), _run.batch_of(engine, 8)) == (32, 8)
