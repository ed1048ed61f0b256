"""The seam between app.onnx and a runtime that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serve_bench.embed._base import Kit

PACKAGE = "serve_bench.embed.runtimes"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a runtime says of all golden samples."""

    outputs: Mapping[str, npt.NDArray[np.generic]]
    """By name, samples along the first axis."""
    version: str
    """Of the runtime: "1.31.1"."""
    first_answer_s: float
    """Seconds from the first word to the runtime, its own import included, to its first answer, in a new process."""


class Runtime(Protocol):
    """Stateless; `ENTRIES` of a module in this folder are such. Importing the module imports no heavy library.

    One that can be fetched also has `fetch() -> None`, which is called only where the user names the runtime, and
    raises BackendUnavailable where that fails. One whose answers no Python gives has `without_python`; one with
    `beside() -> str` says what it was run with ("Node 20.20.2").
    """

    @property
    def name(self) -> str:
        """What --runtime names: "openvino"."""
        ...

    def missing(self) -> str | None:
        """Why it cannot run here, in one sentence with the remedy; None where it can."""
        ...

    def run(self, kit: Kit, batch: int) -> Answers:
        """All golden samples, `batch` at a time, in a process of its own; raises BackendFailed in its own words."""
        ...
