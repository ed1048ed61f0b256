"""TensorRT engines, in the flavour that built them: TensorRT, or TensorRT for RTX. Needs no torch.

Not run on this project's own machines, which have no GPU: written against NVIDIA's documentation of `IRuntime`,
`IExecutionContext.execute_async_v3` and `set_tensor_address`, the same in TensorRT 10, 11 and RTX 1.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import Artifact, Boundary, Json
from serve_bench.backends._base import Session
from serve_bench.backends._engine import EngineSession, engine_facts
from serve_bench.backends._engine_graph import ReplayedSession
from serve_bench.backends._helpers import NO_GPU, first_line, gpu_names, importable, only_device


class TensorRt:
    """One flavour: `module` is its Python package, `extra` what installs it; with `replayed` runs are CUDA graphs."""

    reads = "tensorrt"

    def __init__(self, name: str, module: str, extra: str, *, replayed: bool = False) -> None:
        self.name, self.family, self.preload = name, name, ("numpy",)
        self.flavour = module.replace("_", "-")
        self._module, self._extra, self._replayed = module, extra, replayed

    def devices(self) -> tuple[str, ...]:
        return ("cuda",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return ("host", "device", "compute")

    def missing(self, device: str) -> str | None:
        wrong = only_device(self.name, device, self.devices())
        if wrong:
            return wrong
        if not gpu_names():
            return NO_GPU
        for module in (self._module, "polygraphy"):
            if not importable(module):
                return f"{self.name} needs {module}, not installed: pip install '.[{self._extra}]' in the clone"
        return None

    def refuses(self, artifact: Artifact) -> str | None:
        """Of an engine whose record says nothing, only its sidecar can speak, when it is opened."""
        return _mismatch(artifact.facts) if "flavour" in artifact.facts else None

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        facts = engine_facts(artifact)
        reason = _mismatch(facts)
        if reason is not None:
            raise BackendUnavailable(f"{self.name}: {reason}")
        library = self._library()
        kind = ReplayedSession if self._replayed else EngineSession
        session = kind(self.name, library, self._cuda(), Path(artifact.path).read_bytes(), artifact)
        session.settings = {
            "flavour": self._module,
            "version": str(library.__version__),
            "gpu": gpu_names()[0],
            "stream": "own",
            "events": "two a run",
            "cuda_graph": self._replayed,
            "tf32": facts.get("tf32"),
            "profile": facts.get("profile"),
        }
        return session

    def _library(self) -> Any:
        try:
            return importlib.import_module(self._module)
        except (ImportError, OSError) as error:
            raise BackendUnavailable(
                f"{self.name}: {self._module} does not load: {first_line(error)}; "
                f"pip install '.[{self._extra}]' in the clone"
            ) from error

    def _cuda(self) -> Any:
        """Polygraphy's thin face of the CUDA runtime; which flavour it belongs to is read when it is imported."""
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if self._module == "tensorrt_rtx" else "0"
        try:
            cuda = importlib.import_module("polygraphy.cuda")
            cuda.wrapper()
        except Exception as error:
            raise BackendFailed(f"{self.name}: the CUDA runtime does not load: {first_line(error)}") from error
        return cuda


def _mismatch(facts: Mapping[str, Json]) -> str | None:
    from export.bundle.environment import gpus, versions
    from export.formats._engine_facts import engine_mismatch

    return engine_mismatch(facts, gpus(), versions())


ENTRIES = (
    TensorRt("tensorrt", "tensorrt", "tensorrt"),
    TensorRt("tensorrt-cudagraph", "tensorrt", "tensorrt", replayed=True),
    TensorRt("tensorrt-rtx", "tensorrt_rtx", "rtx"),
)
