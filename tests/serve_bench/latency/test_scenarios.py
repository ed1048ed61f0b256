"""LoadGen's scenarios: valid runs, errors that come back, the search for Server's rate, and its schedule."""

import numpy as np
import pytest
from tiny_network import INPUTS

from export.bundle.errors import BackendFailed, BackendUnavailable, UnknownName, UsageError
from serve_bench.cells import backend_named
from serve_bench.latency.scenarios import _run
from serve_bench.latency.scenarios._arrivals import arrivals, from_arrival
from serve_bench.latency.scenarios._base import SEEDS, Asked, Load, Trial, named
from serve_bench.latency.scenarios.server import trials_of
from serve_bench.worker import Workers

NAMES = ("SingleStream", "MultiStream", "Offline", "Server")
LEAST = {"SingleStream": 64, "MultiStream": 662, "Offline": 1, "Server": 662}


def loadgen():
    return pytest.importorskip("mlperf_loadgen")


class Session:
    """Answers nothing, remembers what it was given, and fails with `error` at its `at`-th run."""

    def __init__(self, error=None, at=1):
        self.given, self._error, self._at = [], error, at

    def bind(self, inputs):
        self.given.append(inputs["image"])

    def run(self):
        if self._error is not None and len(self.given) == self._at:
            raise self._error

    def sync(self):
        pass

    def outputs(self):
        return {}


def images(count=23):
    """Every pixel of sample i is i."""
    return {"image": np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 1, 8, 8))}


def load(scenario, **changes):
    settings = {"min_duration_s": 0.05, "expected_s": 0.05, "min_queries": LEAST[scenario], "expected_ns": 20_000}
    return Load(scenario=scenario, **(settings | changes))


def serve(session, asked, tmp_path, inputs=None, specs=INPUTS):
    loadgen()
    from serve_bench.latency.scenarios._inside import run_load

    return run_load(session, specs, inputs or images(), asked, tmp_path)


