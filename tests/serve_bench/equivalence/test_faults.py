"""Deliberate faults: each kind is what it is called, and the file it is made from stays as it was."""

import numpy as np
import pytest

from export.registry import entries
from serve_bench.equivalence import stored
from serve_bench.equivalence.faults import tensors
from serve_bench.equivalence.faults._base import Subject

pytest.importorskip("onnx")


def of(artifact, limit=2):
    from pathlib import Path

    subject = Subject(path=Path(artifact.path), artifact=artifact, limit=limit, rng=np.random.default_rng(0))
    for source in entries("serve_bench.equivalence.faults").values():
        yield from source.faults(subject)


def test_every_fault_has_its_own_name_and_changes_the_copy_alone(tiny, tmp_path):
    from pathlib import Path

    for form in ("onnx", "exported_program", "torchscript"):
        artifact = tiny.artifacts[form]
        before = Path(artifact.path).read_bytes()
        found = list(of(artifact))
        assert len({(f.kind, f.name) for f in found}) == len(found)
        for fault in found[:40]:
            fault.write(tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() != before, fault.name
        assert Path(artifact.path).read_bytes() == before


@pytest.mark.parametrize("form", ["onnx", "exported_program", "torchscript"])
def test_a_replaced_tensor_is_read_back_and_nothing_else_changes(tiny, tmp_path, form):
    from pathlib import Path

    path = Path(tiny.artifacts[form].path)
    before = stored.read(path, form)
    name = max(before, key=lambda n: before[n].size)
    wanted = np.flip(before[name]).copy()
    stored.replace_tensors(path, form, {name: wanted}, tmp_path / "copy")
    after = stored.read(tmp_path / "copy", form)
    assert set(after) == set(before)
    assert np.array_equal(after[name], wanted)
    assert all(np.array_equal(after[n], before[n]) for n in before if n != name)


def test_a_tensor_that_does_not_fit_is_refused(tiny, tmp_path):
    from pathlib import Path

    from export.bundle.errors import BundleCorrupt

    for form in ("onnx", "exported_program"):
        path = Path(tiny.artifacts[form].path)
        name = next(iter(stored.read(path, form)))
        with pytest.raises(BundleCorrupt, match="another shape or type"):
            stored.replace_tensors(path, form, {name: np.zeros((1, 2, 3), np.float32)}, tmp_path / "copy")
        with pytest.raises(BundleCorrupt, match="holds no nothing"):
            stored.replace_tensors(path, form, {"nothing": np.zeros(3, np.float32)}, tmp_path / "copy")


def test_a_tensor_of_bfloat16_is_replaced_by_its_own_words(tmp_path):
    torch = pytest.importorskip("torch")
    import networks
    from tiny_network import artifact

    net = torch.nn.Linear(3, 2).to(torch.bfloat16)
    path = networks.program(net, torch.ones(2, 3, dtype=torch.bfloat16), tmp_path / "model.pt2")
    before = stored.read(path, "exported_program")
    wanted = np.array([[1.5, -2.0, 0.25], [3.0, 0.0, -0.5]], np.float32)
    stored.replace_tensors(path, "exported_program", {"weight": wanted}, tmp_path / "copy.pt2")
    after = stored.read(tmp_path / "copy.pt2", "exported_program")
    assert np.array_equal(after["weight"], wanted)
    assert np.array_equal(after["bias"], before["bias"])
    loaded = torch.export.load(tmp_path / "copy.pt2").state_dict["weight"]
    assert torch.equal(loaded.float(), torch.from_numpy(wanted))
    faults = [f for f in of(artifact(path, "exported_program", "bfloat16")) if f.tensor == "weight"]
    for fault in faults:
        fault.write(tmp_path / "copy.pt2")
        assert not np.array_equal(stored.read(tmp_path / "copy.pt2", "exported_program")["weight"], before["weight"])
    assert len(faults) > 10


def test_changes_of_a_tensor_are_what_they_say():
    array = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    rng = np.random.default_rng(0)
    _, scaled = tensors.scaled_weight(array, rng, factor=1.01)
    assert np.sum(scaled != array) == 1
    assert np.max(scaled / array) == pytest.approx(1.01)
    _, zero = tensors.zeroed(array, rng)
    assert np.sum(zero == 0) == 1
    _, turned = tensors.sign(array, rng)
    assert np.sum(turned < 0) == 1
    _, swapped = tensors.neighbours(array, rng)
    assert sorted(swapped.ravel()) == sorted(array.ravel())
    assert np.sum(swapped != array) == 2
    assert np.array_equal(tensors.transposed(array, rng)[1], array.T)
    assert tensors.transposed(np.ones((2, 3), np.float32), rng) is None
    words, flipped = tensors.bit(array, rng, position=31)
    assert "bit 31" in words
    assert np.sum(np.signbit(flipped)) == 1
    assert tensors.bit(np.ones(3, np.float16), rng, position=16) is None


def test_rounding_is_to_the_nearest_of_the_narrower_type():
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    for name, kind in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        wanted = torch.from_numpy(array).to(kind).float().numpy()
        assert np.array_equal(tensors.rounded(array, np.random.default_rng(0), name)[1], wanted)
    eight = tensors.rounded(array, np.random.default_rng(0), "int8")[1]
    assert len(np.unique(eight)) <= 255
    assert np.abs(eight - array).max() <= np.abs(array).max() / 127 / 2 * 1.0001


def test_an_epsilon_and_training_mode_are_set_wrong_in_a_program(tmp_path):
    torch = pytest.importorskip("torch")
    import networks
    from tiny_network import artifact

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(4)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, x):
            return self.drop(self.norm(x))

    path = networks.program(Net().eval(), torch.ones(2, 4), tmp_path / "model.pt2")
    given = torch.ones(2, 4)
    found = [f for f in of(artifact(path, "exported_program")) if f.kind == "wrong epsilon" or "training" in f.kind]
    assert sorted({f.kind for f in found}) == [
        "batch norm in training mode",
        "dropout in training mode",
        "wrong epsilon",
    ]
    fault = next(f for f in found if f.kind == "wrong epsilon")
    fault.write(tmp_path / "copy.pt2")
    answer = torch.export.load(tmp_path / "copy.pt2").module()(given)
    assert torch.allclose(answer, given / (1 + 1e-3) ** 0.5, atol=1e-7, rtol=0)


