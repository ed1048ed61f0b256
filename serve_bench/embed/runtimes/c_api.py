"""ONNX Runtime's C API: the app of `embed --target c`, built and asked."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _c_build
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers


class CApi:
    """`first_answer_s` is that of the whole process, which asks every golden sample."""

    name = "c-api"
    without_python = True

    def missing(self) -> str | None:
        try:
            _c_build.toolchain()
        except BackendUnavailable as error:
            return str(error).removeprefix("c: ")
        return None

    def run(self, kit: Kit, batch: int) -> Answers:
        include, library = _c_build.toolchain()
        with tempfile.TemporaryDirectory() as folder:
            program = _c_build.build(kit, Path(folder) / "app", include, library)
            started = time.perf_counter()
            outputs = _c_build.answers(program, kit, batch)
            seconds = time.perf_counter() - started
        return Answers(outputs=outputs, version=_version(library), first_answer_s=seconds)


def _version(library: Path) -> str:
    """Of "libonnxruntime.so.1.31.1"; empty where the name does not say."""
    found = re.search(r"\.(\d+(?:\.\d+)+)", library.resolve().name)
    return found[1] if found else ""


ENTRIES = (CApi(),)
