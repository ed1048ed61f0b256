"""Weights bit for bit: what exporters do to them passes, what damages them is named."""

import numpy as np
import pytest

from export.bundle.errors import BundleCorrupt
from serve_bench.equivalence import constants
from serve_bench.equivalence.folds import BatchNorm, Graph, folds

onnx = pytest.importorskip("onnx")
safetensors = pytest.importorskip("safetensors.numpy")


def arrays():
    rng = np.random.default_rng(0)
    return {
        "one.weight": rng.standard_normal((8, 8)).astype(np.float32),
        "one.bias": rng.standard_normal(8).astype(np.float32),
        "gates.weight": rng.standard_normal((32, 5)).astype(np.float32),
    }


def write_onnx(path, named):
    tensors = [onnx.numpy_helper.from_array(a, n) for n, a in named.items()]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], [], tensors)
    onnx.save(onnx.helper.make_model(graph), str(path))
    return path


@pytest.fixture
def compare(tmp_path):
    safetensors.save_file(arrays(), tmp_path / "weights.safetensors")

    def run(named, precision="float32"):
        path = write_onnx(tmp_path / "model.onnx", named)
        return constants.compare(tmp_path / "weights.safetensors", path, "onnx", precision, None)

    return run


def test_what_exporters_do_to_weights_passes(compare):
    w = arrays()
    blocks = np.split(w["gates.weight"], 4)
    found = compare(
        {
            "renamed": w["one.weight"].T.copy(),
            "net.one.bias": w["one.bias"][None],
            "val_7": np.concatenate([blocks[i] for i in (0, 3, 1, 2)])[None],
            "shape": np.array([1, -1]),
        }
    )
    assert found == {
        "compared": ["gates.weight", "one.bias", "one.weight"],
        "folded": [],
        "mismatched": [],
        "unmatched": [],
        "absent": [],
    }


@pytest.mark.parametrize("name", ["one.weight", "val_1"])
@pytest.mark.parametrize("step", [1, 1000])
def test_one_flipped_bit_is_named_with_both_values(compare, name, step):
    w = arrays()
    right = w["one.weight"][2, 3]
    w["one.weight"].view(np.int32)[2, 3] ^= step
    wrong = w["one.weight"][2, 3]
    found = compare({name: w["one.weight"], "one.bias": w["one.bias"], "gates.weight": w["gates.weight"]})
    assert found["mismatched"] == [f"one.weight: {wrong!s} at (2, 3) of {name!r}, where the checkpoint has {right!s}"]
    assert "constants differ from the checkpoint: one.weight" in constants.why(found)


def test_stale_weights_of_another_seed_are_mismatched(compare):
    w = arrays() | {"one.weight": np.random.default_rng(9).standard_normal((8, 8)).astype(np.float32)}
    for name in ("one.weight", "val_1"):
        found = compare({name: w["one.weight"], "one.bias": w["one.bias"], "gates.weight": w["gates.weight"]})
        assert len(found["mismatched"]) == 1, name


def test_a_zeroed_tensor_is_mismatched(compare):
    w = arrays()
    found = compare({"a": w["one.weight"], "b": np.zeros(8, np.float32), "c": w["gates.weight"]})
    assert len(found["mismatched"]) == 1
    assert found["mismatched"][0].startswith("one.bias: 0.0 at")


def test_one_damaged_gate_is_named(compare):
    w = arrays()
    blocks = np.split(w["gates.weight"], 4)
    blocks[1] = blocks[1] * np.float32(1.0001)
    found = compare({"a": w["one.weight"], "b": w["one.bias"], "val_7": np.concatenate(blocks[::-1])})
    assert len(found["mismatched"]) == 1
    assert "val_7" in found["mismatched"][0]


def test_a_constant_that_matches_nothing_is_named_and_does_not_fail(compare):
    found = compare(arrays() | {"table": np.arange(21, dtype=np.float32).reshape(3, 7)})
    assert found["unmatched"] == ["table"]
    assert found["mismatched"] == []


def test_half_weights_are_those_of_the_checkpoint_rounded_to_nearest(compare):
    half = {n: a.astype(np.float16) for n, a in arrays().items()}
    assert compare(half, "float16")["mismatched"] == []
    half["one.bias"].view(np.int16)[4] += 1
    assert compare(half, "float16")["mismatched"][0].startswith("one.bias: ")


def fold(precision="float32"):
    """By hand: γ = 3, σ² = 3.99, ε = 0.01 give s = 3 / 2 = 1.5; b' = β + (b − μ)·s = 1 + (0.5 − 2.5)·1.5 = −2."""
    checkpoint = {
        "w": np.array([[2.0, -4.0]], np.float64),
        "b": np.array([0.5]),
        "n.weight": np.array([3.0]),
        "n.bias": np.array([1.0]),
        "n.running_mean": np.array([2.5]),
        "n.running_var": np.array([3.99]),
    }
    norm = BatchNorm("n", "n.weight", "n.bias", "n.running_mean", "n.running_var", 0.01, "w", "b", 0)
    return {f.name: f for f in folds(Graph(frozenset(), frozenset(), (norm,)), checkpoint, precision)}


