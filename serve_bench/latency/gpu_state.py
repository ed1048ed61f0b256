"""What a GPU says of itself while it is measured: clocks, power state, why it holds its clocks down. Nothing is set.

Read through NVML (the driver's own library, by NVIDIA's `nvidia-ml-py`). Not run on this project's own machines, which
have no GPU: written against NVIDIA's NVML API reference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from export.bundle.environment import visible_gpus

HOLDING = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""nvmlClocksEventReasons that slow a GPU down against its will: idleness, chosen clocks and sync boost do not."""


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """One GPU at one moment."""

    gpu: int
    """Its index in NVML's order."""
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    power_state: int | None = None
    """0 (P0, fastest) to 15."""
    power_mw: int | None = None
    temperature_c: int | None = None
    reasons: int | None = None
    """Bit mask of nvmlClocksEventReasons."""

    @property
    def held_down(self) -> tuple[str, ...]:
        """Why its clocks are lower than they would be, in words."""
        return tuple(words for bit, words in HOLDING.items() if (self.reasons or 0) & bit)


@contextmanager
def reader() -> Iterator[Any]:
    """A function that gives the state of every GPU now, as a list; it gives none where there is no driver."""
    try:
        import pynvml as nvml

        nvml.nvmlInit()
    except Exception:
        yield list
        return
    try:
        chosen = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), nvml.nvmlDeviceGetCount())
        yield lambda: [state(nvml, i) for i in chosen]
    finally:
        with suppress(Exception):
            nvml.nvmlShutdown()


def state(nvml: Any, index: int) -> GpuState:
    """What NVML tells of one GPU; None for what this one does not tell."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def told(name: str, *more: Any) -> int | None:
        try:
            return int(getattr(nvml, name)(handle, *more))
        except (nvml.NVMLError, AttributeError):
            return None

    reasons = told("nvmlDeviceGetCurrentClocksEventReasons")
    return GpuState(
        gpu=index,
        sm_mhz=told("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
        memory_mhz=told("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM),
        power_state=told("nvmlDeviceGetPerformanceState"),
        power_mw=told("nvmlDeviceGetPowerUsage"),
        temperature_c=told("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        reasons=reasons if reasons is not None else told("nvmlDeviceGetCurrentClocksThrottleReasons"),
    )


def memory_of(pid: int) -> int | None:
    """Bytes of GPU memory that a process holds, over all GPUs; None where NVML does not tell."""
    with reader() as states:
        if not states():
            return None
        import pynvml as nvml

        return used(nvml, pid)


def used(nvml: Any, pid: int) -> int | None:
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
        except nvml.NVMLError:
            continue
        found += [p.usedGpuMemory for p in processes if p.pid == pid and p.usedGpuMemory is not None]
    return sum(found) if found else None


def held_down(rounds: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Why, and in how many rounds, GPUs held their clocks down; `rounds` as a run's `facts["gpu_rounds"]` has them."""
    found: dict[str, int] = {}
    for taken in rounds:
        reasons = {why for value in taken["gpus"] for why in GpuState(**value).held_down}
        for why in reasons:
            found[why] = found.get(why, 0) + 1
    return found


def held_text(rounds: Sequence[Mapping[str, Any]]) -> str:
    """ "software power cap in 3 of 40 rounds"; empty where no GPU was held down."""
    found = [f"{why} in {count}" for why, count in held_down(rounds).items()]
    return f"{', '.join(found)} of {len(rounds)} rounds" if found else ""
