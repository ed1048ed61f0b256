"""What is inside each boundary, which batch each run gets, and when a warm-up ends; no real time is asserted."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from serve_bench.latency import clock
from serve_bench.latency.clock import settle, timed_runs


class FakeTime:
    """A clock that every call of the session moves on."""

    def __init__(self):
        self.now_ns = 0

    def perf_counter_ns(self):
        return self.now_ns

    def perf_counter(self):
        return self.now_ns / 1e9


class Recorder:
    """A session in which bind, run, sync and outputs take 1, 10, 100 and 1000 ns."""

    def __init__(self, time, run_ns=None):
        self.time, self.bound, self.calls = time, [], []
        self.run_ns = run_ns or (lambda n: 10)
        self.collecting = None

    def bind(self, inputs):
        self.bound.append(inputs)
        self.time.now_ns += 1

    def run(self):
        self.collecting = gc.isenabled()
        self.time.now_ns += self.run_ns(len(self.bound))

    def sync(self):
        self.time.now_ns += 100

    def outputs(self):
        self.time.now_ns += 1000

    def elapsed_ns(self):
        return 7


@pytest.fixture
def time(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(clock, "time", fake)
    return fake


@pytest.mark.parametrize(("boundary", "inside"), [("host", 1111), ("device", 110), ("compute", 7)])
def test_what_each_boundary_holds(time, boundary, inside):
    assert timed_runs(Recorder(time), boundary, ["a"], 3, 0) == [inside] * 3


def test_batches_are_taken_in_turn_from_the_offset_on(time):
    session = Recorder(time)
    timed_runs(session, "host", ["a", "b", "c"], 5, 4)
    assert session.bound == ["b", "c", "a", "b", "c"]


def test_garbage_collection_is_off_inside_and_on_again_after_an_error(time):
    session = Recorder(time)
    timed_runs(session, "host", ["a"], 1, 0)
    assert session.collecting is False
    assert gc.isenabled()
    session.sync = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        timed_runs(session, "host", ["a"], 1, 0)
    assert gc.isenabled()


def test_no_runs_take_no_time(time):
    assert timed_runs(Recorder(time), "host", ["a"], 0, 0) == []


def test_a_steady_session_has_settled_when_two_runs_after_the_first_agree(time):
    found = settle(Recorder(time, lambda n: 5_000_000), "device", ["a"], 1.0)
    assert found == (3, True, 5_000_100, 5_000_100)


def test_short_runs_are_warmed_up_for_5_ms(time):
    found = settle(Recorder(time, lambda n: 100_000 - 101), "device", ["a"], 1.0)
    # 100 µs a run with its binding and two syncs: 5 ms are 50 runs, the next power of two is 64; the first counts apart
    assert found.settled
    assert found.runs == 65


def test_a_warm_up_goes_on_while_the_running_median_falls(time):
    # after the first of 40 ms, 20, 10, 10, 10, …: the later half of 2 runs is 10 ms, that of 4 runs moves no more
    found = settle(Recorder(time, lambda n: max(10, 80 >> n) * 1_000_000), "device", ["a"], 10.0)
    assert found.runs == 5
    assert found.settled
    assert found.first_ns == 40_000_100
    assert found.median_ns == 10_000_100


def test_a_warm_up_that_never_settles_ends_at_its_limit(time):
    found = settle(Recorder(time, lambda n: n * 1_000_000), "device", ["a"], 0.1)
    # after the first, the limit is looked at after 12 runs (90 ms) and after a quarter more (15 runs, 135 ms)
    assert not found.settled
    assert found.runs == 16


def test_a_first_run_longer_than_the_limit_is_followed_by_one_more(time):
    found = settle(Recorder(time, lambda n: 10**9), "host", ["a"], 0.1)
    assert found.runs == 2
    assert found.first_ns == 10**9 + 1101


def test_the_null_backend_runs_through_every_step():
    from serve_bench.backends.null import NullSession

    spec = SimpleNamespace(name="x", dtype="float32", shape=("batch", 2))
    session = NullSession(SimpleNamespace(inputs=(spec,), outputs=(spec,), precision="float32"))
    batches = [{"x": np.ones((4, 2), np.float32)}]
    assert len(timed_runs(session, "host", batches, 5, 0)) == 5
    assert settle(session, "host", batches, 0.01).runs >= 2


def test_a_first_run_that_compiles_leaves_the_limit_to_the_others(time):
    found = settle(Recorder(time, lambda n: 10**9 if n == 1 else 1_000_000), "device", ["a"], 0.1)
    # runs of 1 ms after the first: 8 is the first count past 5 ms
    assert found.settled
    assert found.runs == 9


def test_a_slow_first_run_does_not_hide_that_the_others_agree(time):
    found = settle(Recorder(time, lambda n: 90_000_000 if n == 1 else 40_000_000), "device", ["a"], 0.1)
    assert found == (3, True, 40_000_100, 90_000_100)
