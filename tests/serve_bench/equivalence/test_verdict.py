"""The verdict over a fake bundle whose truth is a 3×2 matrix."""

from dataclasses import replace

import numpy as np
import pytest
from fake_bundle import CELL, FakeBundle, FakeWorkers, artifact, model, write_truth

from export.bundle.errors import BundleCorrupt, WorkerDied
from export.bundle.types import Verification, from_json
from export.progress import Silent
from serve_bench.cells import Cell
from serve_bench.equivalence.records import latest, pending
from serve_bench.equivalence.verdict import verify_bundle


@pytest.fixture
def bundle(tmp_path):
    write_truth(tmp_path / "truth.npz")
    return FakeBundle(tmp_path)


def verify(bundle, workers, cells=(CELL,), threads=1):
    return verify_bundle(bundle, workers, list(cells), threads, "here", Silent())


def exact(x):
    return model(x).astype(np.float32)


def test_a_faithful_backend_passes_every_probe_and_decision(bundle):
    workers = FakeWorkers(exact)
    (found,) = verify(bundle, workers)
    assert found.passed, found.reason
    assert [p.probe for p in found.probes] == ["test", "batch 1", "batch 2", "batch 7", "neighbours", "gaussian"]
    assert workers.batches == [(80, 80), (64, 1), (64, 2), (64, 7), (128, 512), (80, 80)]
    assert all(p.band == 16 * 2.0**-24 for p in found.probes)
    assert (found.decisions, found.disagreements, found.metric) == (
        80,
        (),
        {"test_accuracy": 1.0, "test_calibration_error": found.metric["test_calibration_error"]},
    )
    changed = {name: found.against_truth[name] for name in ("lost", "gained", "p_value", "drop")}
    assert changed == {"lost": 0, "gained": 0, "p_value": 1.0, "drop": 0.0}
    assert workers.stopped == 1
    assert from_json(Verification, bundle.records[0]).passed


def test_one_weight_off_by_a_thousandth_fails_with_probe_output_index_and_both_values(bundle):
    def off(x):
        answers = exact(x)
        answers[:, 1] *= np.float32(1.001)
        return answers

    (found,) = verify(bundle, FakeWorkers(off))
    assert not found.passed
    worst = next(p for p in found.probes if p.probe == "test")
    assert worst.worst_index[1] == 1
    assert worst.error == pytest.approx(1e-3, rel=0.01)
    assert worst.ratio == pytest.approx(worst.error * 2**24, rel=1e-6)
    assert f"output 'y', index {worst.worst_index}" in found.reason
    assert f"{worst.worst_value:.9g} where float64 has {worst.worst_truth:.9g}" in found.reason


def test_one_sample_with_nan_fails_and_is_named(bundle):
    def drops(x):
        answers = exact(x)
        answers[min(5, len(x) - 1), 2] = np.nan
        return answers

    (found,) = verify(bundle, FakeWorkers(drops))
    assert not found.passed
    assert "NaN or Inf" in found.reason
    assert "(5, 2)" in found.reason
    assert found.probes[0].worst_value is None
    from_json(Verification, bundle.records[0])


def test_an_engine_is_asked_no_more_at_once_than_its_profile_admits(bundle):
    engine = replace(artifact(), facts={"profile": {"x": {"min": [1, 2], "opt": [8, 2], "max": [16, 2]}}})
    workers = FakeWorkers(exact)
    verify(bundle, workers, [Cell(engine, "onnxruntime-cpu", "cpu")])
    assert [batch for _, batch in workers.batches] == [16, 1, 2, 7, 16, 16]


def test_a_fault_at_batch_7_alone_is_found(bundle):
    seen = []

    def at_seven(x):
        seen.append(len(x))
        return exact(x) + (0.01 if len(seen) == 4 else 0.0)

    (found,) = verify(bundle, FakeWorkers(at_seven))
    assert [p.probe for p in found.probes if not p.passed] == ["batch 7"]


def test_less_precision_than_claimed_fails_though_the_numbers_pass(bundle):
    (found,) = verify(bundle, FakeWorkers(exact, precision="tf32"))
    assert not found.passed
    assert all(p.passed for p in found.probes)
    assert found.reason == "onnxruntime-cpu claims float32 but computes in tf32 (a probe): set it to float32"
    assert (found.precision_asked, found.precision_found) == ("float32", "tf32")


def test_a_precision_that_the_user_asked_of_the_session_is_its_claim(bundle):
    workers = FakeWorkers(exact, precision="tf32", settings={"precision_asked": "tf32"})
    (found,) = verify(bundle, workers)
    assert found.passed, found.reason
    assert found.probes[0].band == 2.0**-10


def test_a_half_graph_computed_in_more_is_judged_in_its_own_band(bundle):
    def half(x):
        return exact(x) * np.float32(1 + 2**-11)

    cell = Cell(artifact("float16"), "onnxruntime-cpu", "cpu")
    (found,) = verify(bundle, FakeWorkers(half, precision="float32"), [cell])
    assert found.passed, found.reason
    assert found.probes[0].band == 2 * 2.0**-11


