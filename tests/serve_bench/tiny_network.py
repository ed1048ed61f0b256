"""One tiny network in every form that a CPU can open, and its answers in float64 by numpy alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.bundle.types import Artifact, TensorSpec

INPUTS = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),)
OUTPUTS = (TensorSpec(name="scores", dtype="float32", shape=("batch", 5)),)


@dataclass(frozen=True)
class Tiny:
    artifacts: dict
    """Artifact by its name: "onnx", "onnx float16", "exported_program", "torchscript"."""
    images: np.ndarray
    """(23, 1, 8, 8) float32."""
    truth: np.ndarray
    """(23, 5) float64."""

    def named(self, *names):
        return [self.artifacts[n] for n in names]


def weights():
    rng = np.random.default_rng(7)
    return {
        "kernel": rng.standard_normal((3, 1, 3, 3)).astype(np.float32),
        "matrix": (rng.standard_normal((5, 108)) / 10).astype(np.float32),
        "bias": rng.standard_normal(5).astype(np.float32),
    }


def truth_of(images):
    """Convolution, ReLU, one linear layer, log-softmax, written out in float64."""
    w = {name: value.astype(np.float64) for name, value in weights().items()}
    windows = np.lib.stride_tricks.sliding_window_view(images[:, 0].astype(np.float64), (3, 3), axis=(1, 2))
    hidden = np.maximum(np.einsum("nijkl,ckl->ncij", windows, w["kernel"][:, 0]), 0)
    logits = hidden.reshape(len(images), -1) @ w["matrix"].T + w["bias"]
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def write_onnx(path, half=False):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = np.float16 if half else np.float32
    constants = [numpy_helper.from_array(value.astype(kind), name) for name, value in weights().items()]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["convolved"], "convolution"),
        helper.make_node("Relu", ["convolved"], ["hidden"], "relu"),
        helper.make_node("Flatten", ["hidden"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["logits"], "linear", transB=1),
        helper.make_node("LogSoftmax", ["logits"], ["y"], "log_softmax", axis=1),
    ]
    if half:
        nodes.insert(0, helper.make_node("Cast", ["image"], ["x"], "in", to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", ["y"], ["scores"], "out", to=TensorProto.FLOAT))
    else:
        nodes[0].input[0], nodes[-1].output[0] = "image", "scores"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [info("scores", TensorProto.FLOAT, ["batch", 5])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_torch(program, script):
    import warnings

    import torch

    w = {name: torch.from_numpy(value) for name, value in weights().items()}

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(1, 3, 3, bias=False)
            self.linear = torch.nn.Linear(108, 5)
            state = {"convolution.weight": w["kernel"], "linear.weight": w["matrix"], "linear.bias": w["bias"]}
            self.load_state_dict(state)

        def forward(self, image):
            hidden = torch.relu(self.convolution(image)).flatten(1)
            return torch.log_softmax(self.linear(hidden), 1)

    net, example = Net().eval(), torch.zeros(2, 1, 8, 8)
    batch = torch.export.Dim("batch", min=1, max=512)
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=({0: batch},)), program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.trace(net, example)).save(str(script))


def source_of(program, images):
    """What a format is written from, where `program` is the artifact of the tiny model.pt2."""
    from export.bundle.types import DatasetFacts, ModelSpec, TrainedModel
    from export.formats._base import Source
    from export.program import load_program, module_of

    path = Path(program.path)
    module = module_of(load_program(path))
    spec = ModelSpec(
        id="tiny", task="classification", dataset="user", build=lambda: module, inputs=INPUTS, outputs=OUTPUTS
    )
    data = DatasetFacts(name="user", digest="0", train=0, validation=0, test=len(images))
    trained = TrainedModel(spec=spec, module=module, recipe=None, metrics={}, seconds=0.0, seed=0, dataset=data)
    return Source(trained=trained, example={"image": images[:8]}, files={"exported_program": (path, program)})


def artifact(path, form, precision="float32", **more):
    facts = {
        "format": form,
        "precision": precision,
        "path": str(path),
        "sha256": "0" * 64,
        "content": "0" * 64,
        "bytes": Path(path).stat().st_size if Path(path).exists() else 0,
        "parent": None,
        "producers": {},
        "build_seconds": 0.0,
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }
    return Artifact(**(facts | more))