def test_the_fold_and_its_bound_by_hand():
    found = fold()
    u = 2.0**-24
    assert found["w with n"].value == pytest.approx(np.array([[3.0, -6.0]]), rel=1e-15)
    assert found["w with n"].bound == pytest.approx(np.array([[18 * u, 36 * u]]), rel=1e-6)
    assert found["w with n"].covers == {"w", "n.weight", "n.running_var"}
    assert found["n: folded bias"].value == pytest.approx([-2.0], rel=1e-15)
    assert found["n: folded bias"].bound == pytest.approx([8 * u * (1 + 3.0 * 1.5)], rel=1e-6)
    assert found["n: scale"].value == pytest.approx([1.5], rel=1e-15)
    assert found["n: shift"].value == pytest.approx([1 - 2.5 * 1.5], rel=1e-15)


def test_the_bound_of_half_arithmetic_counts_what_underflows():
    bound = fold("float16")["w with n"].bound[0, 0]
    gamma = 6 * 2.0**-11 / (1 - 6 * 2.0**-11)
    assert bound == pytest.approx(3 * (gamma + 2.0**-25 / 4) + 4 * 2.0**-25, rel=1e-9)


@pytest.fixture(scope="module")
def folding(tmp_path_factory):
    """conv and batch norm in every form, and its checkpoint."""
    pytest.importorskip("onnxscript")
    torch = pytest.importorskip("torch")
    import networks

    folder = tmp_path_factory.mktemp("folding")
    module, example = networks.Folding(), torch.ones(2, 1, 6, 6)
    safetensors.save_file({n: v.numpy() for n, v in module.state_dict().items()}, folder / "weights.safetensors")
    networks.program(module, example, folder / "model.pt2")
    networks.onnx(folder / "model.onnx", folder / "model.pt2")
    networks.script(module, example, folder / "frozen.pt")
    networks.script(module, example, folder / "unfrozen.pt", freeze=False)
    return folder


FORMS = [
    ("model.pt2", "exported_program"),
    ("model.onnx", "onnx"),
    ("frozen.pt", "torchscript"),
    ("unfrozen.pt", "torchscript"),
]


def compared(folder, file, form, weights="weights.safetensors"):
    return constants.compare(folder / weights, folder / file, form, "float32", folder / "model.pt2")


@pytest.mark.parametrize(("file", "form"), FORMS)
def test_every_form_of_a_real_export_holds_the_checkpoint(folding, file, form):
    found = compared(folding, file, form)
    assert (found["mismatched"], found["unmatched"], found["absent"]) == ([], [], [])
    folded = ["conv.weight with norm", "norm: folded bias"] if file in ("model.onnx", "frozen.pt") else []
    assert found["folded"] == folded


@pytest.mark.parametrize("tensor", ["conv.weight", "norm.weight", "norm.running_var", "norm.bias", "one.weight"])
@pytest.mark.parametrize(("file", "form"), FORMS)
def test_every_form_shows_one_weight_off_by_1e_5(folding, tmp_path, file, form, tensor):
    checkpoint = safetensors.load_file(folding / "weights.safetensors")
    checkpoint[tensor].reshape(-1)[3] *= np.float32(1 + 1e-5)
    safetensors.save_file(checkpoint, tmp_path / "other.safetensors")
    found = compared(folding, file, form, tmp_path / "other.safetensors")
    assert found["mismatched"], found


def test_a_wrong_epsilon_shows_in_the_folds(folding, tmp_path):
    import networks
    import torch

    module = networks.Folding()
    module.norm.eps = 1e-5
    networks.script(module, torch.ones(2, 1, 6, 6), tmp_path / "other.pt")
    found = constants.compare(
        folding / "weights.safetensors", tmp_path / "other.pt", "torchscript", "float32", folding / "model.pt2"
    )
    assert found["mismatched"]


@pytest.mark.parametrize(("file", "form"), FORMS)
@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_file_that_cannot_be_read_is_one_line(folding, tmp_path, file, form, damage):
    data = (folding / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2] if damage == "cut" else b"not a model\n" * 9)
    with pytest.raises(BundleCorrupt, match="export it again") as caught:
        constants.compare(folding / "weights.safetensors", tmp_path / file, form, "float32", None)
    assert "\n" not in str(caught.value)


def test_nothing_in_a_torchscript_pickle_is_executed(folding, tmp_path):
    """A pickle that would write a file if anything resolved its names."""
    import pickle
    import zipfile

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    source, target = folding / "frozen.pt", tmp_path / "evil.pt"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.namelist():
            evil = item.endswith("/data.pkl")
            new.writestr(item, pickle.dumps(Evil(), protocol=2) if evil else old.read(item))
    constants.compare(folding / "weights.safetensors", target, "torchscript", "float32", folding / "model.pt2")
    assert not (tmp_path / "owned").exists()


def test_no_element_of_a_named_tensor_is_taken_for_a_block_of_another(tmp_path):
    """Four values cut in four blocks of one: each can be found somewhere (seen in float16)."""
    one, two = np.float32([0.5, 0.25, 1.0, 2.0]), np.float32([4.0, 8.0, 0.75, 3.0])
    wrong = np.float32([0.5, 0.25, 0.75, 2.0])
    found = constants._Comparison({"a.bias": one, "b.bias": two}, constants.Graph(frozenset(), frozenset(), ()), [])
    assert found.run({"a.bias": wrong})["mismatched"] == [
        "a.bias: 0.75 at (2,) of 'a.bias', where the checkpoint has 1.0"
    ]
    swapped = constants._Comparison({"a.bias": one}, constants.Graph(frozenset(), frozenset(), ()), [])
    assert swapped.run({"val": one[[1, 0, 2, 3]]})["compared"] == []
