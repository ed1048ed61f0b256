"""The float64 truth against numpy, and the file's integrity."""

import numpy as np
import pytest
from fake_bundle import model, write_truth

from export.bundle.errors import BackendUnavailable, BundleCorrupt, ExportError
from export.bundle.types import Preprocess, TensorSpec
from export.progress import Silent
from serve_bench.equivalence.truth import Truth, golden_from_truth, make

IMAGE = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 6, 6), low=-1.0, high=2.0),)
SCORES = (TensorSpec(name="scores", dtype="float32", shape=("batch", 3)),)
PREPROCESS = Preprocess(scale=1 / 255, mean=0.25, std=0.5)


def run(program, stored, destination, inputs=IMAGE, outputs=SCORES, targets=None, preprocess=PREPROCESS):
    with Silent().stage("truth") as bar:
        return make(program, stored, targets, preprocess, inputs, outputs, destination, bar)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("torch")
    import networks
    import torch

    folder = tmp_path_factory.mktemp("truth")
    module = networks.Folding()
    networks.program(module, torch.ones(2, 1, 6, 6), folder / "model.pt2")
    stored = np.random.default_rng(0).integers(0, 256, (150, 1, 6, 6), dtype=np.uint8)
    facts = run(folder / "model.pt2", {"image": stored}, folder / "truth.npz", targets=np.arange(150) % 3)
    return folder, module, stored, facts


def by_hand(module, x):
    """The network in float64, written out in numpy."""
    p = {n: v.numpy().astype(np.float64) for n, v in module.state_dict().items()}
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(np.float64), (3, 3), (1, 2))
    y = np.einsum("nhwij,cij->nchw", windows, p["conv.weight"][:, 0])
    scale = p["norm.weight"] / np.sqrt(p["norm.running_var"] + 1e-3)
    y = (y - p["norm.running_mean"][:, None, None]) * scale[:, None, None] + p["norm.bias"][:, None, None]
    y = np.maximum(y, 0).mean((2, 3))
    y = np.maximum(y @ p["one.weight"].T + p["one.bias"], 0)
    return y @ p["two.weight"].T + p["two.bias"]


def test_truth_is_the_network_in_float64_over_every_sample(made):
    folder, module, stored, facts = made
    truth = Truth.load(folder / "truth.npz", PREPROCESS)
    ready = truth.inputs("test")["image"]
    f = np.float32
    assert ready.dtype == np.float32
    assert np.array_equal(ready, (stored.astype(f) * f(1 / 255) - f(0.25)) / f(0.5))
    assert np.array_equal(truth.stored("test")["image"], stored)
    for probe in truth.probes:
        answers = truth.outputs(probe)["scores"]
        assert answers.dtype == np.float64
        assert np.allclose(answers, by_hand(module, truth.inputs(probe)["image"]), rtol=1e-13, atol=1e-13)
        assert truth.scale(probe, "scores") == np.abs(answers).max()
    assert truth.probes == ("test", "gaussian", "uniform", "constant")
    assert truth.labels.tolist() == [i % 3 for i in range(150)]
    assert facts["samples"] == 150


def test_eager_errors_are_pooled_and_in_the_order_of_their_unit_roundoffs(made):
    import torch

    folder, module, _, _ = made
    truth = Truth.load(folder / "truth.npz", PREPROCESS)
    with torch.no_grad():
        eager = module(torch.from_numpy(truth.inputs("test")["image"])).numpy()
    own = np.abs(eager - truth.outputs("test")["scores"]).max() / truth.scale("test", "scores")
    assert truth.error("test", "float32", "scores") == pytest.approx(own, rel=0.5)
    errors = [truth.error("test", p, "scores") for p in ("float32", "float16", "bfloat16")]
    assert 0 < errors[0] < 1e-6 < errors[1] < 0.01
    assert errors[1] < errors[2] < 0.1
    assert truth.error("test", "tf32", "scores") is None


def test_a_class_of_few_samples_is_judged_by_the_largest_reference(made):
    truth = Truth.load(made[0] / "truth.npz", PREPROCESS)
    errors = {p: truth.error(p, "float16", "scores") for p in truth.probes}
    assert truth.reference("constant", "float16", "scores") == max(errors.values())
    assert truth.reference("test", "float16", "scores") == errors["test"]


def test_the_same_inputs_give_the_same_bytes(made, tmp_path):
    folder, _, stored, _ = made
    run(folder / "model.pt2", {"image": stored}, tmp_path / "again.npz", targets=np.arange(150) % 3)
    assert (tmp_path / "again.npz").read_bytes() == (folder / "truth.npz").read_bytes()


def test_golden_is_its_first_rows(made, tmp_path):
    folder = made[0]
    golden_from_truth(folder / "truth.npz", tmp_path / "golden.npz")
    truth, golden = (Truth.load(p, PREPROCESS) for p in (folder / "truth.npz", tmp_path / "golden.npz"))
    assert (golden.probes, golden.samples("test")) == (("test",), 32)
    assert np.array_equal(golden.outputs("test")["scores"], truth.outputs("test")["scores"][:32])
    assert np.array_equal(golden.inputs("test")["image"], truth.inputs("test")["image"][:32])
    assert np.array_equal(golden.labels, truth.labels[:32])
    assert golden.scale("test", "scores") == truth.scale("test", "scores")


