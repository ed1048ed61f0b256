"""Which runs are whole, and when nothing has to be measured again."""

from dataclasses import replace

import pytest
from latency_fakes import FakeBundle, FakeCell, artifact

from export.bundle.types import Measurement, to_json
from serve_bench.latency.records import up_to_date, whole_runs

SETTINGS = {"batches": (1, 8), "replicates": 10, "threads": 1, "isolate": False, "budget_s": 15.0}
CELL = FakeCell(artifact("onnx"), "onnxruntime-cpu")


def record(run: str, batch: int, **changes) -> Measurement:
    facts = {"cells": 2, "batches": [1, 8], "replicates": 10, "isolate": False, "budget_s": 15.0}
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
    assert up_to_date(bundle(record("a", 1), record("a", 8)), [CELL], "here", SETTINGS)


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
    assert not up_to_date(whole, [CELL], environment, SETTINGS | changed)


def test_a_new_cell_is_measured():
    whole = bundle(record("a", 1), record("a", 8))
    assert not up_to_date(whole, [CELL, FakeCell(artifact("torchscript"), "torchscript")], "here", SETTINGS)
    assert not up_to_date(bundle(record("a", 1)), [CELL], "here", SETTINGS)
