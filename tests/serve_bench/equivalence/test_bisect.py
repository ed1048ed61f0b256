"""Where a wrong graph first leaves its band: the node is named as the module names its weights."""

from pathlib import Path

import numpy as np
import pytest

from export.bundle.types import Artifact, TensorSpec
from serve_bench.equivalence import bisect, stored

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")

INPUTS = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),)
OUTPUTS = (TensorSpec(name="scores", dtype="float32", shape=("batch", 3)),)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Conv2d(1, 4, 3)
        self.second = torch.nn.Conv2d(4, 4, 3)
        self.head = torch.nn.Linear(4 * 16, 3)
        self.eval()

    def forward(self, image):
        return self.head(torch.relu(self.second(torch.relu(self.first(image)))).flatten(1))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    import networks

    folder = tmp_path_factory.mktemp("bisect")
    networks.program(Net(), torch.ones(2, 1, 8, 8), folder / "model.pt2")
    networks.onnx(folder / "model.onnx", folder / "model.pt2")
    images = np.random.default_rng(0).standard_normal((48, 1, 8, 8)).astype(np.float32)
    return folder, images, bisect.values_of(folder / "model.pt2", [images], "float32")


def artifact(path):
    return Artifact(
        format="onnx",
        precision="float32",
        path=str(path),
        sha256="",
        content="",
        bytes=0,
        parent=None,
        producers={},
        build_seconds=0.0,
        inputs=INPUTS,
        outputs=OUTPUTS,
    )


def runner(images, level=ort.GraphOptimizationLevel.ORT_ENABLE_ALL, spoil=None):
    def answer(chosen):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        session = ort.InferenceSession(chosen.path, options, providers=["CPUExecutionProvider"])
        names = [s.name for s in chosen.outputs]
        found = dict(zip(names, session.run(names, {"image": images}), strict=True))
        return spoil(found) if spoil else found

    return answer


def test_a_sound_graph_has_no_wrong_node(made, tmp_path):
    folder, images, known = made
    found = bisect.first_wrong(artifact(folder / "model.onnx"), known, "float32", runner(images), tmp_path)
    assert found is None


@pytest.mark.parametrize("name", ["first.weight", "second.weight", "second.bias", "head.weight"])
def test_the_node_of_a_wrong_weight_is_named(made, tmp_path, name):
    folder, images, known = made
    path = folder / "model.onnx"
    right = stored.read(path, "onnx")[name]
    wrong = right.copy()
    wrong.flat[0] += 0.01
    stored.replace_tensors(path, "onnx", {name: wrong}, tmp_path / "wrong.onnx")
    found = bisect.first_wrong(artifact(tmp_path / "wrong.onnx"), known, "float32", runner(images), tmp_path)
    assert name in found.sources
    assert found.how == bisect.TOGETHER
    assert found.error > found.band
    assert f"({', '.join(found.sources)})" in found.sentence


def test_what_only_fusion_makes_wrong_is_found_one_value_at_a_time(made, tmp_path):
    folder, images, known = made
    path = folder / "model.onnx"
    wrong = stored.read(path, "onnx")["second.weight"] * np.float32(1.1)
    stored.replace_tensors(path, "onnx", {"second.weight": wrong}, tmp_path / "wrong.onnx")
    good = runner(images)

    def answer(chosen):
        """With more than one value asked for, all is well: as if the fault were in a fusion."""
        if len(chosen.outputs) > 2:
            model = Path(chosen.path)
            stored.replace_tensors(model, "onnx", {"second.weight": stored.read(path, "onnx")["second.weight"]}, model)
        return good(chosen)

    found = bisect.first_wrong(artifact(tmp_path / "wrong.onnx"), known, "float32", answer, tmp_path)
    assert "second.weight" in found.sources
    assert found.how == bisect.APART
