"""ONNX Runtime sessions: options, buffers that are owned here, and where each node runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Precision
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import NO_POOL, first_line


def session_options(threads: int, config: Mapping[str, str] | None = None) -> Any:
    """All graph optimisations, `threads` threads that stop spinning when a run ends, placement recorded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    entries = {"session.force_spinning_stop": "1", "session.record_ep_graph_assignment_info": "1", **(config or {})}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def option_facts(threads: int) -> dict[str, Any]:
    import onnxruntime

    return {
        "onnxruntime": onnxruntime.__version__,
        "graph_optimization": "all",
        "execution_mode": "sequential",
        "intra_op_threads": threads,
        "inter_op_threads": 1,
        "spinning": NO_POOL if threads == 1 else "inside a run only (session.force_spinning_stop)",
        "io_binding": "preallocated buffers",
    }


def left_out(artifact: Artifact) -> list[str]:
    """Optimisers to leave out: NchwcTransformer, where a graph has no convolution or is a recurrent one in float16.

    It lays out convolutions anew, so nothing is lost without them; on a valid two-layer LSTM in float16 it ended the
    process with a segmentation fault (ONNX Runtime 1.31).
    """
    operators = set(artifact.facts.get("operators") or _operators(artifact.path))
    recurrent = bool(operators & {"LSTM", "GRU", "RNN", "Scan", "Loop"}) and artifact.precision == "float16"
    return ["NchwcTransformer"] if recurrent or not operators & {"Conv", "FusedConv"} else []


def _operators(path: str) -> set[str]:
    """None for a file that cannot be read: opening it is what says so."""
    import onnx

    try:
        return {node.op_type for node in onnx.load(path).graph.node}
    except Exception:
        return set()


def create(name: str, path: Any, options: Any, providers: Sequence[Any], disabled: Sequence[str] = ()) -> Any:
    """The session; raises BackendFailed with the library's own words."""
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            path, options, providers=list(providers), disabled_optimizers=list(disabled)
        )
    except Exception as error:
        raise BackendFailed(f"{name}: {path} cannot be opened: {first_line(error)}") from error


def cpu_precision(artifact: Artifact, threads: int, directory: Path) -> tuple[Precision, str]:
    """What the CPU provider computes in, read from the graph that is left after its own optimisation.

    For most operators it has no float16 kernels: it then casts to float32, weights included, and computes in that.
    """
    if artifact.precision == "float32":
        return "float32", "float32 graph; the CPU provider's default kernels keep a tensor's own type (MLAS float32)"
    import onnx

    path = directory / "optimised.onnx"
    options = session_options(threads)
    options.optimized_model_filepath = str(path)
    create("onnxruntime-cpu", artifact.path, options, ["CPUExecutionProvider"], left_out(artifact))
    graph = onnx.load(str(path)).graph
    path.unlink()
    if artifact.precision == "int8":
        return _integers(graph)
    weights = {w.name: onnx.TensorProto.DataType.Name(w.data_type).lower() for w in graph.initializer}
    floats = {"float": "float32", "float16": "float16", "bfloat16": "bfloat16"}
    found: dict[str, list[str]] = {}
    for node in graph.node:
        for kind in {floats[weights[i]] for i in node.input if weights.get(i) in floats}:
            found.setdefault(kind, []).append(node.op_type)
    if not found:
        return artifact.precision, f"the graph is typed {artifact.precision}; it has no weights to read more from"
    said = "; ".join(f"{k}: {', '.join(sorted(set(ops)))}" for k, ops in sorted(found.items()))
    narrow = next((p for p in ("bfloat16", "float16") if p in found), "float32")
    how = f"operators by the type of their weights in the optimised graph: {said}"
    if narrow == "float32":
        how += f" (the CPU provider casts: arithmetic in float32, on weights rounded to {artifact.precision})"
    return narrow, how  # type: ignore[return-value]


