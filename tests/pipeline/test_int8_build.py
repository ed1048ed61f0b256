"""int8 forms in a bundle: made on request, kept where the metric holds, verified by their own graph."""

import pytest

from export.bundle.errors import ExportError
from export.bundle.store import Bundle
from export.progress import Silent
from pipeline.options import Options
from pipeline.origins import ZooOrigin
from pipeline.run import run_all
from serve_bench.equivalence import quantised, selftest
from serve_bench.worker import Workers

pytest.importorskip("torch")


def outcome(tmp_path, *precisions, **more):
    given = {"out": tmp_path, "epochs": 2, "precisions": precisions, "data_dir": tmp_path / "data"} | more
    options = Options(**given)
    return run_all(ZooOrigin("digits-linear", options, Silent()), options, Silent(), bench=False)


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


def test_int8_and_bfloat16_are_made_on_request_verified_tried_and_kept(tmp_path, monkeypatch):
    first = outcome(tmp_path)
    assert {a.precision for a in first.bundle.artifacts} == {"float32", "float16"}
    assert not any(n.format.startswith("onnx-int8") for n in first.built.not_built)
    made = outcome(tmp_path, "float32", "int8", "bfloat16", max_metric_drop=100.0)
    forms = {a.name: a for a in made.bundle.artifacts}
    assert {"onnx int8", "onnx int8 dynamic", "exported_program bfloat16"} <= forms.keys()
    assert {"drop", "drop_low", "drop_high", "lost", "gained"} <= forms["onnx int8"].facts["metric_change"].keys()
    verdicts = {(v.artifact, v.backend): v for v in made.judged.verifications}
    ours = verdicts["onnx int8", "onnxruntime-cpu"]
    assert ours.passed, ours.reason
    assert (ours.precision_asked, ours.constants["mismatched"]) == ("int8", [])
    assert {"fc.weight", "fc.bias"} <= set(ours.constants["compared"])
    assert ours.metric.keys() == {"test_accuracy", "test_calibration_error"}
    assert ours.decisions > 0
    bf16 = verdicts["exported_program bfloat16", "eager"]
    assert bf16.passed, bf16.reason
    assert bf16.constants["mismatched"] == []
    monkeypatch.setattr(selftest, "LIMIT", 1)
    with Workers() as workers:
        result = selftest.run(made.bundle, workers, None, Silent())
    assert result.left == 0
    assert [t.reason for t in result.false_alarms] == []
    for form in ("onnx int8", "onnx int8 dynamic", "exported_program bfloat16"):
        trials = [t for t in result.trials if t.artifact == form and t.kind != selftest.SOUND]
        assert len(trials) > 20
        assert [f"{t.kind}: {t.fault}" for t in trials if not any(t.caught.values())] == []
        assert not all(t.caught["numbers"] for t in trials)
    again = outcome(tmp_path)
    assert again.bundle.digest == made.bundle.digest, "what is not asked for stays, whatever it may cost"


def test_a_form_that_costs_too_much_is_not_kept_and_fails_the_run(tmp_path, monkeypatch):
    fallen = {"lost": 9, "gained": 0, "p_value": 0.004, "drop": 0.025, "drop_low": 0.009, "drop_high": 0.044}
    monkeypatch.setattr(quantised, "metric_change", lambda *_: fallen)
    found = outcome(tmp_path, "float32", "int8")
    refused = [n for n in found.built.not_built if n.precision == "int8"]
    assert [n.format for n in refused] == ["onnx-int8", "onnx-int8-dynamic"]
    said = "accuracy -2.50 points [-4.40, -0.90], more than the 0.5 points that --max-metric-drop allows"
    assert {n.reason for n in refused} == {said}
    assert not list(found.bundle.payload.glob("*int8*"))
    with pytest.raises(ExportError, match=r"onnx-int8 is not in the bundle: accuracy -2\.50 points"):
        found.raise_for_failures()


def test_a_form_that_was_kept_is_refused_by_a_lower_limit(tmp_path, monkeypatch):
    fallen = {"lost": 9, "gained": 0, "p_value": 0.004, "drop": 0.025, "drop_low": 0.009, "drop_high": 0.044}
    monkeypatch.setattr(quantised, "metric_change", lambda *_: fallen)
    words = ("float32", "int8")
    assert outcome(tmp_path, *words, max_metric_drop=3.0).built.not_built == ()
    refused = [n.format for n in outcome(tmp_path, *words, max_metric_drop=2.0).built.not_built]
    assert refused == ["onnx-int8", "onnx-int8-dynamic"]


def test_a_form_that_falls_where_it_is_verified_fails(tmp_path, monkeypatch):
    made = outcome(tmp_path, "float32", "int8", max_metric_drop=100.0)
    artifact = next(a for a in made.bundle.artifacts if a.name == "onnx int8")
    assert artifact.facts["max_metric_drop"] == 100.0
    monkeypatch.setattr(quantised, "why_fallen", lambda change, most: f"fell by {change['drop']:.3f}, {most:g} allowed")
    from pipeline.run import judge_bundle

    options = Options(fresh=True, precisions=("int8",), backends=("onnxruntime-cpu",))
    found = judge_bundle(Bundle.open(tmp_path / "digits-linear"), options, Silent(), "no").judged
    assert [v.passed for v in found.verifications] == [False, False]
    assert all(v.reason.startswith("fell by ") and "100 allowed" in v.reason for v in found.verifications)
