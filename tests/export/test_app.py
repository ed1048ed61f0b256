"""app.onnx: raw values in, answers out; expected values are computed by hand or by NumPy from the formula."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export import app
from export.bundle.errors import ExportError
from export.bundle.types import Preprocess, TensorSpec

IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 2, 3), low=-0.5, high=1.5)
LOGITS = TensorSpec(name="logits", dtype="float32", shape=("batch", 2))
STEPS = Preprocess(scale=1 / 255, mean=0.25, std=0.5)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(6, 2) / 8


def model(*operators, opset=17, output="logits", inputs=None):
    """Flatten, product with WEIGHTS, then `operators`."""
    names = ["products", *(f"t{i}" for i in range(len(operators) - 1)), output][: len(operators)]
    nodes = [helper.make_node("Flatten", ["image"], ["flat"], "flatten")]
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["products" if operators else output], "product"))
    for i, (operator, attributes) in enumerate(operators):
        out = output if i == len(operators) - 1 else f"t{i}"
        nodes.append(helper.make_node(operator, [names[i]], [out], f"n{i}", **attributes))
    ends = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 2, 3]),
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 2]),
    ]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], [numpy_helper.from_array(WEIGHTS, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def composed(given, task="classification", preprocess=STEPS, outputs=(LOGITS,), stored="uint8"):
    wanted = app.app_inputs((IMAGE,), preprocess, {"image": stored})
    return app.compose(given, task, preprocess, (IMAGE,), outputs, wanted)


def run(made, **inputs):
    onnx.checker.check_model(made, full_check=True)
    return ReferenceEvaluator(made).run(None, inputs)


PIXELS = np.array([[[0, 51, 102], [153, 204, 255]], [[255, 0, 0], [0, 0, 9]]], np.uint8)


def test_pixels_become_probabilities_and_a_label():
    shares, label = run(composed(model()), pixels=PIXELS)
    ready = ((PIXELS.astype(np.float64) / 255 - 0.25) / 0.5).reshape(2, 6)
    scores = ready @ WEIGHTS
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert np.abs(shares - expected).max() < 1e-6
    assert label.dtype == np.int64
    assert label.tolist() == expected.argmax(1).tolist()


def test_an_integer_preprocessing_is_the_verdicts_own_to_the_bit():
    from serve_bench.equivalence.probes import model_ready

    every = np.arange(256, dtype=np.uint8)[:252].reshape(-1, 2, 3)
    made = composed(model())
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 2, 3]))
    found = ReferenceEvaluator(made).run(None, {"pixels": every})[0]
    assert found.tobytes() == model_ready(every[:, None], STEPS, "float32").tobytes()


@pytest.mark.parametrize("last", ["LogSoftmax", "Softmax"])
def test_answers_that_are_normalised_already_are_not_normalised_twice(last):
    plain = run(composed(model()), pixels=PIXELS)[0]
    found, label = run(composed(model((last, {"axis": 1}))), pixels=PIXELS)
    assert np.abs(found - plain).max() < 1e-6
    assert label.tolist() == plain.argmax(1).tolist()


def test_an_output_that_is_called_probabilities_already_stays():
    outputs = (TensorSpec(name="probabilities", dtype="float32", shape=("batch", 2)),)
    made = composed(model(("Softmax", {"axis": 1}), output="probabilities"), outputs=outputs)
    shares, label = run(made, pixels=PIXELS)
    assert [o.name for o in made.graph.output] == ["probabilities", "label"]
    assert np.abs(shares.sum(1) - 1).max() < 1e-6
    assert label.tolist() == shares.argmax(1).tolist()


def test_a_regression_gives_its_value_and_takes_what_the_model_takes():
    outputs = (TensorSpec(name="y", dtype="float32", shape=("batch", 2)),)
    made = composed(model(output="y"), "regression", Preprocess(), outputs, "float32")
    assert [i.name for i in made.graph.input] == ["image"]
    image = np.ones((1, 1, 2, 3), np.float32)
    assert np.allclose(run(made, image=image)[0], WEIGHTS.sum(0))
    assert [o.name for o in made.graph.output] == ["value"]


def test_whole_numbers_are_taken_raw_even_without_preprocessing():
    found = app.app_inputs((IMAGE,), Preprocess(), {"image": "uint8"})
    assert (found[0].name, found[0].dtype, found[0].shape) == ("pixels", "uint8", ("batch", 2, 3))


def test_the_raw_range_is_the_models_before_preprocessing():
    """low = (0 / 255 − 0.25) / 0.5 = −0.5, high = (255 / 255 − 0.25) / 0.5 = 1.5."""
    raw = app.app_inputs((IMAGE,), STEPS, {"image": "uint8"})[0]
    assert (raw.low, raw.high) == (0, 255)


def test_other_tensors_are_called_raw_and_lengths_stay():
    letters = TensorSpec(name="letters", dtype="int64", shape=("batch", "length"))
    lengths = TensorSpec(name="lengths", dtype="int64", shape=("batch",))
    assert app.app_inputs((letters, lengths), Preprocess(), {"letters": "uint8"}) == (letters, lengths)
    features = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    assert app.app_inputs((features,), STEPS, {"x": "int16"})[0].name == "raw_x"


def test_the_operator_set_is_the_lowest_in_which_every_node_means_the_same():
    """Of Flatten, MatMul, Cast, Unsqueeze, Mul, Sub, Div, Softmax, ArgMax the youngest in opset 17 are Mul, Sub and Div
    of opset 14."""
    made = composed(model())
    assert made.opset_import[0].version == 14
    assert made.ir_version == helper.find_min_ir_version_for(list(made.opset_import))
    older = composed(model(), preprocess=Preprocess(), stored="uint8")
    assert older.opset_import[0].version == 13


def test_equal_weights_give_equal_bytes():
    first, second = (composed(model()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_operators_that_are_not_onnxs_own_are_refused():
    foreign = model()
    foreign.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(ExportError, match=r"com\.microsoft"):
        composed(foreign)


def test_what_is_no_model_is_one_line():
    with pytest.raises(ExportError, match=r"model\.onnx cannot be read"):
        app.model_of(b"\xff\xff\xff")


def test_it_says_what_it_takes_and_gives():
    made = composed(model())
    wanted = app.app_inputs((IMAGE,), STEPS, {"image": "uint8"})
    given = {
        "name": "tiny",
        "task": "classification",
        "labels": ("no", "yes"),
        "preprocess": STEPS,
        "inputs": wanted,
        "outputs": app.app_outputs("classification", (LOGITS,)),
    }
    app.describe(made, **given, more={"metric": {"name": "test_accuracy", "value": 0.5}, "parent": "abc"})
    said = {p.key: p.value for p in made.metadata_props}
    assert json.loads(said["labels"]) == ["no", "yes"]
    assert json.loads(said["inputs"])[0] | {"meaning": ""} == {
        "name": "pixels", "dtype": "uint8", "shape": ["batch", 2, 3], "low": 0, "high": 255, "meaning": "",
    }  # fmt: skip
    assert [o["name"] for o in json.loads(said["outputs"])] == ["probabilities", "label"]
    assert json.loads(said["metric"])["value"] == 0.5
    assert said["parent"] == "abc"
    told = app.told(given["name"], "classification", given["labels"], STEPS, wanted, given["outputs"])
    assert told.items() <= said.items()


def test_a_range_of_whole_numbers_is_written_as_one_that_was_read_back():
    whole, read = (TensorSpec(name="x", dtype="float32", shape=("batch", 2), low=n) for n in (-1, -1.0))
    given = "m", "regression", (), Preprocess()
    assert app.told(*given, (whole,), (whole,)) == app.told(*given, (read,), (read,))


def changed_constant(made):
    for tensor in made.graph.initializer:
        if tensor.name.endswith("sub.by"):
            tensor.CopyFrom(numpy_helper.from_array(np.float32(0.2501), tensor.name))


def dropped_node(made):
    del made.graph.node[-1]


def other_attribute(made):
    made.graph.node[-1].attribute[0].i = 0


def fixed_batch(made):
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_opset(made):
    made.opset_import[0].version = 13


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_constant, "constant 'app.3.sub.by'"),
        (dropped_node, "node 'app.label'"),
        (other_attribute, "node 'app."),
        (fixed_batch, "input 'pixels'"),
        (other_opset, "operator set"),
    ],
)
def test_any_change_is_named(change, said):
    made = composed(model())
    assert app.differences(made, composed(model())) == []
    change(made)
    assert any(said in sentence for sentence in app.differences(made, composed(model())))