def test_an_epsilon_of_an_onnx_file_is_set_wrong(tmp_path):
    import onnx
    from tiny_network import artifact

    names = ["x", "scale", "bias", "mean", "var"]
    node = onnx.helper.make_node("BatchNormalization", names, ["y"], "norm", epsilon=1e-5)
    info = [onnx.helper.make_tensor_value_info(n, 1, None) for n in (*names, "y")]
    graph = onnx.helper.make_graph([node], "g", info[:5], info[5:])
    path = tmp_path / "norm.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
    (fault,) = [f for f in of(artifact(path, "onnx")) if f.kind == "wrong epsilon"]
    fault.write(tmp_path / "copy.onnx")
    assert onnx.load(tmp_path / "copy.onnx").graph.node[0].attribute[0].f == pytest.approx(1e-3)


def test_the_stride_of_a_single_window_is_no_fault(tmp_path):
    import onnx
    from tiny_network import artifact

    def kinds(side):
        node = onnx.helper.make_node("AveragePool", ["x"], ["y"], "pool", kernel_shape=[7, 7], strides=[7, 7])
        info = [onnx.helper.make_tensor_value_info("x", 1, ["batch", 2, side, side])]
        info.append(onnx.helper.make_tensor_value_info("y", 1, None))
        path = tmp_path / f"{side}.onnx"
        graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), path)
        return {f.kind for f in of(artifact(path, "onnx"))}

    assert "stride off" not in kinds(7)
    assert "stride off" in kinds(14)