INTEGER = re.compile(r"QLinear|QGemm|ConvInteger|MatMulInteger|DynamicQuantizeMatMul|QAttention")
"""Operators whose products are of integers."""
WEIGHTED = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")


def _integers(graph: Any) -> tuple[Precision, str]:
    """Which of the optimised graph's operators compute in integers, and which of those with weights do not."""
    operators = {node.op_type for node in graph.node}
    whole = sorted(name for name in operators if INTEGER.match(name))
    rest = sorted(operators & set(WEIGHTED))
    said = f"integer operators in the optimised graph: {', '.join(whole) or 'none'}"
    if rest:
        said += f"; in float32, on weights dequantised from int8: {', '.join(rest)}"
    return ("int8" if whole else "float32"), said


class OrtSession:
    """I/O binding over buffers that are made once for a shape; what differs by device is in the subclasses' buffers."""

    def __init__(self, name: str, session: Any, artifact: Artifact) -> None:
        self.settings: dict[str, Any] = {}
        self._name, self._session, self._artifact = name, session, artifact
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._binding: Any = None
        self._precision: tuple[Precision, str] | None = None

    @property
    def precision(self) -> tuple[Precision, str]:
        if self._precision is None:
            self._precision = self._find_precision()
        return self._precision

    def _find_precision(self) -> tuple[Precision, str]:
        raise NotImplementedError

    def bind(self, inputs: Arrays) -> None:
        raise NotImplementedError

    def _shapes_changed(self, inputs: Arrays) -> bool:
        shapes = self._shapes
        return any(shapes.get(s.name) != inputs[s.name].shape for s in self._artifact.inputs)

    def _checked(self, inputs: Arrays) -> dict[str, tuple[int, ...]]:
        for spec in self._artifact.inputs:
            if spec.name not in inputs:
                raise BackendFailed(f"{self._name}: input {spec.name!r} was not given")
        return {s.name: inputs[s.name].shape for s in self._artifact.inputs}

    def _first_outputs(self, feeds: Arrays) -> list[npt.NDArray[np.generic]]:
        """One plain run: it says what shapes the outputs have for these inputs."""
        try:
            return list(self._session.run([s.name for s in self._artifact.outputs], dict(feeds)))
        except Exception as error:
            raise BackendFailed(f"{self._name}: {first_line(error)}") from error

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise BackendFailed(f"{self._name}: {first_line(error)}") from error

    def sync(self) -> None:
        return None

    def elapsed_ns(self) -> int:
        raise BackendFailed(f"{self._name}: there are no device events; measure boundary host")

    def close(self) -> None:
        self._binding = None
        self._session = None
        self._shapes = {}


