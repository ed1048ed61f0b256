"""A bare file against a `.pt2`, in real workers."""

import zipfile

import numpy as np
import pytest

from export.bundle.errors import BackendUnavailable, DataError, ExportError, UsageError
from serve_bench.equivalence.pair import _described, form_of, verify_pair
from serve_bench.equivalence.probes import SPECIAL

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import networks

    made = tmp_path_factory.mktemp("pair")
    module, example = networks.Folding(), torch.ones(2, 1, 6, 6)
    networks.program(module, example, made / "model.pt2")
    networks.onnx(made / "model.onnx", made / "model.pt2")
    networks.script(module, example, made / "model.pt")
    networks.program(networks.Folding(seed=1), example, made / "other.pt2")
    images = np.random.default_rng(0).standard_normal((90, 1, 6, 6)).astype(np.float32)
    np.savez(made / "inputs.npz", image=images)
    return made


def verdict(*files):
    """ONNX Runtime's; every other backend that reads the file agrees."""
    found = {record.backend: record for record in verify_pair(*files, threads=1)}
    assert len({record.passed for record in found.values()}) == 1
    return found["onnxruntime-cpu"]


def test_a_faithful_onnx_passes(folder):
    found = verdict(folder / "model.onnx", folder / "model.pt2", folder / "inputs.npz")
    assert found.passed, found.reason
    assert found.backend == "onnxruntime-cpu"
    assert (found.decisions, found.metric) == (90, {})
    small = ["batch 1", "batch 2", "batch 7", "neighbours"]
    assert [p.probe for p in found.probes] == ["test", *small, "gaussian", "constant", "search"]
    assert set(found.non_finite) == {name for name, _, _ in SPECIAL}
    assert found.constants["folded"] == ["conv.weight with norm", "norm: folded bias"]


def test_how_inputs_were_taken_is_said(folder, tmp_path):
    from export.progress import Silent

    said: list[str] = []
    progress = Silent()
    progress.note = said.append
    np.savez(tmp_path / "bytes.npz", image=np.zeros((3, 1, 6, 6), np.uint8))
    _described(folder / "model.pt2", tmp_path / "bytes.npz", progress)
    _described(folder / "model.pt2", folder / "inputs.npz", progress)
    taken = "taken as model-ready, so no preprocessing is applied"
    assert said == [f"{tmp_path / 'bytes.npz'}: uint8 {taken}", f"{folder / 'inputs.npz'}: float32 {taken}"]


def test_the_form_is_told_by_content_not_by_name(folder, tmp_path):
    renamed = tmp_path / "model.bin"
    renamed.write_bytes((folder / "model.pt").read_bytes())
    (found,) = verify_pair(renamed, folder / "model.pt2", folder / "inputs.npz", threads=1)
    assert found.backend == "torchscript"
    assert found.passed, found.reason
    forms = {n: form_of(folder / n) for n in ("model.onnx", "model.pt2", "model.pt")}
    assert forms == {"model.onnx": "onnx", "model.pt2": "exported_program", "model.pt": "torchscript"}


def test_weights_of_another_seed_fail_by_constants_and_by_numbers(folder):
    found = verdict(folder / "model.onnx", folder / "other.pt2", folder / "inputs.npz")
    assert not found.passed
    assert "constants differ" in found.reason
    assert not any(p.passed for p in found.probes)
    assert any(not d.explained for d in found.disagreements)


def test_a_single_weight_off_by_a_thousandth_fails_by_numbers_too(folder, tmp_path):
    import onnx

    model = onnx.load(folder / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name.endswith("two.weight"))
    weight = onnx.numpy_helper.to_array(tensor).copy()
    weight[np.unravel_index(np.abs(weight).argmax(), weight.shape)] *= np.float32(1.001)
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    found = verdict(tmp_path / "model.onnx", folder / "model.pt2", folder / "inputs.npz")
    assert not next(p for p in found.probes if p.probe == "test").passed
    assert found.reason.startswith("constants differ from the checkpoint: two.weight: ")


def inputs(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_what_does_not_fit_is_one_line(folder, tmp_path):
    onnx, reference = folder / "model.onnx", folder / "model.pt2"
    images = np.ones((3, 1, 6, 6), np.float32)
    cases = [
        (DataError, inputs(tmp_path / "a.npz", image=images[:0]), "holds no samples"),
        (DataError, inputs(tmp_path / "b.npz", a=images, b=images), "input 'image' is missing"),
        (DataError, inputs(tmp_path / "c.npz", image=images[:, :, :2, :2]), "does not take the inputs"),
        (
            DataError,
            inputs(tmp_path / "e.npz", image=np.full((3, 1, 6, 6), "x")),
            "'image' holds <U1, and .* takes float32",
        ),
        (DataError, tmp_path / "none.npz", "none.npz: no such file; save it with"),
        (ExportError, inputs(tmp_path / "d.npz", image=images * np.nan), "gives nan in float64"),
    ]
    for kind, path, words in cases:
        with pytest.raises(kind, match=words) as caught:
            verify_pair(onnx, reference, path, threads=1)
        assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "model.aoti.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/model.wrapper.so", "code")
    with pytest.raises(UsageError, match=r"is an AOTInductor package, .* verify the bundle that it belongs to"):
        form_of(tmp_path / "model.aoti.pt2")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(UsageError, match="neither ONNX"):
        verify_pair(tmp_path / "text.onnx", reference, folder / "inputs.npz")
    with pytest.raises(UsageError, match="no such file"):
        verify_pair(tmp_path / "none.onnx", reference, folder / "inputs.npz")


def edited(folder, path, edit):
    import onnx

    model = onnx.load(folder / "model.onnx")
    edit(model, onnx)
    onnx.save(model, path)
    return path


def outside(location):
    def edit(model, onnx):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit


def quantised(model, onnx):
    node = onnx.helper.make_node("DequantizeLinear", ["a", "b"], ["c"])
    model.graph.node.append(node)


def second_output(model, onnx):
    model.graph.output.append(model.graph.output[0])


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (outside("weights.bin"), UsageError, "lies in another file, 'weights.bin'; save the model as one file"),
        (outside("../../etc/passwd"), UsageError, "'../../etc/passwd', which leads out of its folder"),
        (quantised, UsageError, "computes in int8, whose rounding only a metric can judge"),
        (second_output, DataError, "has 2 outputs, the reference has 1"),
    ],
)
def test_an_onnx_file_that_does_not_fit_the_reference_is_one_line(folder, tmp_path, edit, kind, words):
    path = edited(folder, tmp_path / "model.onnx", edit)
    with pytest.raises(kind, match=words) as caught:
        verify_pair(path, folder / "model.pt2", folder / "inputs.npz", threads=1)
    assert "\n" not in str(caught.value)


def test_other_shapes_than_the_references_fail(folder, tmp_path):
    def edit(model, onnx):
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4

    path = edited(folder, tmp_path / "model.onnx", edit)
    found = verdict(path, folder / "model.pt2", folder / "inputs.npz")
    assert not found.passed
    assert "axis 1 of output" in found.reason or "cannot be opened" in found.reason


def test_without_torch_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("serve_bench.equivalence.program.importable", lambda name: False)
    with pytest.raises(BackendUnavailable, match="pip install"):
        verify_pair(folder / "model.onnx", folder / "model.pt2", folder / "inputs.npz")
