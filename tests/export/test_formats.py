"""What every exported form computes, holds and leaves out."""

import json
import zipfile

import numpy as np
import pytest

from export.bundle.errors import BundleError, ExportError, UnknownName
from export.bundle.files import sha256_of_file
from export.formats._base import ExportOptions, Source
from export.program import content_of_program, load_program, module_in, resized
from export.run import key_of, order, path_of, write_one
from tests.export.conftest import write_formats

BATCHES = (1, 2, 7, 512)
NAMES = {
    "weights": "weights.safetensors",
    "exported_program": "model.pt2",
    "torchscript": "model.torchscript.pt",
    "onnx": "model.onnx",
    "onnx float16": "model.fp16.onnx",
    "exported_program bfloat16": "model.bf16.pt2",
    "onnx int8": "model.int8.onnx",
    "onnx int8 dynamic": "model.int8-dynamic.onnx",
    "app": "app.onnx",
}
FLOAT32_BAND, FLOAT16_BAND = 4e-6, 5e-3
"""Largest |error| / max|truth|: 32 units of float32's roundoff for some 200 additions; ten of float16's."""


def error(answers, truth):
    return max(np.abs(a.astype("float64") - t).max() / np.abs(t).max() for a, t in zip(answers, truth, strict=True))


def run(name, path, arrays):
    if name.startswith("onnx"):
        import onnxruntime

        # ONNX Runtime 1.31's NchwcTransformer crashes on a two-layer float16 LSTM; without convolutions it has no use.
        off = ["NchwcTransformer"] if b"LSTM" in path.read_bytes() else None
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], disabled_optimizers=off)
        return session.run(None, arrays)
    import torch

    from export.program import leaves, module_of

    module = torch.jit.load(str(path)) if name == "torchscript" else module_of(load_program(path))
    with torch.inference_mode():
        return [leaf.numpy() for leaf in leaves(module(*(torch.from_numpy(a) for a in arrays.values())))]


def test_every_form_is_written_under_its_name(built):
    files = {name: artifact.path for name, artifact in built.artifacts.items() if artifact.format != "tensorrt"}
    assert files == NAMES
    for name, artifact in built.artifacts.items():
        assert sha256_of_file(built.path(name)) == artifact.sha256
        assert built.path(name).stat().st_size == artifact.bytes


@pytest.mark.parametrize("name", ["exported_program", "torchscript", "onnx", "onnx float16"])
@pytest.mark.parametrize("batch", BATCHES)
def test_each_form_computes_the_model_at_every_batch(built, name, batch):
    arrays = resized(built.example, built.trained.spec.inputs, "batch", batch)
    answers, truth = run(name, built.path(name), arrays), built.truth(arrays)
    assert [a.shape for a in answers] == [(batch, 4)]
    assert [str(a.dtype) for a in answers] == ["float32"]
    assert error(answers, truth) < (FLOAT16_BAND if name == "onnx float16" else FLOAT32_BAND)
    assert (error(answers, truth) > 1e-5) == (name == "onnx float16"), "float16 must be computed where it is claimed"


def test_weights_are_the_modules_own_bits(built):
    from safetensors.numpy import load_file

    stored = load_file(built.path("weights"))
    own = {k: v.numpy() for k, v in built.trained.module.state_dict().items()}
    assert stored.keys() == own.keys()
    assert [k for k in own if stored[k].tobytes() != own[k].tobytes()] == []


def test_the_program_equals_the_module_in_float64_to_the_last_bit(built):
    check = built.artifacts["exported_program"].facts["check"]
    assert check == {"dtype": "float64", "shapes": 3, "equal": True, "largest_relative_difference": 0.0}
    assert module_in(built.path("exported_program"), "float64").conv.weight.dtype.itemsize == 8


def test_the_programs_batch_begins_at_one(built):
    ranges = load_program(built.path("exported_program")).range_constraints.values()
    assert [int(r.lower) for r in ranges] == [1]


def test_no_form_holds_source_paths_or_traces(built):
    from pathlib import Path

    repository = str(Path(__file__).parents[2]).encode()
    words = [repository, b"site-packages", b"stack_trace", b"conftest.py", b'File \\"', b"test_formats"]
    for name in built.artifacts:
        data = built.path(name).read_bytes()
        if zipfile.is_zipfile(built.path(name)):
            with zipfile.ZipFile(built.path(name)) as archive:
                assert [n for n in archive.namelist() if n.endswith(".debug_pkl")] == []
                data += b"".join(archive.read(n) for n in archive.namelist())
        assert [word for word in words if word in data] == [], name


def test_the_same_model_gives_the_same_contents(built, tmp_path):
    other = write_formats(built.source, ["torchscript", "onnx", "onnx-fp16"], tmp_path.joinpath)[0]
    for artifact in other:
        assert artifact.content == built.artifacts[artifact.name].content, artifact.name
        if artifact.format in ("onnx", "weights"):
            assert artifact.sha256 == built.artifacts[artifact.name].sha256


