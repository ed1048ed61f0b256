"""Which runs are whole, when nothing has to be measured again, and which run is shown."""

from dataclasses import replace

import pytest
from latency_fakes import FakeBundle, FakeCell, artifact

from export.bundle.errors import UsageError
from export.bundle.types import Measurement, to_json
from serve_bench.latency.records import also_kept, matching, named, show, whole_runs
from serve_bench.latency.run_facts import MEASUREMENTS

SETTINGS = {"batches": (1, 8), "replicates": 10, "threads": 1, "isolate": False, "budget_s": 15.0}
ALL_RUNS = {"spent_s": 1.5, "rounds": 4, "seed": 0, "samples": 100}
CELL = FakeCell(artifact("onnx"), "onnxruntime-cpu")


def record(run: str, batch: int, **changes) -> Measurement:
    facts = ALL_RUNS | {"cells": 2, "batches": [1, 8], "replicates": 10, "isolate": False, "budget_s": 15.0}
    made = Measurement(
        artifact="onnx",
        artifact_sha256=CELL.artifact.sha256,
        backend="onnxruntime-cpu",
        device="cpu",
        precision="float32",
        boundary="host",
        scenario="interleaved",
        batch=batch,
        threads=1,
        latencies_ns=(1, 2),
        replicates=(0, 1),
        rounds=(0, 0),
        environment="here",
        run=run,
        started="2026-01-01T00:00:00+00:00",
        facts=facts,
    )
    return replace(made, **changes)


def bundle(*records: Measurement) -> FakeBundle:
    return FakeBundle({"measurement": [to_json(r) for r in records]})


def test_a_run_that_was_cut_short_is_passed_over():
    whole = bundle(record("a", 1), record("a", 8), record("b", 1))
    assert [run[0].run for run in whole_runs(whole)] == ["a"]


def test_a_whole_run_with_the_same_settings_is_up_to_date():
    whole = bundle(record("a", 1), record("a", 8))
    assert matching(whole, [CELL], "here", SETTINGS) == whole_runs(whole)[0]


@pytest.mark.parametrize(
    ("changed", "environment"),
    [
        ({"batches": (1, 8, 64)}, "here"),
        ({"replicates": 20}, "here"),
        ({"threads": 2}, "here"),
        ({"isolate": True}, "here"),
        ({"budget_s": 30.0}, "here"),
        ({}, "elsewhere"),
    ],
)
def test_other_settings_are_measured_again(changed, environment):
    whole = bundle(record("a", 1), record("a", 8))
    assert not matching(whole, [CELL], environment, SETTINGS | changed)


def test_a_new_cell_is_measured():
    whole = bundle(record("a", 1), record("a", 8))
    assert not matching(whole, [CELL, FakeCell(artifact("torchscript"), "torchscript")], "here", SETTINGS)
    assert not matching(bundle(record("a", 1)), [CELL], "here", SETTINGS)


def small(run: str) -> Measurement:
    """A run of one row: 2 replicates at batch 1."""
    facts = ALL_RUNS | {"cells": 1, "batches": [1], "replicates": 2, "isolate": False, "budget_s": 2.0}
    return record(run, 1, facts=facts, started="2026-01-02T00:00:00+00:00")


def names(whole: FakeBundle) -> list[str]:
    return [run[0].run for run in whole_runs(whole)]


def test_a_smaller_run_neither_displaces_the_larger_one_nor_lets_it_be_measured_again():
    whole = bundle(record("a", 1), record("a", 8), small("b"))
    assert names(whole) == ["a", "b"]
    run = matching(whole, [CELL], "here", SETTINGS)
    assert run is not None
    assert run[0].run == "a"


def test_a_run_that_is_shown_again_is_the_last_until_another_is_measured():
    whole = bundle(record("a", 1), record("a", 8), small("b"))
    assert show(whole, whole_runs(whole)[0])
    assert names(whole) == ["b", "a"]
    assert not show(whole, whole_runs(whole)[-1])
    assert len(whole.read("shown")) == 1
    assert show(whole, whole_runs(whole)[0])
    assert names(whole) == ["a", "b"]
    show(whole, whole_runs(whole)[0])
    whole.append("measurement", to_json(small("c")))
    assert names(whole) == ["a", "b", "c"]


def test_a_run_is_named_by_how_it_begins():
    whole = bundle(small("abc"), small("abd"), small("b"))
    assert named(whole, "abc")[0].run == "abc"
    assert named(whole, "b")[0].run == "b"
    with pytest.raises(UsageError, match="--run ab: several runs begin so; the latest kept are abc"):
        named(whole, "ab")
    with pytest.raises(
        UsageError, match=r"--run x: no whole run .* b \(2026-01-02T00:00:00\+00:00, 2 replicates, 1 row\)"
    ):
        named(whole, "x")
    with pytest.raises(UsageError, match="--run a: no run is kept"):
        named(bundle(), "a")


def test_the_latest_of_several_that_match():
    whole = bundle(*[record(run, batch) for run in ("a", "b") for batch in (1, 8)])
    assert matching(whole, [CELL], "here", SETTINGS) == whole_runs(whole)[1]


