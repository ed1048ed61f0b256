"""AOTInductor packages: the graph of model.pt2 as machine code, compiled when it was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.types import Artifact, Boundary
from export.formats.aotinductor import load_package, not_for_here
from serve_bench.backends import _torch
from serve_bench.backends._base import Session
from serve_bench.backends._helpers import first_line, only_device


class AotInductor:
    name = "aotinductor"
    reads = "aotinductor"
    family = "torch"
    preload = _torch.PRELOAD

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return _torch.boundaries(device)

    def missing(self, device: str) -> str | None:
        return only_device(self.name, device, self.devices()) or _torch.missing(self.name, device)

    def refuses(self, artifact: Artifact) -> str | None:
        return not_for_here(artifact.facts)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        """Calls the loaded code with a list of tensors: torch's own wrapper reads the same call signature each time."""
        reason = self.refuses(artifact)
        if reason is not None:
            raise BackendUnavailable(f"{self.name}: {reason}")
        settings = _torch.prepare(self.name, device, threads)
        try:
            loader = load_package(Path(artifact.path)).loader
        except Exception as error:
            raise BackendFailed(
                f"{self.name}: {artifact.path} cannot be opened: {first_line(error)}; export it again"
            ) from error

        def call(*inputs: Any) -> Any:
            return loader.boxed_run(list(inputs))

        session = _torch.TorchSession(self.name, call, artifact, device)
        session.settings = settings | {
            "mode": "compiled ahead of time",
            "vector_isa": loader.get_metadata().get("AOTI_CPU_ISA", ""),
            "compiler": artifact.facts.get("compiler", ""),
        }
        return session


ENTRIES = (AotInductor(),)
