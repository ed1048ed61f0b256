"""The truth of an app's model: the model's own, in raw values and probabilities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.bundle.errors import BundleCorrupt
from export.bundle.types import Artifact, Preprocess, TensorSpec
from serve_bench.equivalence import raw
from serve_bench.equivalence.make_truth import VERSION
from serve_bench.equivalence.probes import model_ready
from serve_bench.equivalence.truth import Truth

STEPS = Preprocess(scale=1 / 255, mean=0.25, std=0.5)
PIXELS = TensorSpec(name="pixels", dtype="uint8", shape=("batch", 2, 2))
SHARES = TensorSpec(name="probabilities", dtype="float32", shape=("batch", 3))
LABEL = TensorSpec(name="label", dtype="int64", shape=("batch",))
IMAGES = np.arange(20, dtype=np.uint8).reshape(5, 1, 2, 2) * 12
LOGITS = np.random.default_rng(0).standard_normal((5, 3)) * 3
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
BLACK = model_ready(np.zeros((1, 1, 2, 2), np.uint8), STEPS, "float32")
BETWEEN = BLACK + np.float32(1e-3)
"""No grey value gives it: two of them are 1 / 255 / 0.5 apart."""


def artifact(inputs=(PIXELS,), outputs=(SHARES, LABEL)):
    return Artifact(
        format="app", precision="float32", path="app.onnx", sha256="0", content="0", bytes=1, parent=None, producers={},
        build_seconds=0.0, inputs=inputs, outputs=outputs,
    )  # fmt: skip


def truth(**more):
    arrays = {
        "test/input/image": IMAGES,
        "test/output/logits": LOGITS,
        "constant/input/image": np.concatenate([BETWEEN, BLACK]),
        "constant/output/logits": LOGITS[:2],
        "uniform/input/image": BETWEEN,
        "uniform/output/logits": LOGITS[:1],
        "test/label": np.array([0, 1, 2, 0, 1]),
    }
    for probe in ("test", "constant", "uniform"):
        arrays |= {f"{probe}/scale/logits": np.array(9.0), f"{probe}/error/float32/logits": np.array(1e-7)}
        arrays |= {
            f"{probe}/scale/probabilities": np.array(0.97),
            f"{probe}/error/float32/probabilities": np.array(3e-7),
        }
    meta = {
        "version": VERSION, "probes": ["test", "constant", "uniform"], "inputs": {"image": "float32"},
        "outputs": ["logits"], "input_axes": {"image": 0}, "output_axes": {"logits": 0},
    }  # fmt: skip
    return Truth(Path("truth.npz"), STEPS, arrays | more, meta)


def test_the_test_set_is_asked_as_it_is_stored_and_answered_in_probabilities():
    found = raw.truth_of(truth(), artifact())
    asked = found.inputs("test")["pixels"]
    assert asked.dtype == np.uint8
    assert (asked == IMAGES[:, 0]).all()
    assert np.abs(found.outputs("test")["probabilities"] - SOFTMAX).max() < 1e-15
    assert found.scale("test", "probabilities") == 0.97
    assert found.error("test", "float32", "probabilities") == 3e-7
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert found.output_names == ("probabilities",)


def test_of_a_probe_only_what_an_app_can_give_is_asked():
    found = raw.truth_of(truth(), artifact())
    assert found.probes == ("test", "constant")
    assert found.inputs("constant")["pixels"].tolist() == [[[0, 0], [0, 0]]]
    assert np.abs(found.outputs("constant")["probabilities"] - SOFTMAX[1:2]).max() < 1e-15


def test_sequences_keep_their_names_and_their_order():
    """The description of an older file may list the inputs in another order than the model has them."""
    letters = TensorSpec(name="letters", dtype="int64", shape=("batch", "length"))
    lengths = TensorSpec(name="lengths", dtype="int64", shape=("batch",))
    given = {"test/input/letters": np.ones((5, 4), np.uint8), "test/input/lengths": np.arange(1, 6)}
    whole = truth(**given)
    whole.meta.update(probes=["test"], inputs={"lengths": "int64", "letters": "int64"})
    whole.meta.update(input_axes={"lengths": 0, "letters": 0})
    found = raw.truth_of(Truth(whole.path, Preprocess(), whole.arrays, whole.meta), artifact((letters, lengths)))
    assert found.inputs("test")["letters"].shape == (5, 4)
    assert found.inputs("test")["lengths"].tolist() == [1, 2, 3, 4, 5]


def test_a_regressions_value_is_judged_as_the_models_output_is():
    value = TensorSpec(name="value", dtype="float32", shape=("batch", 3))
    found = raw.truth_of(truth(), artifact(outputs=(value,)))
    assert (found.outputs("test")["value"] == LOGITS).all()
    assert found.scale("test", "value") == 9.0


def test_a_truth_that_was_made_before_apps_is_refused():
    older = truth()
    older.arrays.pop("test/error/float32/probabilities")
    with pytest.raises(BundleCorrupt, match="make the bundle again"):
        raw.truth_of(older, artifact())


def test_a_label_is_where_the_probability_is_largest():
    shares = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]], np.float32)
    assert raw.why_label({"probabilities": shares, "label": np.array([1, 2])}) == ""
    said = raw.why_label({"probabilities": shares, "label": np.array([2, 0])})
    assert "test sample 0 has label 2" in said
    assert "class 1 has 0.5" in said
    for wrong in (np.array([3, 0]), np.array([-1, 0]), np.array([1.0, 0.0]), np.array([1])):
        assert "no class of 3" in raw.why_label({"probabilities": shares, "label": wrong})
    assert raw.why_label({"value": shares}) == ""
    assert replace(artifact(), format="onnx").stored_as == artifact().stored_as == "onnx"
