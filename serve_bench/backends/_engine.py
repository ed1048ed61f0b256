"""One TensorRT engine at work: device buffers, a stream and two events of its own."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Precision, TensorSpec
from serve_bench.backends._base import Arrays


def engine_facts(artifact: Artifact) -> Mapping[str, Any]:
    """The engine's facts, from its record or from the file beside it; raises BackendFailed where there are none."""
    if "flavour" in artifact.facts:
        return artifact.facts
    beside = Path(artifact.path + ".json")
    try:
        facts: Mapping[str, Any] = json.loads(beside.read_text())
    except (OSError, ValueError) as error:
        raise BackendFailed(f"{artifact.path}: nothing says what this engine needs: {beside} is not there") from error
    return facts


def beyond_profile(spec: TensorSpec, shape: tuple[int, ...], profile: Mapping[str, Any]) -> str:
    """Which size of an input the engine was not built for; empty where every one is admitted."""
    ends = profile.get(spec.name)
    for axis, size, low, high in zip(spec.shape, shape, ends["min"], ends["max"], strict=True) if ends else ():
        if not low <= size <= high:
            named = f"{axis} {size}" if isinstance(axis, str) else f"size {size}"
            return f"input {spec.name!r} has {named}; this engine was built for {low} to {high}"
    return ""


def quiet_logger(library: Any) -> Any:
    """A logger that keeps what TensorRT calls an error, so that it can be quoted."""

    class Logger(library.ILogger):
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.Severity.INTERNAL_ERROR, library.ILogger.Severity.ERROR):
                self.errors.append(" ".join(message.split()))

    return Logger()


class Events:
    """Two CUDA events around a run, through the CUDA runtime's C functions."""

    def __init__(self, cuda: Any) -> None:
        self._wrapper = cuda.wrapper()
        self._start, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (self._start, self._end):
            self._call("cudaEventCreate", ctypes.byref(event))

    def start(self, stream: int) -> None:
        self._call("cudaEventRecord", self._start, ctypes.c_void_p(stream))

    def end(self, stream: int) -> None:
        self._call("cudaEventRecord", self._end, ctypes.c_void_p(stream))

    def elapsed_ns(self) -> int:
        milliseconds = ctypes.c_float()
        self._call("cudaEventSynchronize", self._end)
        self._call("cudaEventElapsedTime", ctypes.byref(milliseconds), self._start, self._end)
        return round(milliseconds.value * 1e6)

    def close(self) -> None:
        for event in (self._start, self._end):
            self._call("cudaEventDestroy", event)

    def _call(self, function: str, *arguments: Any) -> None:
        self._wrapper.check(getattr(self._wrapper.handle, function)(*arguments))


class EngineSession:
    """`library` is tensorrt or tensorrt_rtx, `cuda` is polygraphy.cuda: given, so that a test can stand in for both."""

    def __init__(self, name: str, library: Any, cuda: Any, engine: bytes, artifact: Artifact) -> None:
        self.settings: dict[str, Any] = {}
        self._name, self._cuda, self._artifact = name, cuda, artifact
        self._logger = quiet_logger(library)
        self._runtime = library.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        self._context: Any = None if self._engine is None else self._engine.create_execution_context()
        if self._context is None:
            raise self._failed(f"{artifact.path} cannot be opened")
        self._stream, self._events = cuda.Stream(), Events(cuda)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._device: dict[str, Any] = {}
        self._host: dict[str, npt.NDArray[np.generic]] = {}

    @property
    def precision(self) -> tuple[Precision, str]:
        asked = self._artifact.precision
        tf32 = engine_facts(self._artifact).get("tf32")
        if asked != "float32":
            return asked, f"built from a graph typed {asked}; an engine cannot be read, its numbers speak for it"
        if tf32 is False:
            return "float32", "built with TF32 off; an engine cannot be read, its numbers speak for it"
        return "tf32", "nothing says that TF32 was off when it was built, and it is on by default"

    def _failed(self, what: str) -> BackendFailed:
        said = self._logger.errors[-1][:300] if self._logger.errors else "TensorRT says no more"
        return BackendFailed(f"{self._name}: {what}: {said}")

    def bind(self, inputs: Arrays) -> None:
        specs = self._artifact.inputs
        for spec in specs:
            if spec.name not in inputs:
                raise BackendFailed(f"{self._name}: input {spec.name!r} was not given")
        if any(self._shapes.get(s.name) != inputs[s.name].shape for s in specs):
            self._allocate(inputs)
        for spec in specs:
            np.copyto(self._host[spec.name], inputs[spec.name])
            self._copy(spec.name, to_device=True)

    def _copy(self, name: str, to_device: bool) -> None:
        host, device = self._host[name], self._device[name].ptr
        source, destination = (host.ctypes.data, device) if to_device else (device, host.ctypes.data)
        kind = self._cuda.MemcpyKind.HostToDevice if to_device else self._cuda.MemcpyKind.DeviceToHost
        self._cuda.wrapper().memcpy(
            dst=destination, src=source, nbytes=host.nbytes, kind=kind, stream_ptr=self._stream.ptr
        )

    def _allocate(self, inputs: Arrays) -> None:
        self._free()
        for spec in self._artifact.inputs:
            shape = inputs[spec.name].shape
            beyond = beyond_profile(spec, shape, engine_facts(self._artifact).get("profile", {}))
            if beyond:
                raise BackendFailed(f"{self._name}: {beyond}: cut it, or export an engine with a wider profile")
            if not self._context.set_input_shape(spec.name, shape):
                profile = engine_facts(self._artifact).get("profile", {})
                limits = profile.get(spec.name, "the one shape it was built for")
                raise self._failed(f"input {spec.name!r} of shape {shape} is outside {limits}")
            self._buffer(spec.name, shape, spec.dtype)
            self._shapes[spec.name] = shape
        for spec in self._artifact.outputs:
            shape = tuple(self._context.get_tensor_shape(spec.name))
            if min(shape, default=1) < 0:
                raise self._failed(f"output {spec.name!r} has a shape that only a run can tell: {shape}")
            self._buffer(spec.name, shape, spec.dtype)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        self._host[name] = np.empty(shape, dtype)
        self._device[name] = self._cuda.DeviceArray(shape=shape, dtype=np.dtype(dtype))
        if not self._context.set_tensor_address(name, self._device[name].ptr):
            raise self._failed(f"tensor {name!r} is none of the engine's")

    def run(self) -> None:
        stream = self._stream.ptr
        self._events.start(stream)
        if not self._context.execute_async_v3(stream):
            raise self._failed("the run could not be started")
        self._events.end(stream)

    def sync(self) -> None:
        self._stream.synchronize()

    def outputs(self) -> Arrays:
        names = [spec.name for spec in self._artifact.outputs]
        for name in names:
            self._copy(name, to_device=False)
        self._stream.synchronize()
        return {name: self._host[name] for name in names}

    def elapsed_ns(self) -> int:
        return self._events.elapsed_ns()

    def close(self) -> None:
        self._stream.synchronize()
        self._free()
        self._events.close()
        self._stream.free()
        self._context = self._engine = self._runtime = None

    def _free(self) -> None:
        for array in self._device.values():
            array.free()
        self._device, self._host, self._shapes = {}, {}, {}
