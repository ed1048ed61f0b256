"""torch.compile of the module of model.pt2, with a dynamic batch."""

from __future__ import annotations

import importlib
import time
from typing import Any

from export.bundle.environment import cxx_compiler
from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Boundary
from serve_bench.backends import _inductor_cache, _torch
from serve_bench.backends._base import Session
from serve_bench.backends._helpers import example_inputs, first_line
from serve_bench.backends.eager import module_from_program

EXAMPLE_BATCH = 2
NO_COMPILER = "no C++ compiler for torch.compile: install g++, or name another in CXX"


class Compiled:
    name = "compiled"
    reads = "exported_program"
    family = "torch"
    preload = _torch.PRELOAD

    def devices(self) -> tuple[str, ...]:
        return _torch.DEVICES

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return _torch.boundaries(device)

    def missing(self, device: str) -> str | None:
        reason = _torch.missing(self.name, device)
        if reason is None and device == "cpu" and cxx_compiler() is None:
            return NO_COMPILER
        return reason

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        """Compiles for an example of two samples at once; batch 1, and ranges of batches for which inductor chooses
        other code, are compiled when they are first run."""
        import torch

        settings = _torch.prepare(self.name, device, threads)
        importlib.import_module("serve_bench.backends._preload_torch")
        torch._inductor.config.compile_threads = 1
        torch._dynamo.config.recompile_limit = 32
        if hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):
            torch._dynamo.config.fail_on_recompile_limit_hit = True
        module = torch.compile(module_from_program(self.name, artifact.path, device), fullgraph=True)
        session = CompiledSession(self.name, module, artifact, device)
        started = time.perf_counter()
        example = example_inputs(artifact.inputs, EXAMPLE_BATCH)
        try:
            session.bind(example)
            session.run()
            session.sync()
        except Exception as error:
            raise BackendFailed(f"{self.name}: torch.compile failed: {_words(error)}") from error
        session.settings = settings | {
            "mode": "default",
            "fullgraph": True,
            "dynamic": "batch and every other free axis",
            "freezing": False,
            "compile_seconds": round(time.perf_counter() - started, 3),
            "graph_cache": _cache_facts(),
        }
        return session


class CompiledSession(_torch.TorchSession):
    """Free axes are marked on every buffer, so that a new batch does not compile anew."""

    def _mended(self, error: BaseException) -> bool:
        """Takes a library that was cut short out of inductor's cache: it is then compiled again."""
        return _inductor_cache.taken_out(error)

    def _allocate(self, inputs: Any) -> None:
        import torch

        super()._allocate(inputs)
        for argument, spec in zip(self._arguments, self._artifact.inputs, strict=True):
            for axis, size in enumerate(spec.shape):
                if isinstance(size, str):
                    torch._dynamo.maybe_mark_dynamic(argument, axis)


def _cache_facts() -> dict[str, int]:
    """Hits and misses of inductor's cache of compiled graphs so far in this process."""
    from torch._dynamo.utils import counters

    found = counters["inductor"]
    return {"hits": int(found["fxgraph_cache_hit"]), "misses": int(found["fxgraph_cache_miss"])}


def _words(error: BaseException) -> str:
    while isinstance(error, BackendFailed) and error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


ENTRIES = (Compiled(),)
