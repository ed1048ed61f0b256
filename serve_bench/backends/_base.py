"""The seam between an exported file and an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from export.bundle.types import Artifact, Boundary, Precision

Arrays = Mapping[str, npt.NDArray[np.generic]]


class Session(Protocol):
    """One artifact, open on one device, with its best fair settings.

    `bind`, `run`, `sync`, `outputs` are apart so that copying in, computing and copying out can be timed apart:
    boundary `host` is bind + run + sync + outputs, `device` is run + sync, `compute` is what `elapsed_ns` says.
    """

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was asked and what is in use: threads, providers, frozen, placement, …; JSON values."""
        ...

    @property
    def precision(self) -> tuple[Precision, str]:
        """The precision that it really computes in, and how that was found out."""
        ...

    def bind(self, inputs: Arrays) -> None:
        """Copies model inputs, by name, into buffers that the session owns (made anew when a shape changes)."""
        ...

    def run(self) -> None:
        """Starts one computation; on a GPU it may return before the end."""
        ...

    def sync(self) -> None:
        """Returns when the computation has ended; a no-op on the CPU."""
        ...

    def outputs(self) -> Arrays:
        """Outputs in host memory, by name; may be views that the next `run` overwrites."""
        ...

    def elapsed_ns(self) -> int:
        """Time of the last `run` between two events on the device; raises BackendFailed where there are none."""
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """A runtime that opens one exported form. Stateless; importing its module imports no heavy library.

    One that runs only what was made for this machine also has `refuses(artifact) -> str | None`: why it cannot run that
    one here, with the remedy, known before it is loaded. One that goes back in every run to the cores that its process
    might use when it opened the form has `keeps_cores = True`: it is opened on those that it is timed on.
    """

    @property
    def name(self) -> str:
        """Entry name: "eager", "onnxruntime-cpu", …"""
        ...

    @property
    def reads(self) -> str | None:
        """`Artifact.format` it opens ("exported_program", "torchscript", "aotinductor", "onnx", "tensorrt"); None for
        `null`."""
        ...

    @property
    def family(self) -> str:
        """Backends of one family may share a worker process: "torch", or the backend's own name."""
        ...

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that a worker imports before it forks: no session, no thread, no device is made by that."""
        ...

    def devices(self) -> tuple[str, ...]:
        """Devices it can serve: ("cpu",), ("cuda",) or both."""
        ...

    def boundaries(self, device: str) -> tuple[Boundary, ...]: ...

    def missing(self, device: str) -> str | None:
        """Why it cannot run on `device` here, in one sentence with the remedy; None where it can."""
        ...

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        """Opens `artifact` (its path absolute, its sha256 checked).

        Raises BackendUnavailable where GPU, version or provider cannot match (said before loading), BackendFailed with
        the library's own words where opening breaks. A provider asked for and not wholly in use is an error.
        """
        ...
