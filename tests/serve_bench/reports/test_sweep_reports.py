"""What reports say of sweeps: the same in every format, computed from the raw latencies."""

import csv
import io
import json
from dataclasses import replace

import pytest
from report_records import HALF, ONNX, PROGRAM, whole
from test_report_formats import Page

from export.registry import entries
from serve_bench.latency.sweeps._types import SweepPoint
from serve_bench.latency.sweeps._window import Window
from serve_bench.reports import _sweep_plots, _sweep_text, _sweeps
from serve_bench.reports.summary import summarise


def point(sweep, artifact, backend, latency_ns, points, **changes):
    """11 equal runs in each of two replicates, the second a tenth slower; an error where there is no latency."""
    runs = [] if latency_ns is None else [[latency_ns] * 11, [round(latency_ns * 1.1)] * 11]
    facts = {
        "sweep": sweep,
        "artifact": artifact.name,
        "artifact_sha256": artifact.sha256,
        "backend": backend,
        "device": "cpu",
        "precision": artifact.precision,
        "precision_asked": artifact.precision,
        "boundary": "host",
        "batch": 1,
        "threads": 1,
        "length": None,
        "processes": 1,
        "latencies_ns": tuple(x for run in runs for x in run),
        "replicates": tuple(i for i, run in enumerate(runs) for _ in run),
        "run": f"{sweep}-run",
        "started": "2026-01-02T03:04:05+00:00",
        "environment": "env1",
        "ended": "throughput stopped rising",
        "facts": {
            "points": points,
            "budget_s": 15.0,
            "spent_s": 1.5,
            "over_budget_s": 0.0,
            "replicates": 2,
            "void_replicates": 0,
            "seed": 0,
            "samples": 2,
            "unsettled_replicates": 0,
        },
        "error": "",
    }
    return SweepPoint(**(facts | changes))


BATCH = [
    point("batch", PROGRAM, "eager", 1000, 5),
    point("batch", PROGRAM, "eager", 1250, 5, batch=2),
    point("batch", PROGRAM, "eager", 2500, 5, batch=4),
    point("batch", ONNX, "onnxruntime-cpu", 500, 5, ended="error"),
    point("batch", ONNX, "onnxruntime-cpu", None, 5, batch=2, ended="error", error="its | batch is <fixed>"),
]
PRECISION = [
    point("precision", ONNX, "onnxruntime-cpu", 1000, 2, ended="every form"),
    point("precision", HALF, "onnxruntime-cpu", 500, 2, ended="every form"),
]
WINDOWS = tuple(Window(replicate=r, start_ns=0, end_ns=1000) for r in (0, 1))
CONCURRENCY = [
    point(
        "concurrency", ONNX, "onnxruntime-cpu", 100, 2, starts_ns=tuple(range(0, 1100, 100)) * 2, process_of=(0,) * 22
    ),
    point(
        "concurrency",
        ONNX,
        "onnxruntime-cpu",
        100,
        2,
        processes=2,
        latencies_ns=(100,) * 48,
        replicates=(0,) * 24 + (1,) * 24,
        starts_ns=tuple(range(0, 1200, 100)) * 4,
        process_of=((0,) * 12 + (1,) * 12) * 2,
        windows=WINDOWS,
    ),
]
THREADS = [
    point("threads", ONNX, "onnxruntime-cpu", 1000, 4, ended="every core (2)"),
    point("threads", ONNX, "onnxruntime-cpu", 500, 4, threads=2, ended="every core (2)"),
    point("threads", ONNX, "onnxruntime-cpu", 4000, 4, batch=64, ended="every core (2)"),
    point("threads", ONNX, "onnxruntime-cpu", 1000, 4, threads=2, batch=64, ended="every core (2)"),
]
LENGTH = [
    point("length", ONNX, "onnxruntime-cpu", 1000 * n, 2, length=n, ended="longest documented (2)") for n in (1, 2)
]


@pytest.fixture(scope="module")
def summary():
    return summarise(whole(sweep=[*BATCH, *PRECISION, *CONCURRENCY, *THREADS, *LENGTH]))


def render(name, summary):
    return entries("serve_bench.reports")[name].render([summary])


def table(summary, name):
    return next(sweep for sweep in summary.sweeps if sweep.name == name)


def test_ratios_are_to_what_each_sweep_compares_with(summary):
    def ratios(name):
        return [row.ratio and round(row.ratio.value, 6) for row in table(summary, name).rows]

    # 1000 ns for one sample, 1250 for two, 2500 for four: 1.6 times the samples a second, then none more
    assert ratios("batch") == [None, 1.6, 1.0, None, None]
    assert ratios("precision") == [None, 2.0]
    assert ratios("threads") == [None, 2.0, None, 4.0]
    assert ratios("length") == [None, None]