@pytest.mark.parametrize("backend", ["null", "onnxruntime-cpu"])
@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_is_valid(name, backend, tiny_onnx):
    loadgen()
    chosen, scenario = backend_named(backend), named(name)
    asked = Asked(min_duration_s=0.1, latency_bound_ns=10**9)
    batch = scenario.batch(asked)
    with Workers() as workers:
        worker = workers.spawn(chosen.family, chosen.preload)
        worker.open("k", backend, tiny_onnx.artifacts["onnx"], "cpu", 1)
        worker.load_inputs({"image": tiny_onnx.images})
        pilot = max(worker.warm_up("k", batch, "host", 0.05).median_ns, 20_000)
        found = scenario.measure(pilot, batch, asked, lambda one: worker.load("k", one), lambda _: None)
        assert list(workers._directory.glob("loadgen-*")) == []
    served = found.served
    assert served.valid, served.reasons
    assert served.reasons == ()
    assert served.queries >= LEAST[name]
    assert served.samples == served.queries * {"MultiStream": 8, "Offline": served.samples}.get(name, 1)
    assert min(served.latencies_ns) > 0
    assert served.taken == (served.samples // 64 if name == "Offline" else served.queries)
    assert served.loadgen.startswith("6.") or served.loadgen[0].isdigit()


def test_single_stream_asks_for_real_samples_one_by_one(tmp_path):
    session = Session()
    served = serve(session, load("SingleStream"), tmp_path)
    assert served.queries == served.taken == len(session.given)
    assert {given.shape for given in session.given} == {(1, 1, 8, 8)}
    assert {float(given[0, 0, 0, 0]) for given in session.given} == set(range(23))


def test_a_query_of_several_samples_is_one_run_where_the_form_takes_them(tmp_path):
    session = Session()
    served = serve(session, load("MultiStream", samples_per_query=5, batch=5, min_queries=70), tmp_path)
    assert served.queries == len(session.given) >= 70
    assert {given.shape[0] for given in session.given} == {5}


def test_more_samples_a_query_than_there_are(tmp_path):
    served = serve(Session(), load("MultiStream", samples_per_query=8, batch=8), tmp_path, inputs=images(3))
    assert served.samples == 8 * served.queries


def test_a_fixed_batch_is_filled_up(tmp_path):
    from dataclasses import replace

    specs = (replace(INPUTS[0], shape=(4, 1, 8, 8)),)
    session = Session()
    served = serve(session, load("Offline", min_queries=64, batch=3, rate=1.0), tmp_path, specs=specs)
    assert served.samples == 64
    assert {given.shape[0] for given in session.given} == {4}
    assert all(given[3, 0, 0, 0] == given[2, 0, 0, 0] for given in session.given)


def test_offline_is_one_query_answered_in_batches(tmp_path):
    session = Session()
    served = serve(session, load("Offline", min_queries=640, batch=64, rate=1.0), tmp_path)
    assert (served.queries, served.samples, served.taken) == (1, 640, 10)
    assert served.duration_ns >= sum(served.latencies_ns)


def test_one_that_is_too_short_says_so(tmp_path):
    served = serve(Session(), load("Offline", min_queries=64, min_duration_s=5, batch=64, rate=1.0), tmp_path)
    assert (served.valid, served.long_enough) == (False, False)
    assert served.reasons == ("it was over before the minimum duration",)


def test_a_load_that_ended_too_early_is_run_again_with_more(tmp_path):
    session = Session()
    found = named("Offline").measure(
        10**9, 64, Asked(min_duration_s=0.05), lambda one: serve(session, one, tmp_path), lambda _: None
    )
    assert found.load.min_queries == 64 * 1
    assert not found.served.valid


@pytest.mark.parametrize("scenario", NAMES)
@pytest.mark.parametrize("at", [1, 5])
def test_an_exception_in_the_callback_is_raised_after_loadgen_has_returned(scenario, at, tmp_path):
    asked = load(scenario, rate=5000.0, batch=64 if scenario == "Offline" else 1, latency_bound_ns=10**9)
    with pytest.raises(ValueError, match="no such operator"):
        serve(Session(ValueError("no such operator"), at), asked, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_would_end_the_interpreter_is_an_error_too(tmp_path):
    with pytest.raises(BackendFailed, match="SystemExit: leaving"):
        serve(Session(SystemExit("leaving")), load("SingleStream"), tmp_path)


def test_an_exception_in_a_process_is_one_line_and_the_process_stands(tiny_onnx):
    loadgen()
    chosen = backend_named("onnxruntime-cpu")
    with Workers() as workers:
        worker = workers.spawn(chosen.family, chosen.preload)
        worker.open("k", "onnxruntime-cpu", tiny_onnx.artifacts["onnx"], "cpu", 1)
        worker.load_inputs({"image": np.zeros((5, 1, 9, 9), np.float32)})
        with pytest.raises(BackendFailed, match="onnxruntime-cpu") as caught:
            worker.load("k", load("SingleStream"))
        assert "\n" not in str(caught.value)
        assert worker.peak_memory()
        worker.load_inputs({"image": tiny_onnx.images})
        assert worker.load("k", load("SingleStream")).queries >= 64


# ── Server ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tried(holds, ceiling=1000.0):
    """The search over a fake run whose p99 is `ceiling − rate` turned round: it holds up to `holds` a second."""

    def attempt(rate):
        p99_ns = round(1e6 * ceiling / (ceiling - rate)) if rate < ceiling else 10**12
        bound_ns = round(1e6 * ceiling / (ceiling - holds)) if holds < ceiling else 10**12
        return Trial(rate=rate, p99_ns=p99_ns, queries=662, valid=p99_ns <= bound_ns)

    return trials_of(attempt, ceiling)


@pytest.mark.parametrize("holds", [63.0, 130.0, 260.0, 499.0, 500.0, 640.0, 875.0, 949.0])
def test_bisection_finds_the_known_rate(holds):
    trials = tried(holds)
    best = max(t.rate for t in trials if t.valid)
    lost = min([t.rate for t in trials if not t.valid], default=1000.0)
    assert best <= holds < lost
    assert lost - best <= 0.05 * lost
    assert len(trials) <= 9


def test_where_every_rate_holds_the_search_ends_below_the_ceiling():
    trials = tried(2000.0)
    assert all(t.valid for t in trials)
    assert 950 <= max(t.rate for t in trials) < 1000


def test_where_even_the_lowest_rate_fails_there_is_none():
    trials = tried(0.0)
    assert [t.rate for t in trials] == [500.0, 250.0, 125.0, 62.5]
    assert not any(t.valid for t in trials)


def test_arrivals_are_those_of_the_mersenne_twister_and_of_their_rate():
    """The first gap by hand from the first two draws of std::mt19937(5489), 3499211612 and 581869302."""
    uniform = (3499211612 + 581869302 * 2**32) / 2**64
    due = arrivals(5489, 1000.0, 20_000)
    assert due[0] == 0
    assert due[1] == int(-np.log1p(-uniform) / 1000.0 * 1e9)
    assert due[-1] == pytest.approx(20e9, rel=0.03)
    assert len(arrivals(3, 10.0, 1)) == 1


def reported_of(latencies):
    ordered = np.sort(latencies)
    count = len(ordered)
    quantiles = {f"result_{p}.00_percentile_latency_ns": int(ordered[count * p // 100]) for p in (50, 90)}
    return quantiles | {"result_mean_latency_ns": float(latencies.mean())}


def queue(due, service_ns, late_ns):
    """Stamps of a server that takes one at a time and is handed a query `late_ns` after it is due."""
    begun, ended, free = [], [], 0
    for at in due:
        begun.append(max(int(at) + late_ns, free))
        free = begun[-1] + service_ns
        ended.append(free)
    return np.array(begun), np.array(ended)


def test_latency_counts_from_the_scheduled_arrival():
    due = arrivals(3, 8000.0, 3000)
    begun, ended = queue(due, 100_000, 7_000)
    truth = ended - due
    assert truth.max() > 500_000
    latencies, late_ns = from_arrival(begun + 10**12, ended + 10**12, due, reported_of(truth))
    assert np.abs(latencies - truth).max() <= 1
    assert late_ns == pytest.approx(7_000, abs=2)


def test_a_schedule_that_is_not_loadgens_is_refused():
    due = arrivals(3, 8000.0, 3000)
    begun, ended = queue(due, 100_000, 7_000)
    with pytest.raises(BackendFailed, match=r"schedule could not be made again .*mlcommons-loadgen=="):
        from_arrival(begun, ended, arrivals(4, 8000.0, 3000), reported_of(ended - due))


@pytest.mark.parametrize(("rate", "bound_ns"), [(10_000.0, 10**6), (10_000.0, 10**10)])
def test_queueing_is_not_hidden(rate, bound_ns, tmp_path):
    """Twice the rate that the session bears: the last query waits about half of the run, under whatever bound."""
    import time

    class Slow(Session):
        def run(self):
            end = time.perf_counter_ns() + 200_000
            while time.perf_counter_ns() < end:
                pass

    served = serve(Slow(), load("Server", rate=rate, latency_bound_ns=bound_ns), tmp_path)
    assert max(served.latencies_ns) > 20 * 200_000
    assert not served.kept_up
    assert served.valid == (bound_ns > 10**9)
    assert ("p99 is over the bound" in served.reasons) != served.valid


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_taken_in_any_case_and_unknown_ones_list_the_known():
    assert named("sInGlEsTrEaM").name == "SingleStream"
    with pytest.raises(UnknownName, match="unknown scenario 'Sever': did you mean 'Server'") as caught:
        named("Sever")
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"min_duration_s": -1.0}, "minimum duration of -1 s"),
        ({"min_duration_s": float("nan")}, "minimum duration of nan s"),
        ({"samples_per_query": 0}, "at least one sample"),
        ({"offline_batch": 0}, "at least one sample"),
        ({"latency_bound_ns": 0}, "latency bound must be above 0"),
    ],
)
def test_what_cannot_be_run_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        Asked(**change)


def test_without_loadgen_one_line_names_the_remedy(monkeypatch):
    monkeypatch.setattr(_run, "importable", lambda module: module != "mlperf_loadgen")
    with pytest.raises(BackendUnavailable, match="pip install mlcommons-loadgen") as caught:
        _run.require_loadgen()
    assert "\n" not in str(caught.value)


def test_the_overhead_is_of_a_session_that_computes_nothing():
    loadgen()
    from serve_bench.latency.scenarios.overhead import loadgen_overhead

    found = loadgen_overhead(min_duration_s=0.05)
    assert found.queries >= 64
    assert found.added_ns > 0


def test_seeds_are_loadgens_own_names():
    assert all(hasattr(loadgen().TestSettings(), name) for name in SEEDS)
