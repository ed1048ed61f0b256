"""The openvino backend beyond the contract: what it pins, what it reads back, what it copies and what it refuses."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_network import artifact

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import TensorSpec
from serve_bench.backends import openvino
from serve_bench.backends.openvino import precision_of, words
from serve_bench.cells import backend_named


@pytest.fixture
def opened(tiny_onnx):
    pytest.importorskip("openvino", reason="openvino is not installed")

    def session(name="onnx", threads=1, **more):
        return backend_named("openvino").open(replace(tiny_onnx.artifacts[name], **more), "cpu", threads)

    return session


def test_states_what_the_compiled_model_says_is_in_use(opened):
    settings = opened().settings
    wanted = {
        "threads": 1,
        "streams": 1,
        "performance_hint": "LATENCY",
        "inference_precision": "f32",
        "dynamic_quantization_group": 0,
        "denormals_to_zero": False,
        "cpu_pinning": False,
        "execution_devices": ["CPU"],
        "model_cache": "none",
    }
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["openvino"]


def test_float32_and_float16_files_are_both_found_to_compute_in_float32(opened):
    precision, evidence = opened().precision
    assert precision == "float32"
    assert "as the compiled model says: f32: Convolution" in evidence
    precision, evidence = opened("onnx float16").precision
    assert precision == "float32"
    assert evidence.endswith("arithmetic in float32, on weights rounded to float16")


def test_bfloat16_is_seen_where_the_runtime_takes_it(opened, monkeypatch):
    if "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no bfloat16")
    asked = openvino.asked_properties(1) | {"INFERENCE_PRECISION_HINT": "bf16"}
    monkeypatch.setattr(openvino, "asked_properties", lambda _: asked)
    session = opened()
    assert session.settings["inference_precision"] == "bf16"
    assert session.precision[0] == "bfloat16"


@pytest.mark.parametrize(
    ("operators", "asked", "found", "said"),
    [
        ([("Convolution", "f32"), ("Eltwise", "i32")], "float32", "float32", "f32: Convolution"),
        ([("FullyConnected", "f32"), ("Eltwise", "bf16")], "float32", "bfloat16", "bf16: Eltwise; f32: FullyConnected"),
        ([("FullyConnected", "f16"), ("Eltwise", "f32")], "float16", "float16", "f16: FullyConnected"),
        ([("Convolution", "u8"), ("Reduce", "f32")], "int8", "int8", "f32: Reduce; u8: Convolution"),
        ([("FullyConnected", "f32"), ("Convert", "u8")], "int8", "float32", "weights rounded to int8"),
        ([("TensorIterator", "f32")], "float32", "float32", "(what is inside TensorIterator is not shown)"),
        ([], "float32", "float32", "none that compute"),
    ],
)
def test_precision_is_the_narrowest_type_that_an_operator_computes_in(tmp_path, operators, asked, found, said):
    precision, evidence = precision_of(operators, artifact(tmp_path / "m", "onnx", asked))
    assert precision == found
    assert said in evidence


def test_bound_inputs_are_copies_and_outputs_are_the_sessions_own(opened, tiny_onnx):
    session = opened()
    for start, end in ((0, 4), (4, 8), (8, 23)):
        images = tiny_onnx.images[start:end].copy()
        session.bind({"image": images})
        held = session.outputs()["scores"]
        images[:] = 0
        session.run()
        session.sync()
        assert session.outputs()["scores"] is held
        assert np.abs(held - tiny_onnx.truth[start:end]).max() < 1e-5
    with pytest.raises(BackendFailed, match="no device events"):
        session.elapsed_ns()
    session.close()


def test_outputs_whose_shape_the_inputs_do_not_settle(opened, tiny_onnx):
    session = opened(outputs=(TensorSpec(name="scores", dtype="float32", shape=("batch", "classes")),))
    for batch in (3, 7):
        session.bind({"image": tiny_onnx.images[:batch]})
        session.run()
        assert np.abs(session.outputs()["scores"] - tiny_onnx.truth[:batch]).max() < 1e-5


def test_several_inputs_of_several_types(tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed")
    from onnx import TensorProto, helper, save

    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["count"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "real"], ["y"]),
    ]
    inputs = [info("x", TensorProto.FLOAT, ["batch"]), info("count", TensorProto.INT64, ["batch"])]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, ["batch"])])
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "two.onnx")
    specs = [TensorSpec(name=n, dtype=d, shape=("batch",)) for n, d in (("x", "float32"), ("count", "int64"))]
    outputs = (TensorSpec(name="y", dtype="float32", shape=("batch",)),)
    made = artifact(tmp_path / "two.onnx", "onnx", inputs=tuple(specs), outputs=outputs)
    session = backend_named("openvino").open(made, "cpu", 1)
    session.bind({"count": np.array([1, 2, 3]), "x": np.array([0.5, 0.25, 0.125], np.float32)})
    session.run()
    assert session.outputs()["y"].tolist() == [1.5, 2.25, 3.125]
    with pytest.raises(BackendFailed, match="input 'count' was not given"):
        session.bind({"x": np.zeros(3, np.float32)})


def test_a_shape_that_the_graph_refuses_is_one_line(opened):
    session = opened()
    with pytest.raises(BackendFailed, match=r"^openvino: Can't set the input tensor .* incompatible$") as caught:
        session.bind({"image": np.zeros((2, 1, 9, 9), np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"rubbish", b""])
def test_a_file_that_is_no_onnx_is_one_line(opened, tmp_path, content, capfd):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BackendFailed, match=r"^openvino: .*model\.onnx cannot be opened: ") as caught:
        opened(path=str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_an_operator_that_it_does_not_know_is_named(opened, tmp_path):
    from onnx import TensorProto, helper, save

    info = helper.make_tensor_value_info
    node = helper.make_node("Unheard", ["image"], ["scores"], domain="nowhere")
    ends = [info("image", TensorProto.FLOAT, ["batch", 2])], [info("scores", TensorProto.FLOAT, ["batch", 2])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nowhere", 1)]
    save(helper.make_model(helper.make_graph([node], "g", *ends), opset_imports=opsets), tmp_path / "m.onnx")
    with pytest.raises(BackendFailed, match=r"cannot be opened: .*Unheard") as caught:
        opened(path=str(tmp_path / "m.onnx"))
    assert "\n" not in str(caught.value)


def test_more_threads_than_it_takes_are_refused(opened):
    with pytest.raises(
        BackendUnavailable, match=r"^openvino: takes \d+ of 4096 threads, one a core: ask for --threads"
    ):
        opened(threads=4096)


def test_an_error_says_what_is_wrong_and_not_where_in_the_sources():
    text = "Exception from src/a.cpp:1:\nCheck 'x' failed at src/b.cpp:2:\nFrontEnd API failed with E:\n it is bad\n\n"
    assert words(RuntimeError(text)) == "it is bad"
    assert words(RuntimeError("Exception from src/a.cpp:1:")) == "Exception from src/a.cpp:1:"
    assert words(RuntimeError()) == "RuntimeError"


def test_nothing_is_reported_to_anyone_when_it_is_imported(tmp_path):
    """Left alone, `import openvino` writes an identifier below the home folder and sends an event."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    code = (
        "import sys, importlib; from serve_bench.backends.openvino import ENTRIES;"
        "[importlib.import_module(m) for m in ENTRIES[0].preload];"
        "print([m for m, found in sys.modules.items() if m.startswith('openvino_telemetry') and found],"
        "'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[] False"
    assert list(tmp_path.iterdir()) == []
