"""What several backends need: what this machine has, found out without importing anything heavy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import TensorSpec

NO_POOL = "none: no pool"
"""What a session of one thread says of its threads' waiting."""
NO_GPU = "no NVIDIA GPU found (nvidia-smi lists none): run it on a machine with one and its driver"


@cache
def gpu_names() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs here; empty without one. CUDA is not initialised by asking."""
    from export.bundle.environment import gpus

    return tuple(str(_get(gpu, "name")) for gpu in gpus())


def _get(record: Any, key: str) -> Any:
    return record[key] if isinstance(record, dict) else getattr(record, key)


def version(distribution: str) -> str | None:
    """Installed version of a distribution, None where it is not installed; nothing is imported."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def importable(module: str) -> bool:
    """Whether a top-level module can be found; nothing is imported, and a module that tests block counts as absent."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, with the next where it ends with a colon; else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])[:300]


def example_shape(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    """A concrete shape: the axis "batch" (or a dynamic first axis) is `batch`, every other dynamic axis is 2."""
    return tuple(
        (batch if d == "batch" or (i == 0 and "batch" not in spec.shape) else 2) if isinstance(d, str) else d
        for i, d in enumerate(spec.shape)
    )


def example_inputs(specs: Sequence[TensorSpec], batch: int) -> dict[str, npt.NDArray[np.generic]]:
    """Inputs of the right names, types and shapes, all ones: for compiling and probing, never for measuring."""
    return {s.name: np.ones(example_shape(s, batch), dtype=s.dtype) for s in specs}


def batch_axis(spec: TensorSpec) -> int | None:
    """Which axis counts the samples: the one named "batch", else a dynamic first axis; None where it is fixed."""
    if "batch" in spec.shape:
        return spec.shape.index("batch")
    return 0 if spec.shape and isinstance(spec.shape[0], str) else None


def only_device(backend: str, device: str, able: Sequence[str]) -> str | None:
    """Why `device` is none of those that a backend serves; None where it is one of them."""
    if device in able:
        return None
    return f"{backend} does not run on {device}: ask for --device {able[0]}"


def first_reason(*checks: Callable[[], str | None]) -> str | None:
    """The first reason that any check gives; later checks are not run."""
    for check in checks:
        reason = check()
        if reason is not None:
            return reason
    return None
