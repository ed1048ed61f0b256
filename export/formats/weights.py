"""The checkpoint: every parameter and buffer, as safetensors."""

from __future__ import annotations

import time
from pathlib import Path

from export.bundle.types import Artifact, Precision
from export.formats._base import Source
from export.formats._write import exporting, needs_torch, record


class Weights:
    name = "weights"
    needs: str | None = None
    precision: Precision = "float32"
    filename = "weights.safetensors"
    version = 1
    libraries = ("torch", "safetensors")
    options: tuple[str, ...] = ()

    def missing(self) -> str | None:
        return needs_torch()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        with exporting(self.name):
            from safetensors.torch import save

            state = source.trained.module.state_dict()
            data = save({name: value.detach().cpu().clone().contiguous() for name, value in sorted(state.items())})
            destination.write_bytes(data)
        return record(
            source,
            destination,
            form=self.name,
            path=self.filename,
            started=started,
            parent=None,
            libraries=self.libraries,
            facts={"tensors": len(state), "parameters": sum(p.numel() for p in source.trained.module.parameters())},
        )


ENTRIES = (Weights(),)
