"""An int8 form against its own graph: by hand for one layer, by ONNX Runtime for the tiny network."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.bundle.errors import VerdictFailed
from export.bundle.types import Preprocess
from serve_bench.equivalence import integers, quantised, stored
from serve_bench.equivalence.truth import Truth

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def eight(tiny_onnx, tmp_path_factory):
    """The tiny network in int8, calibrated on its own images."""
    from tiny_network import artifact

    from export.formats import onnx_int8

    folder = tmp_path_factory.mktemp("int8")
    source = Path(tiny_onnx.artifacts["onnx"].path)
    onnx_int8._static(source, folder / "model.int8.onnx", {"image": tiny_onnx.images})
    return artifact(folder / "model.int8.onnx", "onnx", "int8")


def truth_file(tiny, labels=None):
    images, answers = tiny.images, tiny.truth
    arrays = {"test/input/image": images, "test/output/scores": answers, "test/scale/scores": np.abs(answers).max()}
    arrays["test/error/float32/scores"] = np.array(1e-7)
    if labels is not None:
        arrays["test/label"] = labels
    meta = {
        "probes": ["test"],
        "inputs": {"image": "float32"},
        "outputs": ["scores"],
        "input_axes": {"image": 0},
        "output_axes": {"scores": 0},
    }
    return Truth(Path("truth.npz"), Preprocess(), arrays, meta)


def test_one_layer_is_what_the_formulas_say(tmp_path):
    """x / 0.5 rounds half to even and saturates at 255; the weight 3 × 0.25; the sum is exact in float64."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    constants = {
        "xs": np.float32(0.5),
        "xz": np.uint8(10),
        "w_quantized": np.array([[3], [-128]], np.int8),
        "ws": np.float32(0.25),
        "wz": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        helper.make_node("DequantizeLinear", ["w_quantized", "ws", "wz"], ["w"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    info = [helper.make_tensor_value_info(n, 1, ["batch", k]) for n, k in (("x", 2), ("y", 1))]
    graph = helper.make_graph(
        nodes, "g", info[:1], info[1:], [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    )
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    spec = SimpleNamespace(name="x", shape=("batch", 2), dtype="float32")
    artifact = SimpleNamespace(path=str(path), inputs=(spec,), outputs=(SimpleNamespace(name="y"),), name="one")
    given = np.array([[0.25, 1.0], [0.75, -9.0], [1e6, 0.1]], np.float32)
    found = quantised._Graph(artifact, np.float64)({"x": given})["y"]
    # 0.5 → 0 and 1.5 → 2 (half to even), −18 + 10 stops at 0, the large one at 255.
    expected = [[0.0 * 0.75 - 1.0 * 32], [1.0 * 0.75 + 5.0 * 32], [122.5 * 0.75 - 0.0 * 32]]
    assert found.dtype == np.float64
    assert found.tolist() == expected


def test_an_int32_bias_keeps_every_bit():
    large = np.array([2**31 - 1], np.int32)
    dequantise = next(o for o in quantised._operators() if o.__name__ == "DequantizeLinear")
    for scale in (np.float64(1.0), np.ones(1)):
        (found,) = dequantise._run(None, large, scale, np.int32(0))
        assert found.tolist() == [float(2**31 - 1)]


@pytest.mark.parametrize(("kernel", "stride", "pads"), [((2, 2), (2, 2), None), ((3, 2), (1, 2), [1, 0, 2, 1])])
def test_pooling_in_windows_is_onnxs_own(tmp_path, kernel, stride, pads):
    from onnx.reference import ReferenceEvaluator

    more = {"pads": pads} if pads else {}
    node = onnx.helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=kernel, strides=stride, **more)
    info = [onnx.helper.make_tensor_value_info(n, 1, None) for n in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 9)).astype(np.float32)
    ours = ReferenceEvaluator(model, new_ops=quantised._operators()).run(None, {"x": x})[0]
    assert np.array_equal(ours, ReferenceEvaluator(model).run(None, {"x": x})[0])


@pytest.mark.parametrize(("scale", "axis"), [(np.float32(0.25), 1), (np.array([0.25, 0.5, 1.0], np.float32), 1)])
def test_quantising_is_onnxs_own(scale, axis):
    from onnx.reference import ReferenceEvaluator

    zero = np.full(np.shape(scale), 100, np.uint8)
    node = onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=axis)
    info = [onnx.helper.make_tensor_value_info("x", 1, None), onnx.helper.make_tensor_value_info("y", 2, None)]
    constants = [onnx.numpy_helper.from_array(a, n) for a, n in ((np.asarray(scale), "s"), (zero, "z"))]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    x = (np.random.default_rng(0).integers(-400, 400, (2, 3, 50)) / 8).astype(np.float32)
    own, moved = (ReferenceEvaluator(model, new_ops=quantised._operators(by)) for by in (0.0, quantised.TIE))
    expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
    assert np.array_equal(own.run(None, {"x": x})[0], expected)
    steps = x / np.reshape(scale, (-1, 1))
    odd = (steps % 1 == 0.5) & (np.floor(steps) % 2 == 0) & (steps > -100) & (steps < 155)
    assert odd.any()
    assert np.array_equal(moved.run(None, {"x": x})[0] != expected, odd), "a tie to an even number below goes up"