class CpuSession(OrtSession):
    """Inputs and outputs are numpy arrays that ONNX Runtime reads and writes in place."""

    def __init__(self, name: str, session: Any, artifact: Artifact, threads: int) -> None:
        super().__init__(name, session, artifact)
        self._threads = threads
        self._inputs: list[tuple[str, npt.NDArray[np.generic]]] = []
        self._outputs: dict[str, npt.NDArray[np.generic]] = {}

    def _find_precision(self) -> tuple[Precision, str]:
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            return cpu_precision(self._artifact, self._threads, Path(directory))

    def bind(self, inputs: Arrays) -> None:
        if not self._shapes or self._shapes_changed(inputs):
            self._allocate(inputs)
        for name, buffer in self._inputs:
            np.copyto(buffer, inputs[name])

    def _allocate(self, inputs: Arrays) -> None:
        shapes = self._checked(inputs)
        binding = self._session.io_binding()
        kinds = {s.name: s.dtype for s in self._artifact.inputs}
        buffers = {name: np.ascontiguousarray(inputs[name], dtype=kinds[name]).copy() for name in shapes}
        for name, buffer in buffers.items():
            binding.bind_input(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        self._outputs = self._output_buffers(buffers)
        for name, buffer in self._outputs.items():
            binding.bind_output(name, "cpu", 0, buffer.dtype, buffer.shape, buffer.ctypes.data)
        self._inputs, self._binding, self._shapes = list(buffers.items()), binding, shapes

    def _output_buffers(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """By the documented shapes where the inputs' sizes settle every axis, else by one plain run."""
        sizes = {d: n for s in self._artifact.inputs for d, n in zip(s.shape, inputs[s.name].shape, strict=True)}
        specs = self._artifact.outputs
        if all(isinstance(d, int) or d in sizes for s in specs for d in s.shape):
            return {s.name: np.empty([d if isinstance(d, int) else sizes[d] for d in s.shape], s.dtype) for s in specs}
        results = self._first_outputs(inputs)
        return {s.name: np.empty_like(r, order="C") for s, r in zip(specs, results, strict=True)}

    def outputs(self) -> Arrays:
        return self._outputs


class CudaSession(OrtSession):
    """Inputs and outputs are OrtValues on the device; `run` returns when the device has ended (ORT synchronises)."""

    def __init__(self, name: str, session: Any, artifact: Artifact, probe: Any) -> None:
        super().__init__(name, session, artifact)
        self._probe = probe
        self._inputs: list[tuple[str, str, Any]] = []
        self._outputs: dict[str, Any] = {}

    def _find_precision(self) -> tuple[Precision, str]:
        if self._artifact.precision != "float32":
            return self._artifact.precision, f"the graph is typed {self._artifact.precision}"
        found: tuple[Precision, str] = self._probe()
        return found

    def bind(self, inputs: Arrays) -> None:
        if not self._shapes or self._shapes_changed(inputs):
            self._allocate(inputs)
        for name, kind, value in self._inputs:
            value.update_inplace(np.ascontiguousarray(inputs[name], dtype=kind))

    def _allocate(self, inputs: Arrays) -> None:
        from onnxruntime import OrtValue

        shapes = self._checked(inputs)
        binding = self._session.io_binding()
        self._inputs = []
        for spec in self._artifact.inputs:
            value = OrtValue.ortvalue_from_shape_and_type(shapes[spec.name], np.dtype(spec.dtype).type, "cuda", 0)
            binding.bind_ortvalue_input(spec.name, value)
            self._inputs.append((spec.name, spec.dtype, value))
        feeds = {s.name: np.ascontiguousarray(inputs[s.name], dtype=s.dtype) for s in self._artifact.inputs}
        results = self._first_outputs(feeds)
        self._outputs = {}
        for spec, result in zip(self._artifact.outputs, results, strict=True):
            value = OrtValue.ortvalue_from_shape_and_type(result.shape, result.dtype.type, "cuda", 0)
            binding.bind_ortvalue_output(spec.name, value)
            self._outputs[spec.name] = value
        self._binding, self._shapes = binding, shapes

    def sync(self) -> None:
        self._binding.synchronize_outputs()

    def outputs(self) -> Arrays:
        return {name: value.numpy() for name, value in self._outputs.items()}


def probe_precision(providers: Sequence[Any], threads: int) -> tuple[Precision, str]:
    """Multiplies 1 + 2⁻¹² by one through the same providers: TF32, bfloat16 and float16 round it to 1."""
    import onnx

    info = onnx.helper.make_tensor_value_info
    shape, kind = [64, 64], onnx.TensorProto.FLOAT
    one = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "one")
    node = onnx.helper.make_node("MatMul", ["x", "one"], ["y"])
    graph = onnx.helper.make_graph([node], "probe", [info("x", kind, shape)], [info("y", kind, shape)], [one])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = create("probe", model.SerializeToString(), session_options(threads), providers)
    value = np.full(shape, 1 + 2**-12, dtype=np.float32)
    exact = bool((session.run(None, {"x": value})[0] == value).all())
    how = f"probe through the same provider: matmul {'kept' if exact else 'lost'} 1+2^-12"
    return ("float32" if exact else "tf32"), how
