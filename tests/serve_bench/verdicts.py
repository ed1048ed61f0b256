"""Verdicts as a bundle keeps them, made by hand."""

from export.bundle.types import Verification, to_json


def verdict(sha256, backend, *, passed, reason=""):
    """The record of one cell on the CPU, without probes."""
    record = Verification(
        artifact="onnx",
        artifact_sha256=sha256,
        backend=backend,
        device="cpu",
        environment="here",
        precision_asked="float32",
        precision_found="float32",
        precision_evidence="typed",
        probes=(),
        constants={},
        decisions=0,
        disagreements=(),
        metric={},
        passed=passed,
        reason=reason,
        seconds=0.0,
    )
    return to_json(record)
