"""PyTorch op by op, recorded for each shape as a CUDA graph and replayed: eager without what launching kernels costs.

Not run on this project's own machines, which have no GPU: written against the documentation of `torch.cuda.graph`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export.bundle.types import Artifact, Boundary
from serve_bench.backends import _torch
from serve_bench.backends._base import Arrays, Session
from serve_bench.backends._helpers import only_device
from serve_bench.backends.eager import module_from_program

WARM_UP = 3
"""Runs on the stream of the recording before it: libraries make their handles and plans in them."""


class Recorded:
    """A callable for one set of buffers: recorded at its first call, replayed at every one."""

    def __init__(self, call: Callable[..., Any], host: Any, views: Any, arguments: list[Any]) -> None:
        self.host, self.views, self.arguments = host, views, arguments
        self._call = call
        self._graph: Any = None
        self._result: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self._graph is None:
            self._record()
        self._graph.replay()
        return self._result

    def _record(self) -> None:
        import torch

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._call(*self.arguments)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._result = self._call(*self.arguments)
        self._graph = graph


class GraphSession(_torch.TorchSession):
    """Buffers stay for every set of input shapes, since a recorded graph reads and writes where it was recorded."""

    def __init__(self, name: str, call: Callable[..., Any], artifact: Artifact, device: str) -> None:
        super().__init__(name, call, artifact, device)
        self._module = call
        self._recorded: dict[tuple[Any, ...], Recorded] = {}

    def _allocate(self, inputs: Arrays) -> None:
        shapes = tuple(inputs[s.name].shape if s.name in inputs else None for s in self._artifact.inputs)
        if shapes not in self._recorded:
            self._host, self._views = {}, {}
            super()._allocate(inputs)
            self._recorded[shapes] = Recorded(self._module, self._host, self._views, self._arguments)
        known = self._recorded[shapes]
        self._host, self._views, self._arguments, self._call = known.host, known.views, known.arguments, known

    def close(self) -> None:
        self._recorded.clear()
        super().close()


class EagerCudaGraph:
    name = "eager-cudagraph"
    reads = "exported_program"
    family = "torch"
    preload = _torch.PRELOAD

    def devices(self) -> tuple[str, ...]:
        return ("cuda",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return _torch.boundaries(device)

    def missing(self, device: str) -> str | None:
        return only_device(self.name, device, self.devices()) or _torch.missing(self.name, device)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        settings = _torch.prepare(self.name, device, threads)
        module = module_from_program(self.name, artifact.path, device)
        session = GraphSession(self.name, module, artifact, device)
        session.settings = settings | {"mode": "op by op, replayed", "cuda_graph": True, "shape_guards": False}
        return session


ENTRIES = (EagerCudaGraph(),)
