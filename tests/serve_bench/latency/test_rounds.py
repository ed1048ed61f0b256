"""The interleaved run over fakes: which processes are made, what is recorded, what a failure costs."""

from collections import Counter
from contextlib import nullcontext
from itertools import pairwise
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from latency_fakes import FakeBundle, FakeCell, FakeWorkers, artifact
from verdicts import verdict

from export.bundle.errors import UsageError
from export.bundle.types import Measurement, from_json
from export.progress import Silent
from serve_bench.latency import cores, gpu_state, peak, rounds, twin
from serve_bench.reports import _warnings

FAMILIES = {"eager": "torch", "torchscript": "torch", "onnxruntime-cpu": "onnxruntime-cpu"}
CELLS = (
    FakeCell(artifact("exported_program"), "eager"),
    FakeCell(artifact("torchscript"), "torchscript"),
    FakeCell(artifact("onnx"), "onnxruntime-cpu"),
    FakeCell(artifact("onnx", "float16"), "onnxruntime-cpu"),
)


class Notes(Silent):
    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.fixture(autouse=True)
def _seams(monkeypatch):
    def backend_named(name):
        return SimpleNamespace(family=FAMILIES[name], preload=(name,), boundaries=lambda device: ("host", "device"))

    monkeypatch.setattr(rounds, "backend_named", backend_named)
    monkeypatch.setattr(rounds, "topology", lambda: None)
    monkeypatch.setattr(cores, "LOOK_S", 0.0)
    monkeypatch.setattr(peak, "peak_facts", lambda threads: {"threads": threads})
    monkeypatch.setattr(rounds, "real_samples", lambda bundle: {"x": np.ones((100, 2), np.float32)})


def measure(workers, bundle=None, cells=CELLS, progress=None, **changes):
    settings = {"batches": (1, 8), "budget_s": 15.0, "replicates": 10, "environment_id": "here", "seed": 3}
    return rounds.measure_bundle(
        bundle or FakeBundle(), workers, cells, progress=progress or Silent(), **(settings | changes)
    )


def test_every_subject_is_recorded_in_one_run():
    bundle = FakeBundle()
    records = measure(FakeWorkers(), bundle)
    assert [from_json(Measurement, r) for r in bundle.read("measurement")] == records
    assert len({r.run for r in records}) == 1
    assert Counter((r.artifact, r.backend, r.batch) for r in records) == Counter(
        (c.artifact.name, c.backend, b) for c in CELLS for b in (1, 8)
    )
    assert {r.facts["cells"] for r in records} == {8}
    assert not any(r.error for r in records)


def test_every_replicate_and_round_is_in_the_record():
    for record in measure(FakeWorkers()):
        assert set(record.replicates) == set(range(10))
        assert set(record.rounds) == set(range(rounds.ROUNDS))
        assert len(record.latencies_ns) == len(record.replicates) == len(record.rounds)


def test_every_session_has_a_process_that_is_made_anew_in_every_replicate():
    workers = FakeWorkers()
    measure(workers)
    assert Counter(family for _, family, _ in workers.made) == {"torch": 20, "onnxruntime-cpu": 20}
    assert all(worker.stopped for worker, _, _ in workers.made)
    assert not any(fresh for _, _, fresh in workers.made)


def test_on_a_gpu_a_family_shares_a_process_and_they_are_set_up_one_at_a_time():
    workers = FakeWorkers()
    cells = [FakeCell(cell.artifact, cell.backend, "cuda") for cell in CELLS]
    records = measure(workers, cells=cells, replicates=2)
    assert Counter(family for _, family, _ in workers.made) == {"torch": 2, "onnxruntime-cpu": 2}
    assert {r.facts["set_up_at_a_time"] for r in records} == {1}


def test_processes_are_set_up_side_by_side_and_timed_one_at_a_time(monkeypatch):
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: 4)
    both = Barrier(2)

    class Meeting(FakeWorkers):
        def spawn(self, family, preload, fresh=False):
            both.wait(timeout=30)
            return super().spawn(family, preload, fresh)

    workers = Meeting()
    records = measure(workers, replicates=2, threads=2)
    assert {r.facts["set_up_at_a_time"] for r in records} == {2}
    assert not any(r.error for r in records)
    what = [where[0] for where, _ in workers.calls]
    assert set(what[what.index("measure") : what.index("examine")]) == {"measure"}


