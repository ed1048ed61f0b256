"""What a GPU says of itself: the meaning of NVML's bits, and silence where there is no driver."""

from types import SimpleNamespace

import pytest

from export.bundle.environment import visible_gpus
from export.bundle.types import to_json
from serve_bench.latency import gpu_state
from serve_bench.reports import _facts


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (0x0, ()),
        (0x1 | 0x2 | 0x10 | 0x100, ()),
        (0x4, ("software power cap",)),
        (0x8 | 0x40, ("hardware slowdown", "hardware thermal slowdown")),
        (None, ()),
    ],
)
def test_only_what_slows_it_down_against_its_will_is_told(mask, words):
    assert gpu_state.GpuState(gpu=0, reasons=mask).held_down == words


def test_what_a_gpu_does_not_tell_is_none():
    class NVMLError(Exception):
        pass

    def refused(handle, *more):
        raise NVMLError

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetClockInfo=lambda handle, kind: {1: 1410, 2: 1215}[kind],
        nvmlDeviceGetPerformanceState=lambda handle: 0,
        nvmlDeviceGetPowerUsage=refused,
        nvmlDeviceGetTemperature=refused,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 4,
    )
    found = gpu_state.state(nvml, 0)
    assert (found.sm_mhz, found.memory_mhz, found.power_state) == (1410, 1215, 0)
    assert (found.power_mw, found.temperature_c) == (None, None)
    assert found.held_down == ("software power cap",)


def test_rounds_that_were_held_down_are_counted_and_told():
    states = [gpu_state.GpuState(gpu=0, sm_mhz=mhz, reasons=mask) for mhz, mask in ((1410, 0), (1200, 4), (1980, 4))]
    rounds = [{"replicate": 0, "round": i, "gpus": to_json([s])} for i, s in enumerate(states)]
    assert gpu_state.held_down(rounds) == {"software power cap": 2}
    assert _facts._clocks(rounds) == (
        "SM 1,200 to 1,980 MHz over 3 rounds; held down: software power cap in 2 of 3 rounds"
    )


def test_only_the_gpus_that_a_process_may_use_are_asked():
    assert visible_gpus(None, 3) == [0, 1, 2]
    assert visible_gpus("2,0", 3) == [2, 0]
    assert visible_gpus("1,7", 3) == [1]
    assert visible_gpus("GPU-8932f937", 2) == [0, 1]


def test_without_a_driver_there_is_nothing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pynvml", None)
    with gpu_state.reader() as states:
        assert states() == []


def test_the_memory_of_one_process_is_summed_over_gpus():
    class NVMLError(Exception):
        pass

    def running(index):
        if index == 2:
            raise NVMLError
        return [SimpleNamespace(pid=7, usedGpuMemory=100 + index), SimpleNamespace(pid=8, usedGpuMemory=None)]

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=running,
    )
    assert gpu_state.used(nvml, 7) == 201
    assert gpu_state.used(nvml, 8) is None
    assert gpu_state.used(nvml, 9) is None