def test_a_larger_run_behind_the_one_that_is_shown_is_named():
    larger = [record("a", 1), record("a", 8)]
    assert also_kept(whole_runs(bundle(*larger, small("b")))) == (
        "run a of 2026-01-01T00:00:00+00:00, 10 replicates, 2 rows, 15 s asked (the run shown has 2, 1, 2 s); "
        "pipeline report BUNDLE --run a shows it"
    )
    before = replace(small("b"), started="2025-12-31T00:00:00+00:00")
    assert also_kept(whole_runs(bundle(before, *larger))) == ""
    longer = replace(small("c"), facts=small("c").facts | {"replicates_taken": 12}, started="2026-01-01T12:00:00+00:00")
    assert also_kept(whole_runs(bundle(*larger, longer, small("b")))).startswith("run a of ")
    later = {"run": "d", "started": "2026-01-03T00:00:00+00:00"}
    brief = [replace(r, facts=r.facts | {"budget_s": 5.0}, **later) for r in larger]
    assert also_kept(whole_runs(bundle(*larger, *brief))).startswith("run a of ")
    elsewhere = [replace(r, environment="elsewhere") for r in larger]
    assert also_kept(whole_runs(bundle(*elsewhere, small("b")))) == ""
    assert also_kept([]) == ""


def test_a_newer_run_is_named_where_an_older_one_is_shown():
    whole = bundle(record("a", 1), record("a", 8), small("b"))
    show(whole, whole_runs(whole)[0])
    assert also_kept(whole_runs(whole)) == (
        "the newer run b of 2026-01-02T00:00:00+00:00, 2 replicates, 1 row, 2 s asked (the run shown has 10, 2, "
        "15 s); pipeline report BUNDLE --run b shows it"
    )


def fact(name, value):
    return {"facts": small("b").facts | {name: value}}


UNFIT = {
    "a field of a later version": lambda r: r | {"unknown": 1},
    "no object": lambda _: ["a", "list"],
    "fewer replicates than latencies": lambda r: r | {"replicates": [0]},
    "more rounds than latencies": lambda r: r | {"rounds": [0, 0, 0]},
    "a latency of no time": lambda r: r | {"latencies_ns": [1, 0]},
    "a latency beyond any clock": lambda r: r | {"latencies_ns": [1, 1 << 63]},
    "a latency that is no number": lambda r: r | {"latencies_ns": [1, "inf"]},
    "a batch of nothing": lambda r: r | {"batch": 0},
    "a cold start that is none": lambda r: r | {"cold": {"open_ns": "inf"}},
    "no replicates": lambda r: r | fact("replicates", 0),
    "none that were taken": lambda r: r | fact("replicates_taken", 0),
    "a budget that is not finite": lambda r: r | fact("budget_s", "inf"),
    "batches that are no list": lambda r: r | fact("batches", 1),
    "half of what ended it": lambda r: r | fact("widest_ratio", 0.02),
    "a calibration without its loop": lambda r: r | fact("calibration", [[0, 0]]),
    "a calibration of no time": lambda r: r | fact("calibration", [[0, 0, 5, 0]]),
    "a peak without its rate": lambda r: r | fact("peak", [{"bytes_per_s": 1.0}]),
    "a GPU's state of a later version": lambda r: (
        r | fact("gpu_rounds", [{"replicate": 0, "round": 0, "gpus": [{"gpu": 0, "fan": 1}]}])
    ),
    **{
        f"no {name}": lambda r, name=name: r | {"facts": {k: v for k, v in r["facts"].items() if k != name}}
        for name in ("cells", "budget_s", "spent_s", "replicates", "rounds", "isolate", "seed", "batches", "samples")
    },
}


@pytest.mark.parametrize("spoil", UNFIT.values(), ids=UNFIT)
def test_a_run_with_a_record_that_does_not_fit_is_passed_over_for_the_one_before(spoil):
    whole = bundle(small("a"))
    whole.append("measurement", spoil(to_json(small("b"))))
    assert names(whole) == ["a"]
    assert MEASUREMENTS.unfit(whole) == 1
    show(whole, whole_runs(whole)[0])
    assert names(whole) == ["a"]


def test_facts_that_a_run_may_have_are_read():
    """What runs recorded over time, each beside the facts that all have."""
    for more in (
        {"calibration": [[0, 0, 5]]},
        {"calibration": [[0, 0, 5, 7]], "cores": [[0], []], "later": {"unknown": 1}},
        {"peak": [{"error": "it took too long"}]},
        {"replicates_taken": 12, "page_faults": 3, "over_budget_s": 0},
        {"gpu_rounds": [{"replicate": 0, "round": 0, "gpus": [{"gpu": 0, "sm_mhz": 1410}]}]},
    ):
        assert names(bundle(replace(small("a"), facts=small("a").facts | more))) == ["a"]
    failed = replace(small("a"), latencies_ns=(), replicates=(), rounds=(), error="no")
    assert names(bundle(replace(failed, facts=failed.facts | {"replicates_taken": 0}))) == ["a"]


def test_what_is_shown_is_not_chosen_by_a_line_that_does_not_fit():
    whole = bundle(record("a", 1), record("a", 8), small("b"))
    show(whole, whole_runs(whole)[0])
    whole.append("shown", ["b"])
    whole.append("shown", {"run": "b", "newest": "b", "why": "a later version"})
    assert names(whole) == ["b", "a"]
