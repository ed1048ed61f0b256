"""`pipeline bench --scenario` as a user runs it."""

import json

import pytest

from export.bundle.store import Bundle

QUICK = ["--backend", "onnxruntime-cpu", "--precision", "float32", "--min-duration", "0.1"]


def test_all_four_scenarios_on_a_bundle(copy, run):
    pytest.importorskip("mlperf_loadgen")
    names = ["singlestream", "MultiStream", "OFFLINE", "Server", "--scenario", "server"]
    words = [word for name in names[:4] for word in ("--scenario", name)] + names[4:]
    result = run("bench", copy, *QUICK, *words, "--latency-bound", "1s", "--batch", "16", "--json")
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["reports"][0]["scenarios"]
    assert [r["scenario"] for r in rows] == ["SingleStream", "MultiStream", "Offline", "Server"]
    assert [(r["valid"], r["error"], r["reasons"]) for r in rows] == [(True, "", [])] * 4
    assert [r["batch"] for r in rows] == [1, 8, 16, 1]
    assert rows[3]["latency_bound_ns"] == 10**9
    assert "✓ LoadGen Server" in result.stderr
    assert len(Bundle.open(copy).read("scenario")) == 4
    assert "Measured with LoadGen" in (copy / "report.md").read_text()
    shown = run("bench", copy, *QUICK, "--scenario", "SingleStream")
    assert shown.returncode == 0, shown.stderr
    for said in ("Measured with LoadGen", "SingleStream", "Offline", "samples/s", "valid"):
        assert said in shown.stdout
    assert "MLPerf" not in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scenario", "Sever"], "unknown scenario 'Sever': did you mean 'Server'? known are MultiStream, Offline"),
        (["--scenario", "Server", "--latency-bound", "5 parsecs"], "5 parsecs is no time such as 10ms"),
        (["--latency-bound", "10ms"], "--latency-bound: is for --scenario, which was not asked for"),
        (["--scenario", "Server", "--sweep", "batch"], "ask for one at a time"),
        (["--scenario", "Server", "--min-duration", "-1"], "-1.0 is not in the range"),
        (["--scenario", "Server", "--min-duration", "nan"], "nan is not a finite number"),
        (["--scenario", "Offline", "--latency-bound", "10ms"], "add --scenario Server"),
        (["--scenario", "MultiStream", "--samples-per-query", "0"], "'--samples-per-query'"),
    ],
)
def test_bad_words_end_before_any_work(run, words, said):
    result = run("bench", "nowhere", *words)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "ns"), [("10ms", 10**7), ("500us", 500_000), ("500 µs", 500_000), ("1.5s", 1_500_000_000), ("7ns", 7)]
)
def test_a_bound_is_read_with_its_unit(text, ns):
    from pipeline.flag_types import Latency

    assert Latency().convert(text, None, None) == ns


@pytest.mark.parametrize("text", ["10", "ms", "-1ms", "0ms", "1e3ms", "nan s", "inf s", "2h", "5000s", "1..5s"])
def test_what_is_no_time_is_refused(text):
    import click

    from pipeline.flag_types import Latency

    with pytest.raises(click.BadParameter, match="is no time such as"):
        Latency().convert(text, None, None)


def test_without_loadgen_it_ends_with_one_line_before_any_work(monkeypatch):
    from pathlib import Path

    from export.bundle.errors import BackendUnavailable
    from export.progress import Silent
    from pipeline.options import Options
    from pipeline.run import bench_paths
    from serve_bench.latency.scenarios import _run

    monkeypatch.setattr(_run, "importable", lambda module: False)
    with pytest.raises(BackendUnavailable, match="pip install mlcommons-loadgen") as caught:
        list(bench_paths([Path("nowhere")], Options(scenarios=("Server",)), Silent()))
    assert caught.value.exit_status == 1