def test_more_threads_than_half_the_cores_set_up_one_at_a_time(monkeypatch):
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: 4)
    records = measure(FakeWorkers(), replicates=2, threads=3)
    assert {r.facts["set_up_at_a_time"] for r in records} == {1}


def test_two_processes_that_die_side_by_side_void_a_replicate_each(monkeypatch):
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: 4)
    workers = FakeWorkers(dies=[("open", "eager", None), ("open", "torchscript", None)])
    records = measure(workers)
    assert {r.backend for r in records if r.error} == {"eager", "torchscript"}
    assert all(set(r.replicates) == set(range(10)) for r in records if not r.error)
    assert {r.facts["void_replicates"] for r in records} == {2}
    assert all(worker.stopped for worker, _, _ in workers.made)


def test_isolated_sessions_have_a_fresh_process_each():
    workers = FakeWorkers()
    measure(workers, isolate=True, replicates=2)
    assert len(workers.made) == 2 * len(CELLS)
    assert all(fresh for _, _, fresh in workers.made)


def test_the_order_is_random_and_the_seed_repeats_it(monkeypatch):
    monkeypatch.setattr("serve_bench.latency.conditions.available_cores", lambda: 1)

    def opened(seed):
        workers = FakeWorkers()
        measure(workers, seed=seed)
        return [where[1] for where, _ in workers.calls if where[0] == "open"]

    assert opened(1) == opened(1) != opened(2)


def test_a_session_is_warmed_up_from_its_smallest_batch_to_its_largest():
    workers = FakeWorkers()
    measure(workers, cells=CELLS[:1], batches=(64, 1, 8))
    warm = [where[2] for where, _ in workers.calls if where[0] == "warm_up"]
    assert warm == [1, 8, 64] * 10


def test_samples_go_on_where_the_visit_before_ended():
    workers = FakeWorkers()
    measure(workers, cells=CELLS[:1], batches=(1,), replicates=2)
    visits = workers.offsets["exported_program|eager|cpu", 1]
    first = visits[: rounds.ROUNDS]
    assert all(a[0] + a[1] == b[0] for a, b in pairwise(first))


def test_later_replicates_are_planned_by_what_the_earlier_ones_measured(monkeypatch):
    monkeypatch.setattr("serve_bench.latency.conditions.time", SimpleNamespace(perf_counter=lambda: 0.0))

    def runs(warm_factor):
        records = measure(FakeWorkers(warm_factor=warm_factor), batches=(64,), budget_s=60.0)
        return [Counter(r.replicates) for r in records]

    honest, slow = runs(1), runs(3)
    assert all(s[0] < h[0] for s, h in zip(slow, honest, strict=True))
    assert all(s[r] == h[r] for s, h in zip(slow, honest, strict=True) for r in range(1, 10))


def test_cold_start_is_the_median_over_replicates():
    record = measure(FakeWorkers(), cells=CELLS[:1], batches=(1,), replicates=3)[0]
    # the fake opens in 1001, 1002 and 1003 ns and its first run takes ten times 2 ms
    assert record.cold == {"open_ns": 1002.0, "first_run_ns": 20_000_000.0}


def test_settings_and_warm_up_are_stated():
    record = measure(FakeWorkers(), cells=CELLS[:1], batches=(128,), replicates=2, threads=2)[0]
    assert record.settings == {"threads": 2}
    assert record.facts["unsettled_replicates"] == 2
    assert record.facts["warm_up_runs"] == 4
    assert record.facts["samples"] == 100
    assert record.facts["samples_cycled"]
    assert record.facts["seed"] == 3


def test_a_subject_that_fails_is_a_row_and_the_rest_stands():
    records = measure(FakeWorkers(breaks=[("measure", "torchscript", 8)]))
    failed = [r for r in records if r.error]
    assert [(r.backend, r.batch) for r in failed] == [("torchscript", 8)]
    assert failed[0].error == "torchscript: no"
    assert failed[0].latencies_ns == ()
    assert all(set(r.replicates) == set(range(10)) for r in records if not r.error)


