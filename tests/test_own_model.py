"""A network that is not in the zoo becomes the same kind of bundle, by the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from export.bundle.store import Bundle

LSTM = """
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, letters):  # (B, T, 6) → (B, 5)
        states, _ = self.lstm(letters)
        return self.head(states[:, -1])


def build():
    return Tagger()


def not_a_model():
    return 3
"""
RESNET = """
from torchvision.models import resnet18


def build():
    return resnet18(weights=None)
"""
BACKENDS = ("--backend", "eager", "--backend", "torchscript", "--backend", "onnxruntime-cpu")
QUICK = (*BACKENDS, "--no-peak", "--budget", "0.3", "--replicates", "2", "--batch", "1", "--batch", "4")


@pytest.fixture
def lstm(tmp_path):
    (tmp_path / "net.py").write_text(LSTM)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", letters=rng.standard_normal((40, 9, 6)).astype(np.float32))
    return tmp_path


def whole(root, forms):
    """The bundle, after checking that it holds `forms`, verified where they can run, and measured."""
    bundle = Bundle.open(root)
    assert {a.name for a in bundle.artifacts} >= forms
    verified = {(v["artifact"], v["backend"]): v for v in bundle.read("verification")}
    assert all(v["passed"] for v in verified.values()), [v["reason"] for v in verified.values()]
    assert {b for _, b in verified} >= {"eager", "torchscript", "onnxruntime-cpu"}
    measured = {m["backend"] for m in bundle.read("measurement") if not m["error"]}
    assert measured >= {"eager", "torchscript", "onnxruntime-cpu"}
    assert (root / "report.html").is_file()
    return verified


FORMS = {"weights", "exported_program", "torchscript", "onnx", "onnx float16"}


def engines():
    from importlib.util import find_spec

    return {"tensorrt sm80", "tensorrt float16 sm80"} if find_spec("tensorrt_rtx") else set()


def test_an_lstm_with_weights_and_dynamic_batch(run, lstm):
    import torch
    from safetensors.torch import save_file

    space: dict = {"__name__": "net"}
    exec(LSTM, space)
    torch.manual_seed(5)
    model = space["build"]()
    save_file(model.state_dict(), lstm / "w.safetensors")
    words = ("--weights", lstm / "w.safetensors", "--inputs", lstm / "x.npz", "--dynamic", "batch", "--out", lstm)
    result = run("export", f"{lstm / 'net.py'}:build", *words, "--name", "tagger", *QUICK, "--json")
    assert result.returncode == 0, result.stderr
    verified = whole(lstm / "tagger", FORMS | engines())
    assert verified["onnx", "onnxruntime-cpu"]["decisions"] == 40
    with np.load(lstm / "tagger/payload/truth.npz") as truth, torch.inference_mode():
        inputs = torch.from_numpy(np.load(lstm / "x.npz")["letters"])
        expected = model.double().eval()(inputs.double()).numpy()
        np.testing.assert_allclose(truth["test/output/output"], expected, rtol=1e-12, atol=1e-12)
    again = run("export", f"{lstm / 'net.py'}:build", *words, "--name", "tagger", *QUICK)
    assert again.returncode == 0
    assert [line.split()[1] for line in again.stderr.splitlines() if line.startswith("✓")] == ["load", "report"]


@pytest.mark.slow
def test_resnet_18_with_random_weights(run, tmp_path):
    (tmp_path / "net.py").write_text(RESNET)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((8, 3, 32, 32)).astype(np.float32))
    words = ("--inputs", tmp_path / "x.npz", "--dynamic", "batch", "--out", tmp_path, "--name", "resnet18")
    result = run("export", f"{tmp_path / 'net.py'}:build", *words, *QUICK)
    assert result.returncode == 0, result.stderr
    whole(tmp_path / "resnet18", FORMS | engines())


def test_a_pt2_of_the_users_own(made, run, tmp_path):
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (torch.zeros(3, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "mine.pt2")
    np.savez(tmp_path / "x.npz", np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32))
    result = run("export", tmp_path / "mine.pt2", "--inputs", tmp_path / "x.npz", "--out", tmp_path, *QUICK)
    assert result.returncode == 0, result.stderr
    whole(tmp_path / "mine", FORMS | engines())

    pair = ("--reference", tmp_path / "mine.pt2", "--inputs", tmp_path / "x.npz", "--json")
    result = run("verify", tmp_path / "mine/payload/model.onnx", *pair)
    assert result.returncode == 0, result.stderr
    assert all(v["passed"] for v in json.loads(result.stdout)["verifications"])

    golden = made.root / "payload"
    images = np.load(golden / "golden.npz")["test/input/image"].astype(np.float32)
    np.savez(tmp_path / "images.npz", image=(images / 255 - 0.1307) / 0.3081)
    words = ("--reference", golden / "model.pt2", "--inputs", tmp_path / "images.npz")
    result = run("verify", golden / "model.onnx", *words)
    assert result.returncode == 0, result.stderr

    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    torch.export.save(
        torch.export.export(other, (torch.zeros(3, 4),), dynamic_shapes=({0: batch},)), tmp_path / "o.pt2"
    )
    result = run("verify", tmp_path / "mine/payload/model.onnx", "--reference", tmp_path / "o.pt2", *pair[2:])
    assert result.returncode == 1
    assert "is not the same model" in result.stderr


@pytest.mark.parametrize(
    ("target", "inputs", "status", "said"),
    [
        ("net.py:not_a_model", "x.npz", 1, "returned int, not a torch.nn.Module"),
        ("net.py:missing", "x.npz", 2, "missing"),
        ("none.py:build", "x.npz", 2, "none.py: no such file"),
        ("net.py:build", "none.npz", 1, "none.npz: no such file"),
        ("net.py:build", "net.py", 1, "net.py: is not a whole .npz; save it with numpy.savez(path, name=array)"),
    ],
)
def test_what_is_no_model_is_one_line(run, lstm, target, inputs, status, said):
    result = run("export", lstm / target, "--inputs", lstm / inputs, "--out", lstm / "o")
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == status, result.stderr
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in result.stderr