def test_content_changes_with_one_bit_of_one_weight(built):
    import torch

    program = load_program(built.path("exported_program"))
    before = content_of_program(program)
    assert before == built.artifacts["exported_program"].content
    with torch.no_grad():
        program.state_dict["head.bias"].view(torch.int32)[0] += 1
    assert content_of_program(program) != before


def test_parents_form_one_chain(built):
    parents = {name: artifact.parent for name, artifact in built.artifacts.items()}
    content = {name: artifact.content for name, artifact in built.artifacts.items()}
    assert parents["weights"] is None
    assert parents["exported_program"] == parents["torchscript"] == content["weights"]
    assert parents["onnx"] == parents["onnx float16"] == content["exported_program"]


@pytest.mark.parametrize("name", ["onnx", "onnx float16"])
def test_onnx_is_one_low_plain_described_file(built, name):
    import onnx

    model = onnx.load(built.path(name), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(i.domain, i.version) for i in model.opset_import] == [("", 17)]
    assert (model.ir_version, built.artifacts[name].facts["opset"]) == (8, 17)
    tensors = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.output)}
    assert {n: [d.dim_param or d.dim_value for d in t.shape.dim] for n, t in tensors.items()} == {
        "image": ["batch", 1, 12, 12],
        "log_probabilities": ["batch", 4],
    }
    assert {t.elem_type for t in tensors.values()} == {onnx.TensorProto.FLOAT}
    described = {p.key: p.value for p in model.metadata_props}
    assert described["model"] == "small"
    assert json.loads(described["labels"]) == ["a", "b", "c", "d"]
    assert described["parent"] == built.artifacts["exported_program"].content
    noted = [n for n in model.graph.node if n.doc_string or n.metadata_props]
    assert noted == []
    weights = {i.data_type for i in model.graph.initializer} - {onnx.TensorProto.INT64}
    assert weights == {onnx.TensorProto.FLOAT16 if name == "onnx float16" else onnx.TensorProto.FLOAT}


def test_a_higher_opset_is_kept_where_the_graph_allows_it(built, tmp_path):
    import dataclasses

    files = {n: (built.path(n), built.artifacts[n]) for n in ("weights", "exported_program")}
    source = dataclasses.replace(built.source, files=files, options=ExportOptions(opset=20))
    artifact = write_one("onnx", source, tmp_path / "model.onnx")
    assert (artifact.facts["opset"], artifact.facts["ir_version"]) == (20, 9)


def test_exporters_print_nothing_to_stdout(built, tmp_path, capfd):
    write_formats(built.source, ["onnx"], tmp_path.joinpath)
    assert capfd.readouterr().out == ""


def test_order_puts_needs_first_and_knows_its_names():
    assert order(["tensorrt-fp16"]) == ["weights", "exported_program", "onnx-fp16", "tensorrt-fp16"]
    assert set(order()) == {
        "aotinductor",
        "app",
        "weights",
        "exported_program",
        "exported_program-bf16",
        "torchscript",
        "onnx",
        "onnx-fp16",
        "onnx-int8",
        "onnx-int8-dynamic",
        "onnx-step",
        "tensorrt",
        "tensorrt-fp16",
    }
    with pytest.raises(UnknownName, match=r"unknown format 'onx': did you mean 'onnx'\?"):
        order(["onx"])


def test_paths_and_keys_follow_the_options():
    a100, ada = ExportOptions(target="a100"), ExportOptions(target="sm89")
    assert path_of("tensorrt-fp16", a100) == "engines/sm80/model.fp16.engine"
    assert key_of("tensorrt", a100) != key_of("tensorrt", ada)
    assert key_of("onnx", a100) == key_of("onnx", ada)
    assert key_of("onnx", a100) != key_of("onnx", ExportOptions(opset=18))


def failing(trained, module):
    import dataclasses

    return dataclasses.replace(trained, module=module)


def test_a_form_that_cannot_be_written_is_a_row_and_leaves_nothing(small, example, tmp_path):
    import torch

    class Fixed(torch.nn.Module):
        def forward(self, image):
            return image.reshape(9, 144)[:, :4]

    source = Source(trained=failing(small, Fixed()), example=example, files={})
    artifacts, missing = write_formats(source, ["torchscript", "onnx"], tmp_path.joinpath)
    reasons = {row.format: row.reason for row in missing}
    assert [a.name for a in artifacts] == ["weights"]
    assert list(reasons) == ["torchscript", "exported_program", "onnx"]
    assert reasons["onnx"] == "onnx: is made from exported_program, which could not be written"
    assert reasons["exported_program"].startswith("exported_program: ")
    assert all("\n" not in reason for reason in reasons.values())
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_full_disk_is_no_row_but_stops(small, example, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    source = Source(trained=small, example=example, files={})
    with pytest.raises(BundleError, match="weights: the disk is full; free some space"):
        write_formats(source, ["weights"], tmp_path.joinpath)
    assert list(tmp_path.iterdir()) == []


def test_a_format_written_out_of_order_says_so(small, example, tmp_path):
    source = Source(trained=small, example=example, files={})
    with pytest.raises(ExportError, match="weights is not written yet"):
        write_one("exported_program", source, tmp_path / "model.pt2")
