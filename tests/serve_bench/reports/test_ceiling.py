"""The machine's ceiling in reports: shares derived by hand, what is left out, what a report without it looks like."""

import json
from dataclasses import replace

import numpy as np
import pytest
from report_records import HALF, ONNX, PROGRAM, FakeBundle, manifest, measurement, verification, whole

from export.bundle.errors import BundleCorrupt
from export.bundle.store import Bundle
from export.registry import entries
from serve_bench.reports import _ceiling
from serve_bench.reports import _format as show
from serve_bench.reports.summary import summarise

onnx = pytest.importorskip("onnx")
make = onnx.helper


def peak(flops=1e9, width=1e9, **changes):
    facts = {"flops_per_s": flops, "library": "numpy", "matrix": 512, "bytes_per_s": width, "copy_bytes": 128_000_000}
    return facts | {"cache_bytes": 32_000_000, "threads": 1, "seconds": 0.7} | changes


class Filed(FakeBundle):
    """A bundle whose model.onnx multiplies two numbers a sample with a 2 × 2 matrix: 8 operations a sample."""

    path = None
    graph = Bundle.graph

    def file(self, name):
        if self.path is None:
            raise BundleCorrupt("model.onnx: is missing")
        return self.path


@pytest.fixture
def bundle(tmp_path):
    weight = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    ends = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", 2]) for n in "xy"]
    graph = make.make_graph([make.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    path = tmp_path / "model.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)

    def made(*peaks, device="cpu", records=None, **changes):
        run = records or whole().records["measurement"]
        run = [replace(r, device=device, facts=r.facts | {"peak": list(peaks)}) for r in run]
        found = Filed(whole(measurement=run, **changes).records)
        found.path = path
        return found

    return made


def test_ceiling_and_shares_by_hand(bundle):
    """One sample: 8 operations, 16 + 8 + 8 bytes; at 0.4 and 1 a ns 20 ns and 32 ns. p50 are 210 and 105 ns."""
    roof = summarise(bundle(peak(4e8, 5e8), peak(3e8, 1e9))).roofline
    assert (roof.flops_per_s, roof.bytes_per_s) == (4e8, 1e9)
    (found,) = roof.ceilings
    assert (found.flops, found.bytes, found.intermediate_bytes, found.intensity) == (8, 32, 0, 0.25)
    assert (found.latency_ns, found.bound) == (pytest.approx(32), "memory")
    assert found.best == "onnxruntime-cpu"
    assert found.best_share == pytest.approx(32 / 105)
    assert found.eager_share == pytest.approx(32 / 210)


def test_a_slow_machine_is_bound_by_its_arithmetic(bundle):
    (found,) = summarise(bundle(peak(1e8, 1e9))).roofline.ceilings
    assert (found.latency_ns, found.bound) == (pytest.approx(80), "compute")


def test_work_grows_with_the_batch(bundle):
    records = [measurement(PROGRAM, "eager", b, [[200] * 11, [220] * 11]) for b in (1, 8)]
    records = [replace(r, facts=r.facts | {"cells": 2}) for r in records]
    found = summarise(bundle(peak(), records=records)).roofline.ceilings
    assert [(c.batch, c.flops, c.bytes) for c in found] == [(1, 8, 32), (8, 64, 16 + 2 * 64)]


def test_only_float32_counts(bundle):
    """The float16 form is the fastest here, and one that computes in bfloat16 though float32 was asked."""
    fast = [
        replace(r, latencies_ns=(10,) * 22) if r.precision == "float16" else r for r in whole().records["measurement"]
    ]
    verdicts = [
        verification(PROGRAM, "eager", 1e-7, 8e-7),
        verification(ONNX, "onnxruntime-cpu", 2e-7, 8e-7, precision_found="bfloat16"),
        verification(HALF, "onnxruntime-cpu", 5e-4, 2e-3),
    ]
    (found,) = summarise(bundle(peak(), records=fast, verification=verdicts)).roofline.ceilings
    assert found.best == "eager"


@pytest.mark.parametrize("none", [{"flops": 0.0}, {"width": 0.0}])
def test_a_peak_of_nothing_is_no_ceiling(bundle, none):
    roof = summarise(bundle(peak(**none))).roofline
    assert roof.ceilings == ()
    assert roof.notes == ("The machine's peak was recorded as 0.",)
    both = summarise(bundle(peak(**none), peak(4e8, 5e8))).roofline
    assert (both.flops_per_s, both.bytes_per_s, both.notes) == (4e8, 5e8, ())


def test_every_report_shows_it(bundle):
    summary = summarise(bundle(peak(4e8, 5e8), peak(3e8, 1e9)))
    text = {name: entries("serve_bench.reports")[name].render([summary]) for name in ("markdown", "html", "json")}
    assert (
        "| 1 | 30 % (onnxruntime-cpu) | 15 % | 32.0 ns | 8.00 FLOP | 32 B | 0.250 | memory |"
        in text["markdown"].splitlines()
    )
    peaks = "400 MFLOP/s and 300 MFLOP/s in a product of two float32 matrices (at best 512 rows, numpy)"
    for name in ("markdown", "html"):
        assert peaks in text[name]
        assert "500 MB/s and 1.00 GB/s in a copy of 128 MB" in text[name]
        assert _ceiling.LEGEND[:60] in text[name]
    assert "<td>30 %<small>(onnxruntime-cpu)</small></td>" in text["html"]
    roof = json.loads(text["json"])["reports"][0]["roofline"]
    assert roof["ceilings"][0]["best_share"] == pytest.approx(32 / 105)
    assert [p["flops_per_s"] for p in roof["peaks"]] == [4e8, 3e8]


def test_no_peak_no_section():
    assert summarise(FakeBundle()).roofline is None
    summary = summarise(whole())
    assert summary.roofline is None
    for name in ("markdown", "html"):
        assert "ceiling" not in entries("serve_bench.reports")[name].render([summary])


def test_a_share_above_100_percent_is_shown_and_explained(bundle):
    """At 1 byte in 10 ns: 320 ns against 105."""
    roof = summarise(bundle(peak(width=1e8))).roofline
    assert _ceiling.lines(roof)[0][1] == "300 % (onnxruntime-cpu)"
    assert any(s.startswith("Above 100 % at batch 1: from one run to the next the weights stay") for s in said(roof))
    large = summarise(bundle(peak(width=1e8, cache_bytes=31))).roofline
    assert any("weights are read faster than memory is copied" in s for s in said(large))
    slow = summarise(bundle(peak(flops=1e7))).roofline
    assert any("fewer operations than the graph states" in s for s in said(slow))
    assert not any("Above" in s for s in said(summarise(bundle(peak())).roofline))


def said(roof):
    return list(_ceiling.sentences(roof))


def test_on_cuda_the_ceiling_is_left_out_in_words(bundle):
    roof = summarise(bundle(device="cuda")).roofline
    assert roof.ceilings == ()
    assert said(roof) == [_ceiling.CUDA]


def test_a_peak_that_failed_is_said_once_and_the_other_one_counts(bundle):
    failed = {"error": "the machine's peak could not be measured: no"}
    roof = summarise(bundle(failed, failed)).roofline
    assert (said(roof), roof.ceilings) == (["the machine's peak could not be measured: no."], ())
    roof = summarise(bundle(failed, peak(1e8))).roofline
    assert roof.flops_per_s == 1e8
    assert not any("could not" in sentence for sentence in said(roof))


def test_a_model_that_cannot_be_counted_is_said(bundle):
    damaged = bundle(peak())
    damaged.path = None
    assert said(summarise(damaged).roofline) == ["Operations were not counted: model.onnx: is missing."]
    without = bundle(peak())
    without.manifest = manifest(artifacts=(PROGRAM,))
    assert said(summarise(without).roofline) == [_ceiling.NO_MODEL]


def test_operators_without_a_rule_are_named(bundle):
    roof = replace(summarise(bundle(peak())).roofline, unknown={"Det": 2})
    assert any(sentence.startswith("Not counted: Det (2); the true ceiling") for sentence in said(roof))


@pytest.mark.parametrize(
    ("value", "text"), [(8, "8.00 FLOP"), (2_581_860, "2.58 MFLOP"), (14.9e9, "14.9 GFLOP"), (0, "0 FLOP")]
)
def test_prefixes(value, text):
    assert show.prefixed(value, "FLOP") == text


def test_a_recurrent_model_is_as_long_as_its_samples(tmp_path, monkeypatch):
    """7 steps of 2 numbers a sample, taken from the samples that were measured."""
    from serve_bench.latency import rounds

    node = make.make_node("Relu", ["x"], ["y"])
    ends = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["batch", "length", 2]) for n in "xy"]
    path = tmp_path / "model.onnx"
    graph = make.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    run = [replace(r, facts=r.facts | {"peak": [peak()]}) for r in whole().records["measurement"]]
    bundle = Filed(whole(measurement=run).records)
    bundle.path = path
    monkeypatch.setattr(rounds, "real_samples", lambda bundle, limit: {"x": np.ones((limit, 7, 2), np.float32)})
    (found,) = summarise(bundle).roofline.ceilings
    assert found.flops == 7 * 2
