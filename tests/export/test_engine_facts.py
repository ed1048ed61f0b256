from dataclasses import dataclass

import pytest

from export.bundle.errors import UnknownName
from export.formats._engine_facts import canonical_target, engine_mismatch


@dataclass(frozen=True)
class Gpu:
    name: str
    compute_capability: str


A100, H100, T4 = Gpu("A100", "8.0"), Gpu("H100", "9.0"), Gpu("T4", "7.5")
RTX = {
    "flavour": "tensorrt_rtx",
    "version": "1.7.1.116",
    "compute_capability": "8.0",
    "hardware_compatibility": "none",
}
NATIVE = RTX | {"flavour": "tensorrt", "version": "10.9.0.34"}
PORTABLE = NATIVE | {"hardware_compatibility": "ampere_plus"}
HERE = {"tensorrt-rtx": "1.7.1.116", "tensorrt": "10.9.0.34"}


@pytest.mark.parametrize(
    ("sidecar", "gpus"),
    [(RTX, [A100]), (NATIVE, [H100, A100]), (PORTABLE, [H100]), (PORTABLE, [A100])],
)
def test_an_engine_that_fits_has_no_mismatch(sidecar, gpus):
    assert engine_mismatch(sidecar, gpus, HERE) is None


@pytest.mark.parametrize(
    ("sidecar", "gpus", "versions", "words"),
    [
        (RTX, [A100], {}, ["tensorrt_rtx 1.7.1.116", "not installed", "pip install"]),
        (RTX, [A100], {"tensorrt_rtx": "1.6.0.1"}, ["built by tensorrt_rtx 1.7.1.116", "1.6.0.1 is installed"]),
        (RTX, [], HERE, ["NVIDIA GPU of compute capability 8.0", "none is visible"]),
        (RTX, [H100], HERE, ["built for compute capability 8.0", "H100 (9.0)", "--target current"]),
        (NATIVE, [H100], HERE, ["built for compute capability 8.0", "H100 (9.0)"]),
        (PORTABLE, [T4], HERE, ["8.0 or later", "T4 (7.5)"]),
    ],
)
def test_a_mismatch_is_one_line_with_cause_and_remedy(sidecar, gpus, versions, words):
    reason = engine_mismatch(sidecar, gpus, versions)
    assert reason is not None
    assert "\n" not in reason
    assert [word for word in words if word not in reason] == []


def test_targets():
    assert [canonical_target(name) for name in ("a100", "A100", "sm80", "current")] == [
        "sm80",
        "sm80",
        "sm80",
        "current",
    ]
    with pytest.raises(UnknownName, match=r"unknown target 'sm90'.*a100.*current.*sm121"):
        canonical_target("sm90")
