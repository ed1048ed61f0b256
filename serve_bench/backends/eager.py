"""PyTorch op by op: the baseline, run from model.pt2, the one graph that every other form is made from."""

from __future__ import annotations

from typing import Any

from export.bundle.errors import BackendFailed
from export.bundle.types import Artifact, Boundary
from serve_bench.backends import _torch
from serve_bench.backends._base import Session
from serve_bench.backends._helpers import first_line


def module_from_program(name: str, path: str, device: str) -> Any:
    """The module of a `.pt2` on `device`, without the shape guards that would be run with every call."""
    import torch

    try:
        program = torch.export.load(path)
        if device == "cuda":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, "cuda")
        return program.module(check_guards=False)
    except Exception as error:
        raise BackendFailed(f"{name}: {path} cannot be opened: {first_line(error)}; export it again") from error


class Eager:
    name = "eager"
    reads = "exported_program"
    family = "torch"
    preload = _torch.PRELOAD

    def devices(self) -> tuple[str, ...]:
        return _torch.DEVICES

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return _torch.boundaries(device)

    def missing(self, device: str) -> str | None:
        return _torch.missing(self.name, device)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        settings = _torch.prepare(self.name, device, threads)
        module = module_from_program(self.name, artifact.path, device)
        session = _torch.TorchSession(self.name, module, artifact, device)
        session.settings = settings | {"mode": "op by op", "shape_guards": False}
        return session


ENTRIES = (Eager(),)