def test_a_ratio_is_called_something_by_the_sweeps_own_spread(summary):
    assert [row.word for row in table(summary, "batch").rows] == ["", "faster", "indistinguishable", "", ""]
    called = [line.cells[-2] for line in _sweep_text.lines(table(summary, "threads"))]
    assert called == ["–", "faster", "–", "faster"]
    # 1.6 times on the whole, but one replicate of two threads says 4 times and the other 0.64
    one = point("threads", ONNX, "onnxruntime-cpu", 1000, 2)
    noisy = [one, replace(one, threads=2, latencies_ns=(250,) * 11 + (1719,) * 11)]
    (_, two) = table(summarise(whole(sweep=noisy)), "threads").rows
    assert two.ratio.value == pytest.approx(1.6, rel=1e-3)
    assert two.word == "indistinguishable"
    assert "--replicates 10 narrows them" in _sweep_text.legend(table(summary, "threads"))
    assert "--replicates" not in _sweep_text.legend(table(summary, "length"))


def test_windows_that_were_timed_again_are_told(summary):
    assert "timed again" not in table(summary, "concurrency").facts
    late = replace(CONCURRENCY[1], windows=tuple(replace(w, tries=t) for w, t in zip(WINDOWS, (1, 3), strict=True)))
    again = table(summarise(whole(sweep=[CONCURRENCY[0], late])), "concurrency")
    assert "2 windows were timed again, as a process came late." in again.facts


def test_the_lines_of_a_threads_plot_stand_beside_one_another():
    places = [_sweep_plots._aside(number, 3) for number in range(3)]
    assert places == pytest.approx([2**-0.2, 1, 2**0.2])
    assert _sweep_plots._aside(0, 1) == 1


def test_figures_are_those_of_the_raw_latencies(summary):
    rows = table(summary, "batch").rows
    assert rows[1].p50.value == 1312.5
    assert rows[1].throughput == pytest.approx(2e9 / 1312.5)
    assert rows[1].p90 is None
    both = table(summary, "concurrency").rows[1]
    # ten runs of each of two processes ended in 1000 ns, in either replicate
    assert both.runs == 40
    assert both.throughput == pytest.approx(2e7)
    assert [q.value for q in both.of_processes] == [100, 100]


def test_what_ended_a_series_stands_in_its_last_row(summary):
    lines = list(_sweep_text.lines(table(summary, "batch")))
    assert [line.ended for line in lines] == ["", "", "throughput stopped rising", "", "error"]
    assert lines[-1].place == ["onnxruntime-cpu", "2"]
    assert lines[-1].note == "its | batch is <fixed>"
    assert all(len(line.cells) == len(_sweep_text.headings(table(summary, "batch"))) for line in lines)


def test_a_small_sample_that_was_repeated_is_said(summary):
    assert "The 2 real samples are repeated to fill batch 4." in table(summary, "batch").facts
    assert "15 s of timed runs asked, 1.5 s spent" in table(summary, "batch").facts


def test_the_page_holds_every_sweep_with_its_plots(summary):
    page = render("html", summary)
    parsed = Page(page)
    assert parsed.open == []
    text = " ".join(" ".join(parsed.words).split())
    for name in ("batch", "concurrency", "length", "precision", "threads"):
        assert f"Sweep: {name}" in text
    for title in (
        "Samples a second against batch size",
        "Median latency against batch size",
        "Samples a second in all against processes",
        "Median latency against length",
        "Times as fast as float32 on the same backend",
        "Times as fast against one thread",
    ):
        assert f'aria-label="{title}"' in page
    assert "its | batch is &lt;fixed&gt;" in page
    assert "Solid: batch 1, dashed: batch 64." in text
    assert render("html", summary) == page


def test_markdown_says_the_same(summary):
    text = render("markdown", summary)
    assert "### Sweep: batch" in text
    assert "not measured: its \\| batch is &lt;fixed>" in text
    assert text.count("throughput stopped rising |") == 1 + 1


def test_json_has_bounds_and_raw_latencies(summary):
    (report,) = json.loads(render("json", summary))["reports"]
    (sweep,) = [s for s in report["sweeps"] if s["name"] == "batch"]
    row = sweep["rows"][1]
    assert row["p50"] == {"value": 1312.5, "low": 1250, "high": 1375}
    assert row["latencies_ns"] == [1250] * 11 + [1375] * 11
    assert row["ratio"]["value"] == pytest.approx(1.6)
    assert sweep["rows"][-1]["error"] == "its | batch is <fixed>"


def test_csv_has_a_line_for_each_point(summary):
    lines = [line for line in csv.DictReader(io.StringIO(render("csv", summary))) if line["sweep"]]
    assert len(lines) == 15
    assert [(line["batch"], line["p50_ns"], line["ended"]) for line in lines if line["sweep"] == "batch"][1] == (
        "2",
        "1312.5",
        "throughput stopped rising",
    )
    assert {line["threads"] for line in lines if line["sweep"] == "threads"} == {"1", "2"}


def test_a_bundle_with_sweeps_alone_says_so():
    alone = summarise(whole(measurement=[], sweep=BATCH))
    assert alone.headline == _sweeps.HEADLINE
    assert "Sweep: batch" in render("html", alone)
    assert summarise(whole()).sweeps == ()
    assert "Sweeps" not in render("html", summarise(whole()))