def test_a_session_that_does_not_open_fails_at_every_batch():
    records = measure(FakeWorkers(breaks=[("open", "torchscript", None)]))
    assert {(r.backend, r.batch) for r in records if r.error} == {("torchscript", 1), ("torchscript", 8)}


def test_a_dead_process_voids_its_replicate_and_costs_only_the_culprit():
    records = measure(FakeWorkers(dies=[("measure", "torchscript", 8)]))
    failed = [r for r in records if r.error]
    assert [(r.backend, r.batch) for r in failed] == [("torchscript", 8)]
    assert "SIGSEGV" in failed[0].error
    others = [r for r in records if not r.error]
    assert all(set(r.replicates) == set(range(10)) for r in others)
    assert {r.facts["void_replicates"] for r in records} == {1}


def test_everything_failing_still_ends_with_rows():
    records = measure(FakeWorkers(dies=[("open", name, None) for name in FAMILIES]))
    assert all(r.error for r in records)


def test_nothing_is_written_when_a_run_is_interrupted():
    class Interrupted(FakeWorkers):
        def spawn(self, family, preload, fresh=False):
            if self.spawned == 10:
                raise KeyboardInterrupt
            return super().spawn(family, preload, fresh)

    bundle, workers = FakeBundle(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        measure(workers, bundle)
    assert bundle.read("measurement") == []
    assert all(worker.stopped for worker, _, _ in workers.made)


def test_a_cell_whose_latest_verification_failed_is_not_measured():
    asked = {"settings": {"asked": {"threads": 1}}}
    good, bad = (verdict(CELLS[1].artifact.sha256, "torchscript", passed=passed) | asked for passed in (True, False))
    failed = FakeBundle({"verification": [good, bad, good | {"unknown": 1}]})
    workers = FakeWorkers()
    records = measure(workers, failed)
    assert {r.error for r in records if r.backend == "torchscript"} == {"not measured: its verification failed"}
    assert not any(where[1] == "torchscript" for where, _ in workers.calls)
    mended = FakeBundle({"verification": [bad, good]})
    assert not any(r.error for r in measure(FakeWorkers(), mended))
    for other in ({"environment": "elsewhere"}, {"settings": {"asked": {"threads": 4}}}):
        assert not any(r.error for r in measure(FakeWorkers(), FakeBundle({"verification": [good, bad | other]})))


def test_a_budget_too_small_for_two_runs_a_replicate_is_exceeded_and_said(monkeypatch):
    clock = iter(range(100_000))
    monkeypatch.setattr("serve_bench.latency.conditions.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    notes = Notes()
    records = measure(FakeWorkers(base_ns=10**9), cells=CELLS[:1], batches=(1,), budget_s=5.0, progress=notes)
    # the fake clock gives one second to each part of each of ten replicates
    assert len(records[0].latencies_ns) == 20
    assert notes.said == ["measuring took 5.0 s more than its budget: the least of runs (2 a replicate) do not fit 5 s"]
    assert records[0].facts["spent_s"] == 10
    assert records[0].facts["over_budget_s"] == 5


def test_page_faults_are_those_of_a_run():
    workers = FakeWorkers()
    workers.faults_a_run = 3
    assert {r.facts["page_faults"] for r in measure(workers, replicates=2)} == {3.0}


def test_cuda_cells_are_timed_at_every_boundary():
    records = measure(FakeWorkers(), cells=[FakeCell(artifact("onnx"), "onnxruntime-cpu", "cuda")], batches=(1,))
    assert [r.boundary for r in records] == ["host", "device"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batches": ()}, "batch sizes must be whole numbers"),
        ({"batches": (0,)}, "batch sizes must be whole numbers"),
        ({"budget_s": 0}, "a measuring budget of 0 s measures nothing"),
        ({"replicates": 1}, "an interval needs at least 2 replicates"),
        ({"threads": 0}, "at least one thread is needed"),
    ],
)
def test_settings_that_cannot_be_measured(change, said):
    with pytest.raises(UsageError, match=said):
        measure(FakeWorkers(), **change)


def test_a_steady_run_ends_by_its_precision_and_a_noisy_one_goes_on():
    (steady, *_) = measure(FakeWorkers())
    assert (steady.facts["ended_by"], steady.facts["replicates_taken"], steady.facts["wider_ratios"]) == (
        "precision",
        10,
        0,
    )

    class Noisy(FakeWorkers):
        def run_ns(self, backend, batch):
            wild = backend == "torchscript" and len(self.made) < 60
            return super().run_ns(backend, batch) * (1 + wild * (len(self.made) % 3))

    (noisy, *_) = measure(Noisy())
    assert noisy.facts["replicates_taken"] > 10
    assert set(noisy.replicates) == set(range(noisy.facts["replicates_taken"]))
    (exactly, *_) = measure(Noisy(), precision_of_ratio=0.0)
    assert (exactly.facts["ended_by"], exactly.facts["replicates_taken"]) == ("replicates", 10)
    with pytest.raises(UsageError, match="negative width"):
        measure(FakeWorkers(), precision_of_ratio=-0.1)


def test_without_eager_the_replicates_asked_for_share_the_whole_budget(monkeypatch):
    """With it they have three fifths, and the rest is for the ratios that are still wide."""
    monkeypatch.setattr("serve_bench.latency.conditions.time", SimpleNamespace(perf_counter=lambda: 0.0))
    alone, beside = (measure(FakeWorkers(), cells=cells, batches=(64,), budget_s=64.0) for cells in (CELLS[2:3], CELLS))
    assert (alone[0].facts["ended_by"], beside[0].facts["ended_by"]) == ("replicates", "precision")
    # A run takes 64 ms: two re-warming visits of one run each and 98 timed ones fill the first of ten parts of 6.4 s.
    assert Counter(alone[0].replicates)[0] > 5 / 3 * Counter(beside[2].replicates)[0]


def test_slow_first_replicates_leave_the_rest_of_the_budget_to_further_ones():
    class Slow(FakeWorkers):
        def run_ns(self, backend, batch):
            wild = backend == "torchscript"
            return super().run_ns(backend, batch) * (1 + wild * (len(self.made) % 3))

    (record, *_) = measure(Slow(base_ns=200_000_000), batches=(1,), budget_s=15.0)
    assert record.facts["replicates_taken"] > 10, "its share is 0.9 s, its least of runs 4 s: the fake takes no time"


def test_further_replicates_are_of_the_batches_that_need_them():
    class Noisy(FakeWorkers):
        def run_ns(self, backend, batch):
            wild = backend == "torchscript" and batch == 8
            return super().run_ns(backend, batch) * (1 + wild * (len(self.made) % 3))

    records = measure(Noisy())
    last = {batch: {max(r.replicates) for r in records if r.batch == batch} for batch in (1, 8)}
    assert last == {1: {9}, 8: {records[0].facts["replicates_taken"] - 1}}
    assert records[0].facts["replicates_taken"] > 10


linux = pytest.mark.skipif(cores.topology() is None, reason="this system binds no process to a core")


@linux
def test_all_processes_of_a_replicate_are_bound_to_one_draw_of_cores(monkeypatch):
    monkeypatch.setattr(rounds, "topology", cores.topology)
    workers = FakeWorkers()
    first, *_ = measure(workers, replicates=6)
    drawn = [tuple(one) for one in first.facts["cores"]]
    assert len(drawn) == 6
    assert set(drawn) <= {(core,) for core in cores.topology().cores}
    bound = [worker.bound[-1] for worker, _, _ in workers.made]
    assert [set(bound[i : i + 4]) for i in range(0, 24, 4)] == [{one} for one in drawn]


@linux
def test_what_keeps_the_cores_it_was_opened_on_is_bound_before_it_is_opened(monkeypatch):
    def backend_named(name):
        return SimpleNamespace(
            family=FAMILIES[name], preload=(), boundaries=lambda device: ("host",), keeps_cores=name == "torchscript"
        )

    monkeypatch.setattr(rounds, "backend_named", backend_named)
    monkeypatch.setattr(rounds, "topology", cores.topology)
    before = {}

    class Watching(FakeWorkers):
        def spawn(self, family, preload, fresh=False):
            worker = super().spawn(family, preload, fresh)
            started = worker.start

            def start(key, *more):
                before[id(worker)] = (key, list(worker.bound))
                return started(key, *more)

            worker.start = start
            return worker

    workers = Watching()
    first, *_ = measure(workers, replicates=4)
    drawn = [tuple(one) for one in first.facts["cores"]]
    for i, (worker, _, _) in enumerate(workers.made):
        key, bound = before[id(worker)]
        assert bound == ([drawn[i // 4]] if "torchscript" in key else [])
        assert worker.bound[-1] == drawn[i // 4]


@linux
def test_processes_are_set_up_in_the_memory_node_they_are_timed_in_but_for_a_gpus(monkeypatch):
    two = cores.Topology(physical=((0,), (1,)), nodes=((0,), (1,)), fastest=frozenset({0, 1}))
    monkeypatch.setattr(rounds, "topology", lambda: two)
    workers = FakeWorkers()
    first, *_ = measure(workers, replicates=3)
    drawn = [tuple(one) for one in first.facts["cores"]]
    assert [worker.bound for worker, _, _ in workers.made] == [[one, one] for one in drawn for _ in CELLS]
    workers = FakeWorkers()
    measure(workers, replicates=2, cells=[FakeCell(CELLS[2].artifact, CELLS[2].backend, "cuda")])
    assert not any(worker.bound for worker, _, _ in workers.made)


@linux
def test_where_binding_is_refused_or_the_cell_is_a_gpus_the_system_places_it(monkeypatch):
    monkeypatch.setattr(rounds, "topology", cores.topology)
    workers = FakeWorkers()
    workers.unbindable = True
    first, *_ = measure(workers, replicates=2)
    assert first.facts["cores"] == [[], []]
    workers = FakeWorkers()
    first, *_ = measure(workers, replicates=2, cells=[FakeCell(CELLS[2].artifact, CELLS[2].backend, "cuda")])
    assert first.facts["cores"] == [[], []]
    assert not any(worker.bound for worker, _, _ in workers.made)


def test_every_turn_is_given_a_limit_that_grows_with_what_it_should_take():
    class Limits(FakeWorkers):
        def spawn(self, family, preload, fresh=False):
            worker = super().spawn(family, preload, fresh)
            measure_, limits = worker.measure, self.of_turns

            def measure(key, batch, boundary, runs, offset, limit_s=None):
                limits.append(limit_s / max(30.0, 20 * runs * self.run_ns(worker.backends[key], batch) / 1e9))
                return measure_(key, batch, boundary, runs, offset)

            worker.measure = measure
            return worker

    workers = Limits(base_ns=500_000_000)
    workers.of_turns = []
    measure(workers, replicates=2)
    assert {round(limit, 6) for limit in workers.of_turns} == {1.0}


def test_opening_and_warming_up_have_the_workers_limit_once_and_what_they_took_then():
    workers = FakeWorkers(base_ns=100_000_000)
    measure(workers, cells=CELLS[:1], batches=(1, 8), replicates=3)
    first, *later = (workers.limits[i : i + 3] for i in (0, 3, 6))
    assert first == [("open", None), ("warm_up", None), ("warm_up", None)]
    # the fake opens in a microsecond; its first runs take ten times 0.2 and 1.6 s, and twenty times that is allowed
    assert later == [[("open", 30.0), ("warm_up", 40.0), ("warm_up", 320.0)]] * 2


def test_a_session_that_hangs_is_given_up_at_all_its_batches_at_once():
    workers = FakeWorkers(hangs=[("warm_up", "torchscript", 1)])
    records = measure(workers)
    failed = [r for r in records if r.error]
    assert {(r.backend, r.batch) for r in failed} == {("torchscript", 1), ("torchscript", 8)}
    assert {r.error for r in failed} == {"torchscript: its process ended: no answer to 'warm_up' within 30 s"}
    assert {r.facts["void_replicates"] for r in records} == {1}
    assert all(set(r.replicates) == set(range(10)) for r in records if not r.error)


def test_what_it_computes_in_is_asked_once_and_after_the_timed_runs():
    workers = FakeWorkers()
    workers.precision = "bfloat16"
    records = measure(workers, replicates=3)
    assert {r.precision for r in records} == {"bfloat16"}
    asked = [i for i, ((what, _, _), _) in enumerate(workers.calls) if what == "examine"]
    assert len(asked) == len(CELLS)
    timed = [i for i, ((what, _, _), _) in enumerate(workers.calls) if what == "measure"]
    assert max(i for i in timed if i < asked[0]) == asked[0] - 1
    assert sum(i < asked[0] for i in timed) == len(timed) / 3


def test_a_gpu_is_asked_when_it_has_just_run_and_a_round_that_was_held_down_is_told(monkeypatch):
    """It idles at the beginning of a round: only after a visit do its clocks say what it ran at."""
    calls = []

    def states():
        calls.append(1)
        return [gpu_state.GpuState(gpu=0, sm_mhz=1410, reasons=4 if len(calls) == 3 else 0)]

    monkeypatch.setattr(gpu_state, "reader", lambda: nullcontext(states))
    cells = [FakeCell(cell.artifact, cell.backend, "cuda") for cell in CELLS[:2]]
    (first, *_) = measure(FakeWorkers(), cells=cells, batches=(1,), replicates=2)
    rounds_ = first.facts["gpu_rounds"]
    assert [(r["replicate"], r["round"]) for r in rounds_] == [(r, n) for r in range(2) for n in range(rounds.ROUNDS)]
    # at its beginning, and after each visit of two cells at two boundaries
    assert {len(r["gpus"]) for r in rounds_} == {1 + 2 * 2}
    assert gpu_state.held_down(rounds_) == {"software power cap": 1}
    assert "(software power cap in 1 of 8 rounds)" in next(iter(_warnings.held_down([first])))


def test_the_machine_is_timed_at_the_beginning_of_every_round():
    (record, *_) = measure(FakeWorkers(), replicates=3)
    loops = record.facts["calibration"]
    assert [(replicate, number) for replicate, number, _, _ in loops] == [
        (replicate, number) for replicate in range(3) for number in range(rounds.ROUNDS)
    ]
    assert all(loop_ns > 0 and copy_ns > 0 for _, _, loop_ns, copy_ns in loops)


def test_eager_is_timed_a_second_time_as_a_session_of_its_own():
    workers, kept = FakeWorkers(), FakeBundle()
    records = measure(workers, kept, twin=True, replicates=3)
    assert len(records) == len(kept.read("measurement")) == records[0].facts["cells"] == 8, "a twin is no row"
    told = records[0].facts["twins"]
    assert [(t["backend"], t["batch"]) for t in told] == [("eager", 1), ("eager", 8)]
    assert [t["medians_ns"] for t in told] == [dict.fromkeys("012", ns) for ns in (2e6, 16e6)]
    assert sum(family == "torch" for _, family, _ in workers.made) == 3 * 3
    assert {key.removesuffix("|twin") for key, _ in workers.offsets} == {cell.key for cell in CELLS}
    assert [check.word for check in twin.checks(records)] == ["indistinguishable"] * 2
    assert [check.ratio.value for check in twin.checks(records)] == [1.0, 1.0]


def test_without_eager_it_is_the_first_form():
    records = measure(FakeWorkers(), cells=CELLS[1:], twin=True, replicates=2)
    assert {t["backend"] for t in records[0].facts["twins"]} == {"torchscript"}
    assert "twins" not in measure(FakeWorkers(), replicates=2)[0].facts


def test_its_ratio_does_not_count_as_one_to_be_made_narrow():
    with_it, without = (
        measure(FakeWorkers(), twin=t, precision_of_ratio=0.02)[0].facts["ratios"] for t in (True, False)
    )
    assert with_it == without == 6


def test_a_twin_that_dies_leaves_the_run_and_says_why():
    records = measure(FakeWorkers(dies=[("open", "eager", None)]), twin=True, replicates=2)
    assert {r.backend for r in records if r.error} == {"eager"}
    checks = list(twin.checks(records))
    assert [(check.ratio, check.word) for check in checks] == [(None, ""), (None, "")]
    assert all("SIGSEGV" in check.error for check in checks)


def test_replicates_after_the_first_have_equally_many_runs():
    """The first is planned by what was seen in warm-up, which here is a third of what a run takes."""
    records = measure(FakeWorkers(warm_factor=1 / 3), budget_s=60.0, replicates=5)
    for record in records:
        counts = Counter(record.replicates)
        assert len({counts[number] for number in range(1, 5)}) == 1
    assert any(Counter(r.replicates)[0] != Counter(r.replicates)[1] for r in records)
