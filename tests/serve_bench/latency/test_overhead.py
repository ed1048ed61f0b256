"""The overhead's arithmetic, on a clock that the calls move; its real size is `make bench`'s affair."""

from types import SimpleNamespace

from serve_bench.latency import clock, overhead


def test_overhead_is_what_the_clock_costs(monkeypatch):
    now = [0]

    def perf_counter_ns():
        now[0] += 25
        return now[0]

    def takes(ns):
        def call(*_):
            now[0] += ns

        return call

    fake = SimpleNamespace(perf_counter_ns=perf_counter_ns)
    monkeypatch.setattr(clock, "time", fake)
    monkeypatch.setattr(overhead, "time", fake)
    session = SimpleNamespace(bind=takes(1), run=takes(10), sync=takes(100), outputs=takes(1000))
    found = overhead.loop_overhead(session, ["a"], runs=1000, trials=3)
    # two readings of 25 ns a run, of which one lies inside the latency; the reading around the loop is 25 ns in 1000
    assert found.bare_ns == 1111 + 0.025
    assert found.timed_ns == 1111 + 50 + 0.025
    assert found.added_ns == 50
    assert found.recorded_ns == 1111 + 25


def test_the_null_backend_can_be_asked():
    found = overhead.null_overhead(runs=10, trials=2)
    assert found.timed_ns > 0
