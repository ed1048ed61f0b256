"""A runtime timed without anything of ours: `python -m pipeline.bare_loop MODEL.onnx SAMPLES.npz`, or MODEL.pt2.

ONNX Runtime, or eager PyTorch where it is a `.pt2`. One thread, batch 1, two thousand runs after two hundred, nothing
else alive: inputs are copied into a bound buffer, or become a tensor. Prints {"p50_ns": …}.
Beside it, a graph with nodes added whose time is known, to see that a clock finds them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
WARM, RUNS = 200, 2000
SIZES = tuple(range(48, 1024, 16))
"""Sides of the square matrix that the added node multiplies by itself."""
LEAST = 0.06
"""Of the graph's own time: a planted 5 % with a margin for how well it is known."""


def session(model: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def p50_ns(model: str | bytes, samples: Arrays, batch: int = 1, runs: int = RUNS) -> float:
    """Median time of copying one batch in, running and having the answer in host memory."""
    opened = session(model)
    binding = opened.io_binding()
    buffers = {name: np.ascontiguousarray(array[:batch]) for name, array in samples.items()}
    for name, buffer in buffers.items():
        binding.bind_input(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
    for output in opened.get_outputs():
        binding.bind_output(output.name, "cpu")
    count = len(next(iter(samples.values())))
    times = []
    for i in range(min(WARM, runs) + runs):
        first = (i * batch) % max(count - batch + 1, 1)
        start = time.perf_counter_ns()
        for name, buffer in buffers.items():
            np.copyto(buffer, samples[name][first : first + batch])
        opened.run_with_iobinding(binding)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times[min(WARM, runs) :])


def eager_p50_ns(path: str, samples: Arrays, runs: int = RUNS) -> float:
    """Median time of one sample through the module of a `.pt2`, from an array to an array."""
    import torch

    torch.set_num_threads(1)
    module = torch.export.load(path).module(check_guards=False)
    count = len(next(iter(samples.values())))
    times = []
    for i in range(min(WARM, runs) + runs):
        first = i % count
        start = time.perf_counter_ns()
        with torch.inference_mode():
            found = module(*(torch.from_numpy(array[first : first + 1]) for array in samples.values()))
        found.numpy()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times[min(WARM, runs) :])


def slowed(path: Path, folder: Path, samples: Arrays, batch: int) -> tuple[Path, float]:
    """A copy of a graph that adds 0 × max((cA)²) to its first output, c taken from the input; and the share of time.

    Twelve turns of the graph and of the added nodes alone; the smallest matrix whose nodes take `LEAST` of the graph's
    time. The copy answers what the graph answers.
    """
    import onnx

    model = onnx.load(str(path))
    known = folder / "slower.json"
    if known.is_file():
        found = json.loads(known.read_text())
    else:
        base = statistics.median(p50_ns(str(path), samples, batch, 100) for _ in range(5))
        size = next(s for s in SIZES if _alone_ns(s, model, samples, batch) >= LEAST * base)
        turns = [(p50_ns(str(path), samples, batch, 100), _alone_ns(size, model, samples, batch)) for _ in range(12)]
        found = {"size": size, "share": statistics.median(alone / whole for whole, alone in turns)}
        known.write_text(json.dumps(found))
    copy = folder / "slower.onnx"
    _extend(model, found["size"], whole=True)
    onnx.save(model, str(copy))
    return copy, float(found["share"])


def _alone_ns(size: int, model: Any, samples: Arrays, batch: int) -> float:
    import onnx

    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    _extend(alone, size, whole=False)
    return p50_ns(alone.SerializeToString(), samples, batch, 100)


def _extend(model: Any, size: int, *, whole: bool) -> None:
    import onnx

    graph, helper = model.graph, onnx.helper
    output = graph.output[0].name
    matrix = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(matrix, "planted_matrix"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), "planted_zero"))
    nodes = [
        helper.make_node("ReduceMax", [graph.input[0].name], ["planted_c"], keepdims=0),
        helper.make_node("Mul", ["planted_matrix", "planted_c"], ["planted_a"]),
        helper.make_node("MatMul", ["planted_a", "planted_a"], ["planted_b"]),
        helper.make_node("ReduceMax", ["planted_b"], ["planted_d"], keepdims=0),
        helper.make_node("Mul", ["planted_d", "planted_zero"], ["planted_e"]),
    ]
    if not whole:
        del graph.node[:], graph.output[:]
        graph.output.append(helper.make_tensor_value_info("planted_e", onnx.TensorProto.FLOAT, []))
        graph.node.extend(nodes)
        return
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == output:
                node.output[i] = "planted_y"
    graph.node.extend([*nodes, helper.make_node("Add", ["planted_y", "planted_e"], [output])])


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    timed = eager_p50_ns if sys.argv[1].endswith(".pt2") else p50_ns
    print(json.dumps({"p50_ns": timed(sys.argv[1], given)}))
