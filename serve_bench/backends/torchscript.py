"""TorchScript, frozen when it was exported and optimised for inference when it is opened."""

from __future__ import annotations

import warnings

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Boundary
from serve_bench.backends import _torch
from serve_bench.backends._base import Session
from serve_bench.backends._helpers import first_line


class TorchScript:
    name = "torchscript"
    reads = "torchscript"
    family = "torch"
    preload = _torch.PRELOAD

    def devices(self) -> tuple[str, ...]:
        return _torch.DEVICES

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return _torch.boundaries(device)

    def missing(self, device: str) -> str | None:
        return _torch.missing(self.name, device)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        import torch

        settings = _torch.prepare(self.name, device, threads)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.jit.load(artifact.path, map_location=device).eval()
                frozen_on_disk = not any(True for _ in module.parameters())
                module = torch.jit.optimize_for_inference(module if frozen_on_disk else torch.jit.freeze(module))
        except Exception as error:
            raise BackendFailed(
                f"{self.name}: {artifact.path} cannot be opened: {first_line(error)}; export it again"
            ) from error
        session = _torch.TorchSession(self.name, module, artifact, device)
        session.settings = settings | {
            "frozen": "on disk" if frozen_on_disk else "when opened",
            "optimize_for_inference": True,
        }
        return session


ENTRIES = (TorchScript(),)