def test_what_lies_on_a_tie_may_fall_to_either_side(tmp_path):
    """x = 0.5 in steps of 1 is 0 or 1: one step of an answer that reaches 4."""
    from tiny_network import artifact

    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    info = [onnx.helper.make_tensor_value_info(n, 1, ["batch", 1]) for n in ("x", "y")]
    constants = [onnx.numpy_helper.from_array(np.asarray(a), n) for a, n in ((np.float32(1), "s"), (np.uint8(0), "z"))]
    graph = onnx.helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    path = tmp_path / "ties.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    form = artifact(path, "onnx", "int8")
    spec = type(form.inputs[0])
    from dataclasses import replace

    form = replace(
        form,
        inputs=(spec(name="x", dtype="float32", shape=("batch", 1)),),
        outputs=(spec(name="y", dtype="float32", shape=("batch", 1)),),
    )
    values = np.array([[0.5], [4.0]], np.float32)
    plain, *beside = (quantised._Graph(form, np.float64), *quantised._beside_ties(form))
    assert plain({"x": values})["y"].ravel().tolist() == [0.0, 4.0]
    assert sorted(g({"x": values})["y"].ravel().tolist() for g in beside) == [[0.0, 4.0], [1.0, 4.0]]


def test_a_backend_that_computes_the_graph_is_inside_its_band_and_another_is_not(eight, tiny_onnx):
    from serve_bench.cells import backend_named
    from serve_bench.equivalence import judge

    truth = quantised.truth_of(truth_file(tiny_onnx), eight)
    session = backend_named("onnxruntime-cpu").open(eight, "cpu", 1)
    session.bind({"image": tiny_onnx.images})
    session.run()
    answers = {n: a.copy() for n, a in session.outputs().items()}
    precision, evidence = session.precision
    session.close()
    assert precision == "int8", evidence
    (result,) = judge.probe_results(truth, "test", "test", answers, "int8")
    assert result.passed, result
    (other,) = judge.probe_results(truth, "test", "test", {"scores": answers["scores"] * 1.05}, "int8")
    assert not other.passed
    assert truth.reference("test", "int8", "scores") is not None


def test_a_graph_that_cannot_be_computed_is_one_line(eight, tmp_path):
    from dataclasses import replace

    wrong = replace(eight, inputs=(replace(eight.inputs[0], name="picture"),))
    with pytest.raises(VerdictFailed, match="reference implementation cannot run it") as caught:
        quantised._Graph(wrong, np.float64)({"picture": np.zeros((1, 1, 8, 8), np.float32)})
    assert "\n" not in str(caught.value)


def test_weights_are_at_their_nearest_step_and_a_wrong_one_is_named(eight, tiny_onnx, tmp_path):
    single = Path(tiny_onnx.artifacts["onnx"].path)
    found = integers.compare(single, Path(eight.path))
    assert found["compared"] == ["bias", "kernel", "matrix"]
    assert found["mismatched"] == []
    arrays = stored.read(Path(eight.path), "onnx")
    name = "matrix_quantized"
    wrong = arrays[name].copy()
    wrong.reshape(-1)[7] += 1 if wrong.reshape(-1)[7] < 100 else -1
    stored.replace_tensors(Path(eight.path), "onnx", {name: wrong}, tmp_path / "wrong.onnx")
    (said,) = integers.compare(single, tmp_path / "wrong.onnx")["mismatched"]
    assert said.startswith("matrix: matrix_quantized stands for ")
    assert "at (0, 7), where the float32 file has" in said


