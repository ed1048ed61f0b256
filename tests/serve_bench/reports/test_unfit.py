"""A record of another version, or an ill-formed one, costs itself and not the report."""

from dataclasses import replace

import pytest
from report_records import HERE, ONNX, verification, whole
from test_scenario_section import HELD, record
from test_sweep_reports import BATCH, CONCURRENCY

from export.bundle.types import to_json
from export.registry import entries
from serve_bench.equivalence.records import latest as latest_verdicts
from serve_bench.latency import cold
from serve_bench.reports import _warnings
from serve_bench.reports.summary import summarise

START = cold.ColdStart(
    artifact=ONNX.name,
    artifact_sha256=ONNX.sha256,
    backend="onnxruntime-cpu",
    device="cpu",
    threads=1,
    environment="env1",
    run="cold1",
    started="2026-01-01T00:00:00+00:00",
    artifact_bytes=ONNX.bytes,
    total_ns=(30, 40),
    open_ns=(20, 20),
    first_run_ns=(2, 3),
)


def full():
    """A bundle with records of every kind that a report shows."""
    return whole(
        environment=[HERE],
        shown=[{"run": "run1", "newest": "run1"}],
        cold=[START],
        sweep=[*BATCH, *CONCURRENCY],
        scenario=[record("SingleStream"), record("Server", trials=HELD, latency_bound_ns=3_000_000)],
    )


def with_line(kind, line):
    found = full()
    found.records[kind] = [*found.records[kind], line]
    return found


def test_every_kind_is_among_those_that_are_counted():
    assert {kind.name for kind in _warnings.KINDS} == set(full().records)
    assert not any(kind.unfit(full()) for kind in _warnings.KINDS)


@pytest.mark.parametrize("kind", sorted(kind.name for kind in _warnings.KINDS))
def test_a_line_that_does_not_fit_is_told_and_leaves_the_rest_of_the_report_as_it_was(kind):
    plain = summarise(full())
    newer = to_json(full().records[kind][-1]) | {"a_field_of_a_later_version": 1}
    for line in (newer, {}, ["a", "list"], None, "text"):
        shown = summarise(with_line(kind, line))
        said = (
            f"Records that do not fit are left out: 1 of {kind}.jsonl, of another version or ill-formed. What they "
            "hold is not in this report, which may show an older run instead."
        )
        assert said in shown.warnings
        assert replace(shown, warnings=plain.warnings) == plain
    for report in entries("serve_bench.reports").values():
        assert report.render([shown])


@pytest.mark.parametrize(
    ("kind", "of", "changes"),
    [
        ("cold", START, {"total_ns": [30]}),
        ("cold", START, {"total_ns": [], "open_ns": [], "first_run_ns": []}),
        ("cold", START, {"threads": 0}),
        ("sweep", BATCH[0], {"batch": 0}),
        ("sweep", BATCH[0], {"replicates": [0]}),
        ("sweep", BATCH[0], {"facts": {}}),
        ("sweep", BATCH[0], {"facts": BATCH[0].facts | {"spent_s": "nan"}}),
        ("sweep", CONCURRENCY[1], {"starts_ns": [0]}),
        ("sweep", CONCURRENCY[1], {"processes": 3}),
        ("sweep", CONCURRENCY[1], {"windows": [{"replicate": 0, "start_ns": 9, "end_ns": 9}]}),
        ("sweep", CONCURRENCY[1], {"windows": [{"replicate": 7, "start_ns": 0, "end_ns": 9}]}),
        ("scenario", record("Server", trials=HELD), {"trials": []}),
        ("scenario", record("Offline"), {"min_duration_s": "inf"}),
        ("verification", verification(ONNX, "onnxruntime-cpu", 2e-7, 8e-7), {"settings": {"asked": 1}}),
        ("verification", verification(ONNX, "onnxruntime-cpu", 2e-7, 8e-7), {"metric": {"test_accuracy": "high"}}),
    ],
)
def test_what_readers_count_on_is_looked_at(kind, of, changes):
    whole = summarise(with_line(kind, to_json(of) | changes))
    assert any(f"1 of {kind}.jsonl" in warning for warning in whole.warnings)


def test_a_sweep_with_a_point_that_does_not_fit_makes_way_for_the_one_before():
    newer = [replace(point, run="newer") for point in BATCH]
    spoilt = to_json(newer[-1]) | {"unknown": 1}
    assert {s.run for s in summarise(whole(sweep=[*BATCH, *newer])).sweeps} == {"newer"}
    assert {s.run for s in summarise(whole(sweep=[*BATCH, *newer[:-1], spoilt])).sweeps} == {"batch-run"}


def test_verdicts_are_looked_up_past_a_line_that_does_not_fit():
    from serve_bench.cells import Cell

    found = with_line("verification", {"artifact_sha256": ONNX.sha256})
    (verdict,) = latest_verdicts(found, [Cell(ONNX, "onnxruntime-cpu", "cpu")], "env1")
    assert verdict.passed
