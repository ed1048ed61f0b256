"""ONNX Runtime in Python, on the CPU and on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

from serve_bench.cells import backend_named
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import ask_python


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """With one provider."""

    name: str
    backend: str
    """The entry of serve_bench.backends that knows whether it can run here."""
    device: str

    def missing(self) -> str | None:
        return backend_named(self.backend).missing(self.device)

    def run(self, kit: Kit, batch: int) -> Answers:
        return ask_python(self.name, self.name, kit, batch)


ENTRIES = (
    OnnxRuntime(name="onnxruntime", backend="onnxruntime-cpu", device="cpu"),
    OnnxRuntime(name="onnxruntime-cuda", backend="onnxruntime-cuda", device="cuda"),
)
