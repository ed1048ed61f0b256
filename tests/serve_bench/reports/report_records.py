"""Records made by hand, and the part of a bundle that reports read."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from export.bundle.store import Manifest, Training
from export.bundle.types import (
    Artifact,
    DatasetFacts,
    Environment,
    Measurement,
    Preprocess,
    ProbeResult,
    Published,
    Recipe,
    TensorSpec,
    Verification,
    to_json,
)

HERE = Environment(
    id="env1",
    os="Linux",
    python="3.11",
    cpu="A processor",
    cpu_flags=("avx2",),
    cores=2,
    memory_bytes=8_000_000_000,
    gpus=(),
    versions={"onnxruntime": "1.31.1"},
    settings={},
)


def artifact(form: str, precision: str = "float32") -> Artifact:
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 2))
    return Artifact(
        format=form,
        precision=precision,
        path=form,
        sha256=f"{form} {precision}",
        content="",
        bytes=1_234_000,
        parent=None,
        producers={},
        build_seconds=1.0,
        inputs=(spec,),
        outputs=(spec,),
    )


PROGRAM, ONNX, HALF = artifact("exported_program"), artifact("onnx"), artifact("onnx", "float16")
CELLS = ((PROGRAM, "eager"), (ONNX, "onnxruntime-cpu"), (HALF, "onnxruntime-cpu"))


FALLING = (120,) * 5 + (100,) + (80,) * 5 + (132,) * 5 + (110,) + (88,) * 5
"""Two replicates of one form whose later runs are shorter; their medians are those that `whole` has."""


def measurement(of: Artifact, backend: str, batch: int, by_replicate: list[list[int]], **changes) -> Measurement:
    """Latencies by replicate, in ns."""
    pairs = [(r, ns) for r, values in enumerate(by_replicate) for ns in values]
    facts = {
        "cells": 3,
        "budget_s": 15.0,
        "spent_s": 15.1,
        "over_budget_s": 0,
        "replicates": len(by_replicate),
        "rounds": 4,
        "isolate": False,
        "seed": 7,
        "batches": [1],
        "samples": 1024,
        "samples_cycled": False,
        "unsettled_replicates": 1,
        "void_replicates": 0,
    }
    made = Measurement(
        artifact=of.name,
        artifact_sha256=of.sha256,
        backend=backend,
        device="cpu",
        precision=of.precision,
        boundary="host",
        scenario="interleaved",
        batch=batch,
        threads=1,
        latencies_ns=tuple(ns for _, ns in pairs),
        replicates=tuple(r for r, _ in pairs),
        rounds=tuple(0 for _ in pairs),
        environment="env1",
        run="run1",
        started="2026-01-01T00:00:00+00:00",
        cold={"open_ns": 1e6, "first_run_ns": 2e6},
        facts=facts,
    )
    return replace(made, **changes)


def verification(of: Artifact, backend: str, error: float, band: float, **changes) -> Verification:
    """`error` and `band` are the test set's; Gaussian input has a quarter of that band and fills half of it."""
    probes = tuple(
        ProbeResult(
            probe=probe,
            output="y",
            samples=100,
            error=e,
            reference=b / 8,
            band=b,
            ratio=8 * e / b,
            passed=e <= b,
        )
        for probe, e, b in (("gaussian", band / 8, band / 4), ("test", error, band))
    )
    made = Verification(
        artifact=of.name,
        artifact_sha256=of.sha256,
        backend=backend,
        device="cpu",
        environment="env1",
        precision_asked=of.precision,
        precision_found=of.precision,
        precision_evidence="typed",
        probes=probes,
        constants={},
        decisions=100,
        disagreements=(),
        metric={"test_accuracy": 0.9941},
        passed=error <= band,
        reason="" if error <= band else "probe 'test', output 'y', sample 3: 1.0 where float64 has 2.0",
        seconds=1.0,
    )
    return replace(made, **changes)


def manifest(**changes) -> Manifest:
    recipe = Recipe(name="fast", epochs=4, batch_size=128, optimizer="adamw", learning_rate=0.01)
    made = Manifest(
        schema=1,
        model="cnn",
        task="classification",
        description="Two convolutions",
        inputs=ONNX.inputs,
        outputs=ONNX.outputs,
        preprocess=Preprocess(),
        labels=(),
        published=Published(figure=0.9937, metric="test_accuracy", source="a document"),
        dataset=DatasetFacts(name="digits", digest="", train=1400, validation=100, test=297, note="MNIST is not here"),
        training=Training(
            recipe=recipe, seed=0, seconds=61.0, metrics={"test_accuracy": 0.9941}, facts={"device": "cpu"}
        ),
        artifacts=(PROGRAM, ONNX, HALF),
        stages={},
        environment=HERE,
        created="",
    )
    return replace(made, **changes)


@dataclass
class FakeBundle:
    records: dict = field(default_factory=dict)
    manifest: Manifest = field(default_factory=manifest)
    digest: str = "d" * 64
    root: Path = Path("artifacts/cnn")

    @property
    def artifacts(self):
        return self.manifest.artifacts

    def damaged(self):
        return []

    def missing_files(self):
        return []

    def read(self, kind):
        return [to_json(r) for r in self.records.get(kind, [])]


def whole(**changes) -> FakeBundle:
    """Eager at 200 ns, ONNX at 100 ns, its float16 form as fast as eager; 11 runs in each of 2 replicates."""
    run = [
        measurement(PROGRAM, "eager", 1, [[200] * 11, [220] * 11]),
        measurement(ONNX, "onnxruntime-cpu", 1, [[100] * 11, [110] * 11]),
        measurement(HALF, "onnxruntime-cpu", 1, [[200] * 11, [220] * 11]),
    ]
    verdicts = [
        verification(PROGRAM, "eager", 1e-7, 8e-7),
        verification(ONNX, "onnxruntime-cpu", 2e-7, 8e-7),
        verification(HALF, "onnxruntime-cpu", 5e-4, 2e-3),
    ]
    absent = {
        "environment": "env1",
        "missing": [{"backend": "torchscript", "artifact": "", "device": "cpu", "reason": "torch is not installed"}],
        "not_built": [{"format": "tensorrt", "precision": "float32", "target": "sm80", "reason": "no builder"}],
    }
    return FakeBundle({"measurement": run, "verification": verdicts, "absent": [absent]} | changes)
