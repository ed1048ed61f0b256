"""What an int8 file holds, and what it is refused for."""

import dataclasses

import numpy as np
import onnx
import pytest

from export.bundle.errors import ExportError
from export.run import write_one


def load(built, name):
    return onnx.load(str(built.path(name)))


@pytest.mark.parametrize("name", ["onnx int8", "onnx int8 dynamic"])
def test_it_says_what_the_float32_file_says(built, name):
    own, float32 = load(built, name), load(built, "onnx")
    said = [{p.key: p.value for p in model.metadata_props} for model in (own, float32)]
    assert said[0].pop("parent") == built.artifacts["onnx"].content != said[1].pop("parent")
    assert said[0] == said[1]
    assert {i.domain for i in own.opset_import} <= {"", "ai.onnx"}
    assert (own.producer_name, own.graph.name) == (float32.producer_name, float32.graph.name)
    assert built.artifacts[name].facts["opset"] == 17
    kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in own.graph.initializer}
    assert "INT8" in kinds


def test_the_answers_stay_in_float32(built):
    last = load(built, "onnx int8").graph.node[-1]
    assert (last.op_type, list(last.output)) == ("LogSoftmax", ["log_probabilities"])


def test_the_dynamic_form_takes_one_sample_alone(built):
    artifact = built.artifacts["onnx int8 dynamic"]
    assert [s.shape for s in (*artifact.inputs, *artifact.outputs)] == [(1, 1, 12, 12), (1, 4)]
    dims = [v.type.tensor_type.shape.dim[0].dim_value for v in (*load(built, artifact.name).graph.input,)]
    assert dims == [1]
    assert built.artifacts["onnx int8"].inputs == built.trained.spec.inputs


def test_the_same_weights_and_samples_give_the_same_file(built, tmp_path):
    files = {"onnx": (built.path("onnx"), built.artifacts["onnx"])}
    given = lambda: built.example  # noqa: E731
    source = dataclasses.replace(built.source, files=files, calibration=given)
    first, second = (write_one("onnx-int8", source, tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert first.sha256 == second.sha256
    assert first.facts["calibration"]["samples"] == len(built.example["image"])
    wider = dataclasses.replace(source, calibration=lambda: {n: 10 * a for n, a in built.example.items()})
    assert write_one("onnx-int8", wider, tmp_path / "c.onnx").sha256 != first.sha256


def test_a_graph_without_weights_is_refused(built, tmp_path):
    node = onnx.helper.make_node("Relu", ["image"], ["y"])
    info = [onnx.helper.make_tensor_value_info(n, 1, ["batch", 4]) for n in ("image", "y")]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    source = dataclasses.replace(built.source, files={"onnx": (path, built.artifacts["onnx"])})
    with pytest.raises(ExportError, match=r"holds no Conv, .* to quantise"):
        write_one("onnx-int8", source, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_static_int8_is_near_the_model(built):
    import onnxruntime

    truth = built.truth(built.example)[0]
    session = onnxruntime.InferenceSession(str(built.path("onnx int8")), providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, built.example)
    # Three roundings to 1/255 of a range on the way; a wrong scale or zero point is off by far more.
    assert np.abs(answers - truth).max() / np.abs(truth).max() < 0.05