def test_a_weight_that_the_quantiser_turns_round_is_known(tiny_onnx, tmp_path):
    from export.formats import onnx_int8

    single = Path(tiny_onnx.artifacts["onnx"].path)
    onnx_int8._dynamic(single, tmp_path / "dynamic.onnx")
    found = integers.compare(single, tmp_path / "dynamic.onnx")
    assert (found["compared"], found["mismatched"]) == (["bias", "kernel", "matrix"], [])
    arrays = stored.read(tmp_path / "dynamic.onnx", "onnx")
    turned = np.ascontiguousarray(arrays["matrix_quantized"][::-1])
    stored.replace_tensors(tmp_path / "dynamic.onnx", "onnx", {"matrix_quantized": turned}, tmp_path / "wrong.onnx")
    assert len(integers.compare(single, tmp_path / "wrong.onnx")["mismatched"]) == 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("matrix_scale", lambda a: np.nextafter(a, np.float32(1)), "where its largest weight asks for"),
        ("bias_quantized_scale", lambda a: np.nextafter(a, np.float32(1)), "the product of its node's"),
        ("matrix_zero_point", lambda a: a + np.ones_like(a), ""),
    ],
)
def test_a_step_off_by_one_rounding_is_named(eight, tiny_onnx, tmp_path, name, change, said):
    arrays = stored.read(Path(eight.path), "onnx")
    wrong = {name: change(arrays[name]).astype(arrays[name].dtype)}
    stored.replace_tensors(Path(eight.path), "onnx", wrong, tmp_path / "wrong.onnx")
    found = integers.compare(Path(tiny_onnx.artifacts["onnx"].path), tmp_path / "wrong.onnx")["mismatched"]
    assert any(said in sentence for sentence in found), found


def test_the_range_of_a_uint8_is_recomputed():
    expected = np.array([-1.0, 0.0, 3.0], np.float32)
    scale = np.float32(4 / 255).reshape(1)
    assert integers._wrong_range(scale.astype(np.float64), np.array(64, np.uint8), expected) == ""
    assert "asks for 64" in integers._wrong_range(scale.astype(np.float64), np.array(63, np.uint8), expected)
    assert "range asks for" in integers._wrong_range(scale.astype(np.float64) * 1.1, None, expected)


def test_a_bias_that_fills_its_int32_widens_the_step_of_its_weight():
    expected, values = np.array([[127.0, 0.0]], np.float32), np.array([[64, 0]], np.int8)
    two = np.array([2.0], np.float32)
    full = [integers._Sum("w", "b", np.array([2**31 - 1], np.int32), np.ones(1))]
    assert integers._wrong_step("w", values, two, None, expected, 0, full) == ""
    small = [integers._Sum("w", "b", np.array([7], np.int32), np.ones(1))]
    assert "asks for 1" in integers._wrong_step("w", values, two, None, expected, 0, small)


def test_what_the_rounding_costs_is_counted_on_the_whole_test_set(eight, tiny_onnx):
    right = tiny_onnx.truth.argmax(1)
    change = quantised.metric_change(eight, truth_file(tiny_onnx, right), "classification")
    lost = change["lost"]
    assert change["gained"] == 0
    assert change["drop"] == lost / len(right)
    assert quantised.metric_change(eight, truth_file(tiny_onnx), "classification") == {}
    assert quantised.why_fallen(change | {"drop": 0.004}, 0.5) == ""
    said = quantised.why_fallen({"lost": 9, "gained": 1, "drop": 0.008, "drop_low": 0.002, "drop_high": 0.014}, 0.5)
    assert said == "accuracy -0.80 points [-1.40, -0.20], more than the 0.5 points that --max-metric-drop allows"
    assert quantised.change_text({"drop": -0.001, "drop_low": -0.002, "drop_high": 0.0}).startswith("R² +0.10 points")
