"""Triton's model repository: what is written is what the server's schema and the models themselves say, and every kind
of damage is found. The server is not run: a stand-in that speaks its protocol answers the client."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_bundles import KINDS, LABELS, bundle

from export.bundle.errors import BackendUnavailable, DataError, ExportError
from export.bundle.store import Bundle
from serve_bench.embed import _triton_config, triton
from serve_bench.embed._base import EmbedOptions, kit_of
from serve_bench.embed._triton_check import check_repository
from serve_bench.embed._triton_config import missing_schema, preferred, read_config
from serve_bench.embed._triton_models import profile_limit, served
from serve_bench.embed._write import embed

needs_schema = pytest.mark.skipif(missing_schema() is not None, reason=f"triton: {missing_schema()}")
PROFILE = {"image": {"min": [1, 1, 4, 4], "opt": [4, 1, 4, 4], "max": [16, 1, 4, 4]}}
PLAN = {"flavour": "tensorrt", "version": "10.9", "profile": PROFILE}


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


@pytest.fixture
def app(tmp_path):
    """(kind, options of the bundle and of the app) → folder of the app."""

    def made(kind, instance="auto", **more):
        place = bundle(kind, tmp_path / "b", **more)
        embed(place, "triton", EmbedOptions(instance=instance), tmp_path / "app")
        return tmp_path / "app"

    return made


def config(app, name):
    return read_config(app / "models" / name / "config.pbtxt")


@needs_schema
@pytest.mark.parametrize("kind", KINDS)
def test_every_model_is_what_its_graph_is(kind, app):
    folder = app(kind)
    assert check_repository(folder / "models") == []
    assert {p.name for p in (folder / "models").iterdir()} == {"small", "small_onnx", "small_torchscript"}
    told = {name: config(folder, name) for name in ("small", "small_onnx", "small_torchscript")}
    assert [c.platform for c in told.values()] == ["onnxruntime_onnx", "onnxruntime_onnx", "pytorch_libtorch"]
    assert {c.max_batch_size for c in told.values()} == {64}
    assert [p.name for p in told["small_torchscript"].output] == ["OUTPUT__0"]
    inputs = {"images": [[4, 4]], "texts": [[-1], [1]], "vectors": [[5]]}[kind]
    assert [list(p.dims) for p in told["small"].input] == inputs
    labels = told["small"].output[0].label_filename
    assert labels == ("" if kind == "vectors" else "labels.txt")
    if labels:
        assert (folder / "models/small/labels.txt").read_text().splitlines() == list(LABELS)


@needs_schema
def test_a_single_number_is_reshaped_as_the_server_has_no_empty_shape(app):
    told = config(app("texts"), "small")
    letters, lengths = told.input
    assert not letters.HasField("reshape")
    assert (list(lengths.dims), lengths.HasField("reshape"), list(lengths.reshape.shape)) == ([1], True, [])
    assert not any(p.allow_ragged_batch for p in told.input)
    label = next(p for p in told.output if p.name == "label")
    assert (list(label.dims), label.HasField("reshape")) == ([1], True)


@needs_schema
def test_warm_up_is_one_golden_sample_as_it_is_asked(app, tmp_path):
    folder = app("texts")
    golden = kit_of(Bundle.open(tmp_path / "b")).golden
    told = config(folder, "small")
    assert [w.batch_size for w in told.model_warmup] == [1, 64]
    entry = told.model_warmup[0].inputs["letters"]
    assert list(entry.dims) == [4]
    data = (folder / "models/small/warmup" / entry.input_data_file).read_bytes()
    assert np.frombuffer(data, "<i8").tolist() == golden.inputs["letters"][0].tolist()


@needs_schema
@pytest.mark.parametrize(("instance", "kind"), [("auto", "KIND_AUTO"), ("cpu", "KIND_CPU"), ("gpu", "KIND_GPU")])
def test_instances_run_where_they_were_asked_to(instance, kind, app):
    folder = app("images", instance, engine=PLAN)
    kinds = _triton_config.schema().ModelInstanceGroup.Kind
    assert kinds.Name(config(folder, "small").instance_group[0].kind) == kind
    plan = folder / "models/small_tensorrt_sm80"
    assert plan.is_dir() == (instance != "cpu")
    assert ("an engine runs on a GPU alone" in (folder / "README.md").read_text()) == (instance == "cpu")
    if plan.is_dir():
        assert kinds.Name(config(folder, plan.name).instance_group[0].kind) == "KIND_GPU"


@needs_schema
def test_a_plan_stays_within_its_profile(app):
    told = config(app("images", engine=PLAN), "small_tensorrt_sm80")
    assert told.max_batch_size == 16
    assert list(told.dynamic_batching.preferred_batch_size) == [8, 16]
    assert max(w.batch_size for w in told.model_warmup) == 16


def test_limits():
    assert profile_limit(PLAN) == 16
    assert profile_limit({"profile": {}}) == profile_limit({}) == 1
    assert (preferred(64), preferred(8), preferred(4), preferred(1)) == ([8, 64], [8], [4], [1])


def test_an_engine_of_tensorrt_rtx_is_left_out_with_its_reason(tmp_path):
    kit = kit_of(bundle("images", tmp_path / "b", engine=PLAN | {"flavour": "tensorrt_rtx"}))
    models, left_out = served(kit, "gpu")
    assert [m.platform for m in models] == ["onnxruntime_onnx", "onnxruntime_onnx", "pytorch_libtorch"]
    assert len(left_out) == 1
    assert "tensorrt sm80: built by tensorrt_rtx" in left_out[0]


def test_executable_forms_of_a_strangers_bundle_need_trust(tmp_path, monkeypatch):
    bundle("images", tmp_path / "b", engine=PLAN)
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "another user"))
    models, left_out = served(kit_of(Bundle.open(tmp_path / "b")), "auto")
    assert [m.name for m in models] == ["small", "small_onnx"]
    assert len(left_out) == 2
    assert all("--trust" in s for s in left_out)
    assert len(served(kit_of(Bundle.open(tmp_path / "b", trust=True)), "auto")[0]) == 4


def test_without_the_schema_it_is_one_line(tmp_path, monkeypatch):
    place = bundle("images", tmp_path / "b")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"tritonclient is not installed.*'\.\[triton\]'"):
        embed(place, "triton", EmbedOptions(), tmp_path / "app")
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "a/b"}, "no plain file name"),
        ({"labels": ("a\nb", "c", "d")}, "holds a line break"),
    ],
)
def test_a_bundle_that_cannot_be_said_is_refused(change, said, tmp_path, monkeypatch):
    kit = kit_of(bundle("images", tmp_path / "b"))
    changed = replace(kit.manifest, **change)
    monkeypatch.setattr(Bundle, "manifest", changed)
    assert said in triton.why_not(kit)


@needs_schema
def test_a_misspelt_field_is_named_with_line_and_column(app):
    path = app("images") / "models/small/config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size:", "max_batch_sise:"))
    line = 1 + path.read_text()[: path.read_text().index("max_batch_sise")].count("\n")
    with pytest.raises(DataError, match=rf"config.pbtxt:{line}:1: .*no field named \"max_batch_sise\""):
        read_config(path)
    found = check_repository(path.parent.parent)
    assert len(found) == 1
    assert f"config.pbtxt:{line}:1: " in found[0]


def swapped(pattern, text):
    def damage(models):
        path = models / "small/config.pbtxt"
        changed = re.sub(pattern, text, path.read_text(), count=1)
        assert changed != path.read_text()
        path.write_text(changed)

    return damage


def on_plan(pattern, text):
    def damage(models):
        path = models / "small_tensorrt_sm80/config.pbtxt"
        path.write_text(re.sub(pattern, text, path.read_text(), count=1))

    return damage


DAMAGES = {
    "another name": (swapped('name: "small"', 'name: "other"'), "name is 'other', the folder's is 'small'"),
    "no platform": (swapped("onnxruntime_onnx", "onnx"), "platform 'onnx' is none of"),
    "another backend": (swapped('backend: "onnxruntime"', 'backend: "pytorch"'), "does not serve onnxruntime_onnx"),
    "wrong dims": (swapped("dims: 4", "dims: 5"), "input 'pixels' is [-1, 5, 4] of TYPE_UINT8, in the model"),
    "the batch in dims": (swapped("dims: 4", "dims: -1 dims: 4"), "input 'pixels' is [-1, -1, 4, 4]"),
    "a zero in dims": (swapped("dims: 4", "dims: 0"), "has dims [0, 4]; each is -1 or at least 1"),
    "wrong type": (swapped("TYPE_UINT8", "TYPE_FP32"), "in the model [-1, 4, 4] of TYPE_UINT8"),
    "unknown input": (swapped("pixels", "image"), "its inputs are ['image'], the model's ['pixels']"),
    "no batches": (swapped("max_batch_size: 64", "max_batch_size: 0"), "max_batch_size is 0"),
    "a preferred batch too large": (
        swapped("preferred_batch_size: 64", "preferred_batch_size: 65"),
        "65 is not within",
    ),
    "a warm-up too large": (swapped(r"batch_size: 64\n  inputs", "batch_size: 65\n  inputs"), "has batch 65"),
    "labels gone": (lambda m: (m / "small/labels.txt").unlink(), "label_filename 'labels.txt' is not there"),
    "a label too many": (lambda m: (m / "small/labels.txt").write_text("a\nb\nc\nd\n"), "has 4 labels"),
    "warm-up data gone": (lambda m: (m / "small/warmup/input0.bin").unlink(), "warmup/input0.bin is not there"),
    "warm-up data short": (lambda m: (m / "small/warmup/input0.bin").write_bytes(b"x"), "has 1 bytes; a sample"),
    "no model file": (lambda m: (m / "small/1/model.onnx").unlink(), "1/model.onnx is not there or empty"),
    "no configuration": (lambda m: (m / "small/config.pbtxt").unlink(), "cannot be read"),
    "a second version": (lambda m: (m / "small/2").mkdir(), "versions are ['1', '2'], not 1 alone"),
    "another model's file": (
        lambda m: shutil.copyfile(m / "small_onnx/1/model.onnx", m / "small/1/model.onnx"),
        "its inputs are ['pixels'], the model's ['image']",
    ),
    "beyond the profile": (on_plan("max_batch_size: 16", "max_batch_size: 17"), "which ends at 16"),
    "an engine on the CPU": (on_plan("KIND_GPU", "KIND_CPU"), "an engine cannot run as KIND_CPU"),
    "no facts of the engine": (lambda m: (m / "small_tensorrt_sm80/engine.json").unlink(), "engine.json is missing"),
}


@needs_schema
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(name, app):
    damage, said = DAMAGES[name]
    models = app("images", engine=PLAN) / "models"
    damage(models)
    assert any(said in sentence for sentence in check_repository(models)), check_repository(models)


@needs_schema
def test_numbers_of_libtorch_stand_in_their_order(app):
    models = app("texts") / "models"
    path = models / "small_torchscript/config.pbtxt"
    path.write_text(path.read_text().replace("INPUT__1", "LENGTHS"))
    assert any("wants NAME__0, NAME__1" in s for s in check_repository(models))


@needs_schema
def test_an_empty_repository_is_unsound(tmp_path):
    assert check_repository(tmp_path) == [f"{tmp_path}: holds no model"]


@needs_schema
def test_what_is_unsound_is_not_written(tmp_path, monkeypatch):
    place = bundle("images", tmp_path / "b")
    monkeypatch.setattr(_triton_config, "preferred", lambda _: [100])
    with pytest.raises(ExportError, match=r"not sound: .*preferred_batch_size 100"):
        embed(place, "triton", EmbedOptions(), tmp_path / "app")
    assert not (tmp_path / "app").exists()


@needs_schema
@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_says_what_was_not_run_and_escapes_data(kind, app):
    folder = app(kind, engine=PLAN | {"flavour": "tensorrt_rtx"})
    readme = (folder / "README.md").read_text()
    assert "the server itself was not run" in readme
    assert "-p 127.0.0.1:8000:8000" in readme
    assert "built by tensorrt\\_rtx" in readme
    assert "CC0 \\<b\\>" in readme
    assert ("requests of equal shapes" in readme) == (kind == "texts")
    asked = json.loads((folder / "request.json").read_text())["inputs"]
    assert all(int(np.prod(i["shape"])) == len(i["data"]) and i["shape"][0] == 1 for i in asked)
    assert [i["datatype"] for i in asked] == {"images": ["UINT8"], "texts": ["INT64"] * 2, "vectors": ["FP32"]}[kind]


@pytest.fixture
def server():
    """Speaks the server's protocol over gRPC on loopback: batches, reshapes and limits as config.pbtxt has them."""
    from concurrent import futures

    import grpc
    import onnxruntime
    from tritonclient.grpc import service_pb2, service_pb2_grpc
    from tritonclient.utils import triton_to_np_dtype

    class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):
        models = None

        def ModelInfer(self, request, context):
            folder = self.models / request.model_name
            told = read_config(folder / "config.pbtxt")
            ports, given = {p.name: p for p in told.input}, {}
            for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True):
                port, values = ports[tensor.name], np.frombuffer(data, triton_to_np_dtype(tensor.datatype))
                if tensor.shape[0] > told.max_batch_size or len(tensor.shape) != 1 + len(port.dims):
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected shape of {tensor.name}")
                shape = tensor.shape[:1] if port.HasField("reshape") else tensor.shape
                given[tensor.name] = values.reshape(list(shape))
            session = onnxruntime.InferenceSession(folder / "1/model.onnx", providers=["CPUExecutionProvider"])
            names = [o.name for o in request.outputs]
            answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
            for port in (p for name in names for p in told.output if p.name == name):
                values = session.run([port.name], given)[0]
                values = values[:, None] if port.HasField("reshape") else values
                kind = "INT64" if values.dtype == np.int64 else "FP32"
                answer.outputs.add(name=port.name, datatype=kind, shape=values.shape)
                answer.raw_output_contents.append(values.tobytes())
            return answer

    stand_in, running = StandIn(), grpc.server(futures.ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(stand_in, running)
    stand_in.url = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield stand_in
    running.stop(0)


def client_of(folder):
    spec = importlib.util.spec_from_file_location("triton_client_under_test", folder / "client.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(folder, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["client.py", *words])
    return client_of(folder).main()


@needs_schema
@pytest.mark.parametrize("kind", KINDS)
def test_the_client_is_content_with_right_answers_and_only_with_them(kind, app, server, tmp_path, monkeypatch, capsys):
    folder = app(kind)
    server.models = folder / "models"
    for name in ("small", "small_onnx"):
        assert asked(folder, monkeypatch, "--url", server.url, "--model", name, "--batch", "4") == 0
        assert capsys.readouterr().out == f"{name}: all answers are inside their bands\n"
    other = kit_of(bundle(kind, tmp_path / "wrong", wrong=True))
    shutil.copyfile(other.app.path, folder / "models/small/1/model.onnx")
    assert asked(folder, monkeypatch, "--url", server.url, "--model", "small") == 1
    assert "where float64 has" in capsys.readouterr().out


@needs_schema
def test_the_client_says_in_one_line_what_is_wrong(app, monkeypatch, capsys):
    folder = app("vectors")
    assert asked(folder, monkeypatch, "--model", "none") == 2
    assert "holds no golden file" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tritonclient.http", None)
    assert asked(folder, monkeypatch, "--protocol", "http") == 1
    assert 'pip install "tritonclient[http]"' in capsys.readouterr().err


def test_the_client_forgives_a_label_only_where_two_classes_are_too_close(tmp_path):
    path = tmp_path / "client.py"
    shutil.copyfile(triton.__file__.replace("triton.py", "_triton/client.py"), path)
    wrong = client_of(tmp_path).wrong
    truth = {"probabilities": np.array([[0.5, 0.5 - 1e-6, 1e-6], [0.7, 0.2, 0.1]]), "label": np.array([[0], [0]])}
    found = {"probabilities": truth["probabilities"].astype(np.float32), "label": np.array([[1], [0]])}
    assert wrong(found, truth, {"probabilities": 1e-6}, 0) == ""
    assert "sample 0 has label 1" in wrong(found, truth, {"probabilities": 1e-7}, 0)
    assert "sample 5 has label 1" in wrong(found | {"label": np.array([[0], [1]])}, truth, {"probabilities": 1e-6}, 4)
    assert "probabilities: nan" in wrong(
        found | {"probabilities": found["probabilities"] * np.nan}, truth, {"probabilities": 1.0}, 0
    )