def test_flips_near_a_tie_are_listed_and_explained(tmp_path):
    """Sample 0 is a tie between 0 and 1 that float64 breaks by 1e-8; the backend breaks it the other way."""
    x = write_truth(tmp_path / "truth.npz")
    y64 = model(x)
    y64[0, :2] = y64[0].max() + 1.0, y64[0].max() + 1.0 + 1e-8
    write_truth(tmp_path / "truth.npz", arrays={"test/output/y": y64, "test/scale/y": np.array(np.abs(y64).max())})

    def flips(x):
        answers = y64[: len(x)].astype(np.float32)
        answers[0, 0] = np.nextafter(answers[0, 0], np.float32(np.inf))
        return answers

    bundle = FakeBundle(tmp_path)
    (found,) = verify(bundle, FakeWorkers(lambda x: flips(x)))
    (change,) = found.disagreements
    assert (change.sample, change.answer, change.truth, change.explained) == (0, 0, 1, True)
    assert 0 < change.margin <= change.bound


def test_regression_has_no_decisions(bundle):
    bundle.task = "regression"
    (found,) = verify(bundle, FakeWorkers(exact))
    assert (found.decisions, found.metric) == (0, {})


def test_a_regression_is_measured_against_its_targets(tmp_path):
    x = write_truth(tmp_path / "truth.npz", labels=False)
    write_truth(tmp_path / "truth.npz", labels=False, arrays={"test/target": model(x) + 0.5})
    bundle = FakeBundle(tmp_path)
    bundle.task = "regression"
    (found,) = verify(bundle, FakeWorkers(exact))
    assert found.metric == {"test_mse": pytest.approx(0.25, rel=1e-5)}


def test_a_missing_or_misshapen_output_is_a_failed_row(bundle):
    (found,) = verify(bundle, FakeWorkers(lambda x: exact(x)[:, :2]))
    assert "probe 'test', output 'y': the answer has shape [80, 2]" in found.reason


def test_a_backend_that_breaks_is_a_row_and_the_rest_stands(bundle):
    def dies(x):
        raise WorkerDied("onnxruntime-cpu: its process ended: killed by SIGSEGV")

    (found,) = verify(bundle, FakeWorkers(dies))
    assert (found.passed, found.probes, found.settings["broke"]) == (False, (), True)
    assert "SIGSEGV" in found.reason
    (found,) = verify(bundle, FakeWorkers(None))
    assert "no such operator" in found.reason


def test_only_what_changed_is_pending(bundle):
    assert pending(bundle, [CELL], "here", 1) == [CELL]
    verify(bundle, FakeWorkers(exact))
    assert pending(bundle, [CELL], "here", 1) == []
    assert pending(bundle, [CELL], "elsewhere", 1) == [CELL]
    assert pending(bundle, [CELL], "here", 2) == [CELL]
    assert pending(bundle, [Cell(artifact(sha256="b" * 64), "onnxruntime-cpu", "cpu")], "here", 1) != []


def test_a_failed_verdict_stands_but_what_broke_is_tried_again(bundle):
    verify(bundle, FakeWorkers(lambda x: exact(x) * 2))
    assert pending(bundle, [CELL], "here", 1) == []
    verify(bundle, FakeWorkers(None))
    assert pending(bundle, [CELL], "here", 1) == [CELL]
    (last,) = latest(bundle, [CELL], "here")
    assert "no such operator" in last.reason


def test_a_damaged_truth_stops_before_anything_is_judged(bundle):
    path = bundle.folder / "truth.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BundleCorrupt, match="make the bundle again"):
        verify(bundle, FakeWorkers(exact))
    assert bundle.records == []


def test_an_answer_that_depends_on_its_neighbours_fails_that_probe(bundle):
    def leaking(x):
        """Right for a batch of real samples; with strangers among them, a little of the next one leaks in."""
        return exact(x) + (1e-3 * np.roll(exact(x), -1, axis=0) if len(x) == 128 else 0)

    (found,) = verify(bundle, FakeWorkers(leaking))
    assert [p.probe for p in found.probes if not p.passed] == ["neighbours"]
    assert "probe 'neighbours'" in found.reason


def test_a_file_that_is_not_as_promised_fails_whatever_its_numbers(bundle):
    other = replace(artifact(), outputs=(replace(artifact().outputs[0], shape=("batch", 4)),))
    (found,) = verify(bundle, FakeWorkers(exact), [Cell(other, "onnxruntime-cpu", "cpu")])
    assert all(p.passed for p in found.probes)
    assert found.reason == "the file is not as promised: axis 1 of output 'y' is 3, promised was 4"


def test_nan_and_infinity_are_a_property_and_no_verdict(tmp_path):
    inputs = np.array([[np.nan, 1], [np.nan, np.nan], [np.inf, 1], [-np.inf, 1]], np.float32)
    finite = np.isfinite(model(inputs))
    write_truth(tmp_path / "truth.npz", arrays={"special/input/x": inputs, "special/finite/y": finite})
    for backend, said in ((exact, "as eager"), (lambda x: np.nan_to_num(exact(x)), "3 outputs are finite")):
        (found,) = verify(FakeBundle(tmp_path), FakeWorkers(backend))
        assert found.passed
        assert found.non_finite["NaN in one place"].startswith(said)
    assert verify(FakeBundle(tmp_path), FakeWorkers(exact))[0].non_finite["infinity in one place"] == "as eager"