def test_float32_that_the_graph_makes_itself_is_float64_too(tmp_path):
    torch = pytest.importorskip("torch")
    import networks

    module = networks.Recurrent()
    networks.program(module, torch.ones(2, 4, 5), tmp_path / "model.pt2")
    steps = np.random.default_rng(0).standard_normal((70, 4, 5)).astype(np.float32)
    values = np.linspace(-1, 1, 210, dtype=np.float32).reshape(70, 3)
    specs = (TensorSpec(name="steps", dtype="float32", shape=("batch", 4, 5)),)
    given = {"inputs": specs, "preprocess": Preprocess(), "targets": values}
    facts = run(tmp_path / "model.pt2", {"steps": steps}, tmp_path / "t.npz", **given)
    assert facts["absent"] == {}
    truth = Truth.load(tmp_path / "t.npz", Preprocess())
    with torch.no_grad():
        wide = networks.Recurrent().double()(torch.from_numpy(steps).double()).numpy()
    assert np.allclose(truth.outputs("test")["scores"], wide, rtol=0, atol=1e-15)
    assert truth.labels is None
    assert np.array_equal(truth.targets, values)
    golden_from_truth(tmp_path / "t.npz", tmp_path / "golden.npz")
    assert np.array_equal(Truth.load(tmp_path / "golden.npz", Preprocess()).targets, values[:32])


def test_a_fixed_batch_is_filled_up_and_cut(tmp_path):
    torch = pytest.importorskip("torch")
    import networks

    module = networks.Folding()
    networks.program(module, torch.ones(4, 1, 6, 6), tmp_path / "model.pt2", dynamic=False)
    images = np.random.default_rng(0).standard_normal((10, 1, 6, 6)).astype(np.float32)
    inputs = (TensorSpec(name="image", dtype="float32", shape=(4, 1, 6, 6)),)
    outputs = (TensorSpec(name="scores", dtype="float32", shape=(4, 3)),)
    run(tmp_path / "model.pt2", {"image": images}, tmp_path / "t.npz", inputs, outputs, preprocess=Preprocess())
    truth = Truth.load(tmp_path / "t.npz", Preprocess())
    assert np.allclose(truth.outputs("test")["scores"], by_hand(module, images), rtol=1e-13, atol=1e-13)


def test_a_reference_that_gives_nan_is_said_before_anything_is_compared(tmp_path):
    torch = pytest.importorskip("torch")
    import networks

    networks.program(networks.Log(), torch.ones(2, 3), tmp_path / "model.pt2")
    specs = (TensorSpec(name="value", dtype="float32", shape=("batch", 3)),)
    values = np.ones((70, 3), np.float32)
    values[41, 2] = -1
    with pytest.raises(ExportError, match=r"gives nan in float64 \(probe 'test', output 'scores', index \(41, 2\)\)"):
        run(tmp_path / "model.pt2", {"value": values}, tmp_path / "t.npz", specs, preprocess=Preprocess())
    assert list(tmp_path.iterdir()) == [tmp_path / "model.pt2"]


def test_a_made_up_probe_where_the_reference_is_not_finite_is_skipped_with_its_reason(tmp_path):
    torch = pytest.importorskip("torch")
    import networks

    networks.program(networks.Log(), torch.ones(2, 3), tmp_path / "model.pt2")
    specs = (TensorSpec(name="value", dtype="float32", shape=("batch", 3)),)
    run(
        tmp_path / "model.pt2",
        {"value": np.full((9, 3), 2.0, np.float32)},
        tmp_path / "t.npz",
        specs,
        preprocess=Preprocess(),
    )
    truth = Truth.load(tmp_path / "t.npz", Preprocess())
    assert "constant" not in truth.probes
    assert "-inf in float64" in truth.skipped["constant"]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"image": np.zeros((0, 1, 6, 6), np.uint8)}, "no samples"),
        ({"image": np.zeros((3, 1, 6, 7, 2), np.uint8)}, "cannot run in float64 on these inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_one_line(made, tmp_path, stored, words):
    with pytest.raises(ExportError, match=words):
        run(made[0] / "model.pt2", stored, tmp_path / "t.npz")
    assert not (tmp_path / "t.npz").exists()


def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("serve_bench.equivalence.program.importable", lambda name: False)
    with pytest.raises(BackendUnavailable, match="pip install"):
        run(tmp_path / "model.pt2", {"image": np.zeros((3, 1, 6, 6), np.uint8)}, tmp_path / "t.npz")


def test_threads_are_as_before(made):
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(made[0] / "model.pt2", {"image": made[2][:5]}, made[0] / "other.npz")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def damaged(path, how):
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[:-100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        middle = len(data) // 3
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    elif how == "another version":
        write_truth(path, version=7)
    elif how == "no probes":
        write_truth(path, probes=())
    elif how == "fewer answers":
        write_truth(path, arrays={"test/output/y": model(np.ones((5, 2)))})
    elif how == "NaN":
        write_truth(path, arrays={"test/output/y": np.full((80, 3), np.nan)})
    elif how == "no scale":
        write_truth(path, arrays={"test/scale/y": np.array(np.inf)})
    elif how == "labels":
        write_truth(path, arrays={"test/label": np.zeros(3, np.int64)})


@pytest.mark.parametrize(
    "how",
    ["cut", "empty", "flipped", "another version", "no probes", "fewer answers", "NaN", "no scale", "labels", "gone"],
)
def test_a_damaged_truth_is_refused(tmp_path, how):
    path = tmp_path / "truth.npz"
    if how != "gone":
        write_truth(path)
        Truth.load(path, Preprocess())
        damaged(path, how)
    with pytest.raises(BundleCorrupt, match="make the bundle again"):
        Truth.load(path, Preprocess())
