"""What a file promises: names, types, axes, operator sets, metadata, nothing that trains."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_network import artifact as tiny_artifact
from tiny_network import write_onnx

from export.bundle.errors import BundleCorrupt
from serve_bench.equivalence import structure

onnx = pytest.importorskip("onnx")


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "model.onnx"
    write_onnx(path)
    model = onnx.load(path)
    model.metadata_props.add(key="labels", value='["a", "b"]')
    onnx.save(model, path)
    return tiny_artifact(path, "onnx", facts={"opset": 17, "ir_version": 8})


def changed(artifact, edit):
    from pathlib import Path

    path = Path(artifact.path)
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return structure.check(path, artifact, {"labels": '["a", "b"]'})


def nothing(model):
    pass


def rename(model):
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"


def freeze(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def widen(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9


def retype(model):
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def relabel(model):
    model.metadata_props[0].value = '["b", "a"]'


def newer(model):
    model.opset_import[0].version = 18


def foreign(model):
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


def dropping(model):
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "on"))
    node = onnx.helper.make_node("Dropout", ["convolved", "", "on"], ["dropped"], "drop")
    model.graph.node[1].input[0] = "dropped"
    model.graph.node.insert(1, node)


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../elsewhere.bin")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (nothing, []),
        (rename, ["its inputs are picture, promised were image"]),
        (freeze, ["axis 0 of input 'image' is fixed at 1, promised was any batch"]),
        (widen, ["axis 2 of input 'image' is 9, promised was 8"]),
        (retype, ["output 'scores' is of type float64, promised was float32"]),
        (relabel, ['its metadata say labels = ["b", "a"], the model\'s is ["a", "b"]']),
        (newer, ["opset is 18, promised was 17"]),
        (foreign, ["needs the operators of com.microsoft, which are not ONNX's own"]),
        (dropping, ["node 'drop' is a dropout in training mode"]),
    ],
)
def test_what_is_not_as_promised_is_one_sentence(sound, edit, said):
    assert changed(sound, edit) == said


def test_weights_outside_the_file_are_named(sound):
    from pathlib import Path

    path = Path(sound.path)
    model = onnx.load(path)
    outside(model)
    path.write_bytes(model.SerializeToString())
    assert structure.check(path, sound) == [f"{model.graph.initializer[0].name!r} lies in another file"]


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x08\x08"])
def test_a_file_that_is_no_onnx_is_one_line(sound, tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleCorrupt, match="export it again"):
        structure.check(path, sound)


def test_the_first_sentence_counts_the_others():
    assert structure.why([]) == ""
    assert structure.why(["a", "b", "c"]) == "the file is not as promised: a (and 2 more)"


@pytest.mark.parametrize("train", [False, True])
def test_training_is_seen_in_a_program_and_in_torchscript(tmp_path, train):
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x, 0.5, train)

    net, example = Net(), torch.ones(2, 3)
    torch.export.save(torch.export.export(net, (example,)), tmp_path / "model.pt2")
    torch.jit.trace(net, example, check_trace=False).save(str(tmp_path / "model.pt"))
    for name, form in (("model.pt2", "exported_program"), ("model.pt", "torchscript")):
        every = structure.check(tmp_path / name, tiny_artifact(tmp_path / name, form))
        found = [sentence for sentence in every if "training mode" in sentence]
        assert bool(found) is train, (form, found)
    assert structure.check(tmp_path / "none", replace(tiny_artifact(tmp_path, "tensorrt"))) == []


@pytest.mark.parametrize(
    ("ends", "shapes", "said"),
    [
        ({}, {0: {"min": 1}}, []),
        ({}, None, ["axis 0 of input 'x' is fixed at 3, promised was any batch", "axis 0 of output 'y' is fixed at 3"]),
        (
            {},
            {0: {"min": 2}},
            ["axis 0 of input 'x' begins at 2, promised was any batch", "axis 0 of output 'y' begins"],
        ),
        ({"dtype": "int64"}, {0: {"min": 1}}, ["input 'x' is of type float32, promised was int64"]),
        ({"shape": ("batch", 5)}, {0: {"min": 1}}, ["axis 1 of input 'x' is 4, promised was 5"]),
        ({"shape": ("batch",)}, {0: {"min": 1}}, ["input 'x' has 2 axes, promised were 1"]),
    ],
)
def test_the_ends_of_a_program_are_as_promised(tmp_path, ends, shapes, said):
    torch = pytest.importorskip("torch")
    from export.bundle.types import TensorSpec

    class Net(torch.nn.Module):
        def forward(self, x):
            return x * 2

    axes = ({axis: torch.export.Dim("batch", **more) for axis, more in shapes.items()},) if shapes else None
    made = torch.export.export(Net(), (torch.ones(3, 4),), dynamic_shapes=axes)
    torch.export.save(made, tmp_path / "model.pt2")
    given = {"name": "x", "dtype": "float32", "shape": ("batch", 4)} | ends
    promised = tiny_artifact(
        tmp_path / "model.pt2",
        "exported_program",
        inputs=(TensorSpec(**given),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 4)),),
    )
    found = structure.check(tmp_path / "model.pt2", promised)
    assert len(found) == len(said)
    assert all(sentence.startswith(words) for sentence, words in zip(found, said, strict=True))


def test_a_program_of_fewer_outputs_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    from export.bundle.types import TensorSpec

    class Net(torch.nn.Module):
        def forward(self, x):
            return x * 2

    torch.export.save(torch.export.export(Net(), (torch.ones(3, 4),)), tmp_path / "model.pt2")
    spec = TensorSpec(name="x", dtype="float32", shape=(3, 4))
    two = (replace(spec, name="y"), replace(spec, name="z"))
    promised = tiny_artifact(tmp_path / "model.pt2", "exported_program", inputs=(spec,), outputs=two)
    assert structure.check(tmp_path / "model.pt2", promised) == ["it has 1 outputs, promised were 2"]
