"""OpenVINO on the CPU, pinned to float32."""

from __future__ import annotations

from serve_bench.cells import backend_named
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import ask_python


class OpenVino:
    name = "openvino"

    def missing(self) -> str | None:
        return backend_named("openvino").missing("cpu")

    def run(self, kit: Kit, batch: int) -> Answers:
        return ask_python(self.name, self.name, kit, batch)


ENTRIES = (OpenVino(),)
