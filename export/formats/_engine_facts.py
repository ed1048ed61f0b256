"""What is known of an engine without loading it: targets, and why an engine cannot run on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from export.bundle.errors import UnknownName
from export.bundle.types import Json

ALIASES = {"a100": "sm80"}
CAPABILITIES = {"sm75": "7.5", "sm80": "8.0", "sm86": "8.6", "sm89": "8.9", "sm120": "12.0", "sm121": "12.1"}
PACKAGES = {"tensorrt": ".[tensorrt]", "tensorrt_rtx": ".[rtx]"}
AMPERE = (8, 0)


class GpuFacts(Protocol):
    """The part of `export.bundle.environment.Gpu` that decides whether an engine fits."""

    @property
    def name(self) -> str: ...

    @property
    def compute_capability(self) -> str: ...


def canonical_target(name: str) -> str:
    """`sm80` for "a100" and "A100", `current` for "current"; raises UnknownName, which lists the known ones."""
    lowered = name.lower()
    target = ALIASES.get(lowered, lowered)
    if target != "current" and target not in CAPABILITIES:
        raise UnknownName("target", name, (*ALIASES, *CAPABILITIES, "current"))
    return target


def capability(text: str) -> tuple[int, int]:
    """(8, 0) for "8.0"."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def engine_mismatch(sidecar: Mapping[str, Json], gpus: Sequence[GpuFacts], versions: Mapping[str, str]) -> str | None:
    """Why the engine that `sidecar` describes cannot run here, in one sentence with the remedy; None where it can.

    `versions` maps a distribution ("tensorrt-rtx" or "tensorrt_rtx") to its version. An engine belongs to exactly one
    version of its library (NVIDIA, "Engine Compatibility", of TensorRT and of TensorRT-RTX) and to the compute
    capability it was built for; with hardware compatibility `ampere_plus`, to 8.0 and every later one.
    """
    flavour, version = str(sidecar["flavour"]), str(sidecar["version"])
    installed = {name.replace("-", "_").lower(): v for name, v in versions.items()}.get(flavour)
    package = PACKAGES.get(flavour, flavour)
    if installed is None:
        return f"the engine needs {flavour} {version}, which is not installed: pip install '{package}'"
    if installed != version:
        return (
            f"the engine was built by {flavour} {version} and {installed} is installed: "
            f"build it again here, or pip install {flavour.replace('_', '-')}=={version}"
        )
    needed = str(sidecar["compute_capability"])
    if not gpus:
        return (
            f"the engine needs an NVIDIA GPU of compute capability {needed}, and none is visible: run it where one is"
        )
    portable = sidecar.get("hardware_compatibility") == "ampere_plus"
    if any(_fits(gpu.compute_capability, needed, portable) for gpu in gpus):
        return None
    here = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus)
    wanted = "8.0 or later" if portable else needed
    return (
        f"the engine was built for compute capability {wanted} and this machine has {here}: "
        "export again with --target current"
    )


def _fits(have: str, needed: str, portable: bool) -> bool:
    return capability(have) >= AMPERE if portable else capability(have) == capability(needed)
