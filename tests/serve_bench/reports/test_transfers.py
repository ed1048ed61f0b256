"""Copying in and out of a GPU, from records as a GPU leaves them: the difference of two boundaries."""

from dataclasses import replace

import pytest
from report_records import HALF, ONNX, PROGRAM, measurement, whole
from test_report_formats import render

from serve_bench.reports import _transfers
from serve_bench.reports.summary import summarise


def on_gpu(of, backend, boundary, medians, **changes):
    made = measurement(of, backend, 1, [[ns] * 11 for ns in medians], device="cuda", boundary=boundary, **changes)
    return replace(made, facts=made.facts | {"cells": 5})


RUN = [
    on_gpu(PROGRAM, "eager", "host", [140, 150, 145]),
    on_gpu(PROGRAM, "eager", "device", [100, 108, 105]),
    on_gpu(ONNX, "onnxruntime-cuda", "host", [90, 91, 92]),
    on_gpu(HALF, "onnxruntime-cuda", "host", [90, 91, 92]),
    replace(
        on_gpu(HALF, "onnxruntime-cuda", "device", [90, 91, 92]),
        latencies_ns=(),
        replicates=(),
        rounds=(),
        error="out of memory",
    ),
]


def test_copying_is_the_difference_of_the_boundaries_within_each_replicate():
    """Differences of 40, 42 and 40: mean 122/3, standard deviation 2/√3, t₂(0.975) = 4.3027."""
    (found,) = _transfers.of_run(RUN, {a.sha256: a for a in (PROGRAM, ONNX, HALF)})
    assert (found.label, found.batch) == ("eager cuda", 1)
    half = 4.302653 * (2 / 3**0.5) / 3**0.5
    assert (found.copying_ns, found.low_ns, found.high_ns) == pytest.approx(
        (122 / 3, 122 / 3 - half, 122 / 3 + half), rel=1e-6
    )
    assert found.share == pytest.approx(122 / 3 / 145)


def test_they_stand_in_every_format_where_there_is_a_gpu():
    shown = summarise(whole(measurement=RUN))
    assert "| 40.7 ns [37.8, 43.5] | 28.0 % |" in render("markdown", shown)
    assert "<caption>Transfers</caption>" in render("html", shown)
    assert '"copying_ns": 40.66' in render("json", shown)
    assert "Transfers" not in render("html", summarise(whole()))


def test_what_cannot_be_told_from_no_copying_is_shown_so():
    row = _transfers.Transfer(
        label="x", artifact="a", backend="x", device="cuda", batch=8, copying_ns=-5, low_ns=-20, high_ns=10, share=-0.05
    )
    assert _transfers.cells(row) == ("x", "8", "−5.00 ns [−20.0, 10.0]", "-5.0 %")
