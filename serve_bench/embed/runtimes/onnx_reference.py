"""onnx's own evaluator, in numpy: slow, and what the operators' documents mean."""

from __future__ import annotations

from serve_bench.backends._helpers import importable
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import ask_python


class OnnxReference:
    name = "onnx-reference"

    def missing(self) -> str | None:
        return None if importable("onnx") else "onnx is not installed: pip install . in the clone"

    def run(self, kit: Kit, batch: int) -> Answers:
        return ask_python(self.name, self.name, kit, batch)


ENTRIES = (OnnxReference(),)
