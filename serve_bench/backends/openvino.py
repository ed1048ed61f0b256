"""OpenVINO on the CPU, pinned to float32: left to itself it computes in bfloat16 where the CPU can."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import Artifact, Boundary, Precision
from serve_bench.backends._base import Arrays, Session
from serve_bench.backends._helpers import NO_POOL, importable, only_device

# `import openvino` reports itself to Google Analytics and writes to the home folder, unless this module is not there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

NOT_INSTALLED = "OpenVINO is not installed: pip install '.[openvino]' in the clone"
WHERE = re.compile(r"^(Exception from .*|Check '.*' failed at .*|FrontEnd API failed.*)$")
"""Lines of an OpenVINO error that say where in its sources it arose, not what is wrong."""
READ_BACK = {
    "threads": "INFERENCE_NUM_THREADS",
    "streams": "NUM_STREAMS",
    "performance_hint": "PERFORMANCE_HINT",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "execution_mode": "EXECUTION_MODE_HINT",
    "dynamic_quantization_group": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "denormals_to_zero": "CPU_DENORMALS_OPTIMIZATION",
    "cpu_pinning": "ENABLE_CPU_PINNING",
    "execution_devices": "EXECUTION_DEVICES",
}
"""Our word for a setting → the property of a compiled model that says what is in use."""
FLOATS: dict[str, Precision] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
WEIGHTED = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNNCell", "RNNSeq")
"""Operators, by the names of the CPU plugin, that weights are multiplied in."""
NESTED = ("If", "Loop", "TensorIterator")
"""Operators with a graph of their own, which the compiled model does not show."""


def asked_properties(threads: int) -> dict[str, Any]:
    """One stream for the latency of one run, in float32, the calling thread free to move; nothing kept on the disk."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "ENABLE_CPU_PINNING": False,
    }


