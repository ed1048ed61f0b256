"""A TensorRT engine's run recorded as a CUDA graph and replayed, through the CUDA runtime's C functions.

Not run on this project's own machines, which have no GPU: written against NVIDIA's documentation of stream capture,
which asks for one plain run after every change of shapes before it records.
"""

from __future__ import annotations

import ctypes
from typing import Any

from export.bundle.types import Artifact
from serve_bench.backends._base import Arrays
from serve_bench.backends._engine import EngineSession

THREAD_LOCAL = 1
"""cudaStreamCaptureModeThreadLocal: what other threads do does not spoil the recording."""


class ReplayedSession(EngineSession):
    """Recorded anew whenever the shapes of the inputs change, since a graph reads and writes where it was recorded."""

    def __init__(self, name: str, library: Any, cuda: Any, engine: bytes, artifact: Artifact) -> None:
        super().__init__(name, library, cuda, engine, artifact)
        self._recorded: ctypes.c_void_p | None = None

    def _call(self, function: str, *arguments: Any) -> None:
        wrapper = self._cuda.wrapper()
        wrapper.check(getattr(wrapper.handle, function)(*arguments))

    def _allocate(self, inputs: Arrays) -> None:
        self._forget()
        super()._allocate(inputs)

    def _record(self) -> ctypes.c_void_p:
        stream = ctypes.c_void_p(self._stream.ptr)
        self._enqueue()
        self._stream.synchronize()
        graph, recorded = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cudaStreamBeginCapture", stream, ctypes.c_int(THREAD_LOCAL))
        try:
            self._enqueue()
        finally:
            self._call("cudaStreamEndCapture", stream, ctypes.byref(graph))
        self._call("cudaGraphInstantiateWithFlags", ctypes.byref(recorded), graph, ctypes.c_ulonglong(0))
        self._call("cudaGraphDestroy", graph)
        return recorded

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.ptr):
            raise self._failed("the run could not be started")

    def run(self) -> None:
        if self._recorded is None:
            self._recorded = self._record()
        stream = self._stream.ptr
        self._events.start(stream)
        self._call("cudaGraphLaunch", self._recorded, ctypes.c_void_p(stream))
        self._events.end(stream)

    def _forget(self) -> None:
        if self._recorded is not None:
            self._call("cudaGraphExecDestroy", self._recorded)
            self._recorded = None

    def close(self) -> None:
        self._stream.synchronize()
        self._forget()
        super().close()
