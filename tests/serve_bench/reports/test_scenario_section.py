"""What reports say of LoadGen's scenarios."""

import csv
import io
import json
from dataclasses import replace

import pytest
from report_records import ONNX, PROGRAM, FakeBundle, whole

from export.registry import entries
from serve_bench.latency.scenarios._base import SEEDS, Trial
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.reports import _scenarios
from serve_bench.reports.summary import summarise

HOSTILE = '<script>|=HYPERLINK("a")&'


def record(scenario, of=ONNX, backend="onnxruntime-cpu", count=1000, **changes):
    """Latencies of 1 µs to `count` µs."""
    made = ScenarioRecord(
        artifact=of.name,
        artifact_sha256=of.sha256,
        backend=backend,
        device="cpu",
        precision="float32",
        scenario=scenario,
        threads=1,
        loadgen="6.0.17 @ abc",
        valid=True,
        reasons=(),
        seeds=dict(SEEDS),
        min_duration_s=2.0,
        min_queries=64,
        samples_per_query=1,
        batch=1,
        queries=count,
        samples=count,
        distinct_samples=100,
        latencies_ns=tuple(1000 * (i + 1) for i in range(count)),
        taken=count,
        duration_ns=2 * 10**9,
        environment="env1",
        run="run9",
        started="2026-01-01T00:00:00+00:00",
    )
    return replace(made, **changes)


HELD = (
    Trial(rate=800.0, p99_ns=9_000_000, queries=1600, valid=False, reasons=("p99 is over the bound",)),
    Trial(rate=600.0, p99_ns=2_500_000, queries=800, valid=True, kept_up=False),
    Trial(rate=400.0, p99_ns=2_000_000, queries=800, valid=True),
)
RECORDS = (
    record("SingleStream", overhead_ns=2000.0, taken=5000),
    record("MultiStream", samples_per_query=8, batch=8),
    record("Offline", samples=80_000, queries=1, batch=64),
    record("Server", trials=HELD, latency_bound_ns=3_000_000, bound_from="given"),
    record(
        "Server",
        PROGRAM,
        "eager",
        valid=False,
        latency_bound_ns=3_000_000,
        bound_from="given",
        error=f"eager: its process ended: {HOSTILE}",
    ),
)


@pytest.fixture(scope="module")
def summary():
    return summarise(whole(scenario=list(RECORDS)))


def render(name, *summaries):
    return entries("serve_bench.reports")[name].render(list(summaries))


def test_quantiles_are_those_of_the_raw_latencies(summary):
    """Of 1 … 1000 µs: p50 is the mean of the 500th and 501st, p90 of the 900th and 901st."""
    single = summary.scenarios[0]
    assert single.quantiles["p50"].value == 500_500
    assert single.quantiles["p90"].value == 900_500
    assert single.quantiles["p90"].low < 900_500 < single.quantiles["p90"].high
    assert [row.rate for row in summary.scenarios] == [None, None, 40_000.0, 400.0, None]


def test_a_quantile_is_shown_only_where_the_sample_bears_it():
    few = summarise(FakeBundle({"scenario": [record("MultiStream", count=661), record("SingleStream", count=63)]}))
    assert [_scenarios.result(row) for row in few.scenarios] == ["p99: too few queries", "p90: too few queries"]


@pytest.mark.parametrize("name", ["markdown", "html"])
def test_the_section_says_what_it_is_and_nothing_more(summary, name):
    text = render(name, summary)
    assert "Measured with LoadGen 6.0.17" in text
    assert "MLPerf" not in text
    for said in (
        "p90 900 µs",
        "8 samples a query",
        "40,000 samples/s",
        "batches of 64",
        "400 queries/s with p99 2.00 ms",
        "p99 stayed under 3.00 ms,",
        "valid; the queue never emptied",
        "ates tried",
        "800",
        "only every k-th latency is stored",
        "At least 2 s a run (min_duration), 100 real samples.",
        "seeds: qsl_rng_seed 1, sample_index_rng_seed 2, schedule_rng_seed 3.",
        "its process ended",
    ):
        assert said in text
    assert "<script>|" not in text


def test_where_no_rate_held_the_row_says_so():
    lost = record("Server", trials=HELD[:1], valid=False, reasons=HELD[0].reasons, latency_bound_ns=3_000_000)
    row = summarise(FakeBundle({"scenario": [lost]})).scenarios[0]
    assert _scenarios.result(row) == "no rate held: p99 9.00 ms at 800 queries/s, the lowest"
    assert _scenarios.cells(row)[-1] == "invalid: p99 is over the bound"


def test_machines_get_records_with_their_raw_latencies(summary):
    rows = json.loads(render("json", summary))["reports"][0]["scenarios"]
    assert [row["scenario"] for row in rows] == [r.scenario for r in RECORDS]
    assert (rows[0]["label"], len(rows[0]["latencies_ns"]), rows[0]["taken"]) == ("onnxruntime-cpu", 1000, 5000)
    assert rows[0]["quantiles"]["p90"]["value"] == 900_500
    assert rows[3]["rate"] == 400.0
    assert [trial["rate"] for trial in rows[3]["trials"]] == [800.0, 600.0, 400.0]


def test_spreadsheets_get_a_line_for_each(summary):
    lines = [line for line in csv.DictReader(io.StringIO(render("csv", summary))) if line["scenario"]]
    assert [line["scenario"] for line in lines] == [r.scenario for r in RECORDS]
    assert float(lines[2]["samples_per_second"]) == 40_000
    assert (float(lines[3]["queries_per_second"]), lines[3]["latency_bound_ns"]) == (400.0, "3000000")
    assert float(lines[0]["p90_ns"]) == 900_500


@pytest.mark.parametrize("name", ["markdown", "html", "csv"])
def test_without_scenarios_there_is_no_section(name):
    assert "LoadGen" not in render(name, summarise(whole()))


def test_a_run_that_was_stopped_does_not_take_the_place_of_a_whole_one():
    whole = [record(*of, run="a", forms=2, trials=HELD) for of in (("Server",), ("Server", PROGRAM, "eager"))]
    stopped = record("Server", run="b", forms=2, min_duration_s=9.0, trials=HELD)
    found = summarise(FakeBundle({"scenario": [*whole, stopped]}))
    assert {row.record.run for row in found.scenarios} == {"a"}
    assert found.warnings == ()
    alone = summarise(FakeBundle({"scenario": [stopped]}))
    assert alone.warnings == ("Server was stopped: 1 of the 2 forms that were asked for have a row.",)
