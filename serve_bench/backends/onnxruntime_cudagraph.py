"""ONNX Runtime's CUDA provider with its runs recorded as CUDA graphs, one for each set of input shapes.

Not run on this project's own machines, which have no GPU: written against the documentation of the provider option
`enable_cuda_graph` and the run option `gpu_graph_id`, by which a session keeps several graphs; -1 records none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import first_line
from serve_bench.backends._ort import CudaSession, probe_precision
from serve_bench.backends.onnxruntime import OnnxRuntimeCuda

UNRECORDED = -1


def run_options(graph: int) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


class GraphSession(CudaSession):
    """Buffers stay for every set of input shapes, since a recorded graph reads and writes where it was recorded."""

    def __init__(self, name: str, session: Any, artifact: Artifact, probe: Any) -> None:
        super().__init__(name, session, artifact, probe)
        self._known: dict[tuple[Any, ...], tuple[Any, Any, Any, Any]] = {}
        self._options: Any = None

    def _first_outputs(self, feeds: Arrays) -> list[npt.NDArray[np.generic]]:
        names = [s.name for s in self._artifact.outputs]
        try:
            return list(self._session.run(names, dict(feeds), run_options(UNRECORDED)))
        except Exception as error:
            raise BackendFailed(f"{self._name}: {first_line(error)}") from error

    def _allocate(self, inputs: Arrays) -> None:
        self._shapes = self._checked(inputs)
        key = tuple(self._shapes.values())
        if key not in self._known:
            super()._allocate(inputs)
            options = run_options(len(self._known) + 1)
            self._known[key] = (self._binding, self._inputs, self._outputs, options)
        self._binding, self._inputs, self._outputs, self._options = self._known[key]

    def run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:
            raise BackendFailed(f"{self._name}: {first_line(error)}") from error

    def close(self) -> None:
        self._known.clear()
        super().close()


class OnnxRuntimeCudaGraph(OnnxRuntimeCuda):
    name = "onnxruntime-cudagraph"
    also_reads: tuple[str, ...] = ()
    cuda_graph = True

    def providers(self, artifact: Artifact) -> list[Any]:
        (provider, options), *behind = super().providers(artifact)
        return [(provider, options | {"enable_cuda_graph": "1"}), *behind]

    def _session(self, ort: Any, artifact: Artifact, threads: int) -> CudaSession:
        plain = OnnxRuntimeCuda().providers(artifact)
        return GraphSession(self.name, ort, artifact, lambda: probe_precision(plain, threads))


ENTRIES = (OnnxRuntimeCudaGraph(),)