def words(error: BaseException) -> str:
    """What an OpenVINO error says, in one line, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not WHERE.match(line)]
    return " ".join(said or lines)[:300] or type(error).__name__


def precision_of(operators: Iterable[tuple[str, str]], artifact: Artifact) -> tuple[Precision, str]:
    """What (operator, type that it computes in) pairs of a compiled model say; the narrowest type that is found.

    In an int8 form "int8" where any operator with weights multiplies integers.
    """
    found: dict[str, set[str]] = {}
    for kind, computed_in in operators:
        if computed_in in FLOATS or kind in WEIGHTED:
            found.setdefault(computed_in, set()).add(kind)
    said = "; ".join(f"{t}: {', '.join(sorted(kinds))}" for t, kinds in sorted(found.items()))
    how = f"operators by the type they compute in, as the compiled model says: {said or 'none that compute'}"
    if hidden := sorted({kind for kinds in found.values() for kind in kinds if kind in NESTED}):
        how += f" (what is inside {', '.join(hidden)} is not shown)"
    narrow: Precision = next((FLOATS[t] for t in ("bf16", "f16") if t in found), "float32")
    if artifact.precision == "int8" and {"i8", "u8"} & set(found):
        return "int8", how
    if narrow == "float32" and artifact.precision != "float32":
        how += f"; arithmetic in float32, on weights rounded to {artifact.precision}"
    return narrow, how


class OpenVino:
    name = "openvino"
    reads = "onnx"
    family = "openvino"
    preload = ("serve_bench.backends.openvino", "openvino")
    keeps_cores = True

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return ("host",)

    def missing(self, device: str) -> str | None:
        wrong = only_device(self.name, device, self.devices())
        return wrong or (None if importable("openvino") else NOT_INSTALLED)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        import openvino

        try:
            core = openvino.Core()
            frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            model = frontend.convert(frontend.load(artifact.path))
            compiled = core.compile_model(model, "CPU", asked_properties(threads))
        except Exception as error:
            raise BackendFailed(f"{self.name}: {artifact.path} cannot be opened: {words(error)}") from error
        known = {name for port in (*compiled.inputs, *compiled.outputs) for name in port.get_names()}
        absent = [s.name for s in (*artifact.inputs, *artifact.outputs) if s.name not in known]
        if absent:
            raise BackendFailed(f"{self.name}: {artifact.path} cannot be opened: its graph has no {absent[0]!r}")
        session = OpenVinoSession(self.name, compiled, artifact)
        session.settings = settings_of(compiled) | {
            "openvino": openvino.get_version(),
            "model_cache": core.get_property("CACHE_DIR") or "none",
            "buffers": "preallocated, shared with the runtime",
            "spinning": NO_POOL if threads == 1 else "under half a millisecond after a run",
        }
        if session.settings["threads"] != threads:
            most = session.settings["threads"]
            raise BackendUnavailable(
                f"{self.name}: takes {most} of {threads} threads, one a core: ask for --threads {most}"
            )
        return session


def settings_of(compiled: Any) -> dict[str, Any]:
    """What a compiled model says is in use, by our words, as JSON values."""
    return {ours: _plain(compiled.get_property(theirs)) for ours, theirs in READ_BACK.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return value.to_string() if hasattr(value, "to_string") else getattr(value, "name", str(value))


class OpenVinoSession:
    """Inputs and outputs are numpy arrays that OpenVINO reads and writes in place."""

    def __init__(self, name: str, compiled: Any, artifact: Artifact) -> None:
        self.settings: dict[str, Any] = {}
        self._name, self._compiled, self._artifact = name, compiled, artifact
        self._request = compiled.create_infer_request()
        self._names = frozenset(s.name for s in artifact.inputs)
        self._inputs: dict[str, npt.NDArray[np.generic]] = {}
        self._outputs: dict[str, npt.NDArray[np.generic]] = {}

    @property
    def precision(self) -> tuple[Precision, str]:
        operators = []
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            facts = node.get_rt_info()
            kind = facts["layerType"].astype(str)
            if kind not in ("Const", "Input", "Output", "Reorder"):
                operators.append((kind, facts["runtimePrecision"].astype(str)))
        return precision_of(operators, self._artifact)

    def bind(self, inputs: Arrays) -> None:
        if not self._names <= inputs.keys():
            raise BackendFailed(f"{self._name}: input {min(self._names - inputs.keys())!r} was not given")
        bound = self._inputs
        if not bound or any(buffer.shape != inputs[name].shape for name, buffer in bound.items()):
            self._allocate(inputs)
        for name, buffer in self._inputs.items():
            np.copyto(buffer, inputs[name])

    def _allocate(self, inputs: Arrays) -> None:
        """New buffers; those of outputs whose shapes the inputs do not settle, as large as one run finds them."""
        specs, self._inputs = self._artifact.inputs, {}
        made = {s.name: np.array(inputs[s.name], dtype=s.dtype, order="C", copy=True) for s in specs}
        sizes = {d: n for s in specs for d, n in zip(s.shape, inputs[s.name].shape, strict=True)}
        outputs = self._artifact.outputs
        self._request = self._compiled.create_infer_request()
        for name, buffer in made.items():
            self._share(name, buffer)
        if all(isinstance(d, int) or d in sizes for s in outputs for d in s.shape):
            shapes = [[d if isinstance(d, int) else sizes[d] for d in s.shape] for s in outputs]
        else:
            self.run()
            shapes = [list(self._request.get_tensor(s.name).shape) for s in outputs]
        self._outputs = {s.name: np.empty(shape, s.dtype) for s, shape in zip(outputs, shapes, strict=True)}
        for name, buffer in self._outputs.items():
            self._share(name, buffer)
        self._inputs = made

    def _share(self, name: str, buffer: npt.NDArray[np.generic]) -> None:
        import openvino

        try:
            self._request.set_tensor(name, openvino.Tensor(buffer, shared_memory=True))
        except Exception as error:
            raise BackendFailed(f"{self._name}: {words(error)}") from error

    def run(self) -> None:
        try:
            self._request.infer(share_outputs=True)
        except Exception as error:
            raise BackendFailed(f"{self._name}: {words(error)}") from error

    def sync(self) -> None:
        return None

    def outputs(self) -> Arrays:
        return self._outputs

    def elapsed_ns(self) -> int:
        raise BackendFailed(f"{self._name}: there are no device events; measure boundary host")

    def close(self) -> None:
        self._request = self._compiled = None
        self._inputs, self._outputs = {}, {}


ENTRIES = (OpenVino(),)
