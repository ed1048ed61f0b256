"""What flows through the house: frozen, keyword-only records.

`to_json` and `from_json` turn any of them into plain JSON values and back; nothing here is ever pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from export.bundle.encoding import Json, from_json, to_json
from export.bundle.spec import (
    LENGTH,
    LENGTHS,
    ModelSpec,
    Parameter,
    Precision,
    Preprocess,
    Published,
    Recipe,
    Step,
    Task,
    TensorSpec,
    Value,
    Variant,
)

__all__ = [
    "LENGTH",
    "LENGTHS",
    "Artifact",
    "Boundary",
    "DatasetFacts",
    "Disagreement",
    "Environment",
    "EpochRecord",
    "Json",
    "Measurement",
    "ModelSpec",
    "Parameter",
    "Precision",
    "Preprocess",
    "ProbeResult",
    "Published",
    "Recipe",
    "Step",
    "Task",
    "TensorSpec",
    "TrainedModel",
    "Value",
    "Variant",
    "Verification",
    "from_json",
    "to_json",
]

Boundary = Literal["host", "device", "compute"]


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Which data were really used."""

    name: str
    """One of "mnist", "digits" (the fallback says so), "user"."""
    digest: str
    """sha256 over the arrays' bytes, train and test."""
    train: int
    """Samples trained on."""
    validation: int
    """Training samples held out for every choice."""
    test: int
    """Test samples, never used to choose anything."""
    note: str = ""
    """Why it is not the data set that was meant, where it is not."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One point of the learning curve."""

    epoch: int
    """Counted from 1."""
    loss: float
    """Mean training loss."""
    validation_accuracy: float | None
    """Fraction, on the held-out training images."""
    seconds: float
    """Wall time of the epoch, evaluation excluded."""
    learning_rate: float
    """Of its last step."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What training gives and what the formats are written from."""

    spec: ModelSpec
    module: Any
    """torch.nn.Module: eval mode, CPU, float32."""
    recipe: Recipe | None
    metrics: Mapping[str, float]
    """Fractions: "test_accuracy", "validation_accuracy"; "test_loss", "test_mse", "train_loss" (of the last epoch)."""
    seconds: float
    """Wall time of training, data loading and final evaluation excluded."""
    seed: int
    dataset: DatasetFacts
    history: tuple[EpochRecord, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    """device, threads, precision, compiled (bool), compile_seconds, resumed_from_epoch, …"""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One exported file."""

    format: str
    """Name of the format's entry: "onnx", "torchscript", …"""
    precision: Precision
    target: str = "any"
    """One of "any", or the GPU an engine was built for: "sm80"."""
    path: str
    """POSIX path inside payload/; absolute once the bundle has checked its sha256."""
    sha256: str
    """Of the file's bytes."""
    content: str
    """Digest of what the file says: equal to sha256 where bytes are reproducible (`.pt2` differs from save to save)."""
    bytes: int
    parent: str | None
    """`content` of the artifact it was made from."""
    producers: Mapping[str, str]
    """Library versions that made it."""
    build_seconds: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What only this format knows: opset, IR version, flavour, profile, …"""

    @property
    def stored_as(self) -> str:
        """The kind of file that it is, by the format whose files are such: what apps embed is ONNX."""
        return "onnx" if self.format == "app" else self.format

    @property
    def name(self) -> str:
        """Short and unique in a bundle: "onnx", "onnx float16", "onnx int8 dynamic", "tensorrt float16 sm80"."""
        words = [self.format]
        if self.precision != "float32":
            words.append(self.precision)
        if self.facts.get("quantisation") == "dynamic":
            words.append("dynamic")
        if self.target != "any":
            words.append(self.target)
        return " ".join(words)


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """How far one backend is from float64 on one class of inputs, for one output."""

    probe: str
    """One of "test", "gaussian", "batch 7", …"""
    output: str
    samples: int
    error: float
    """max|y_b − y_64| / scale, scale = max|y_64| pooled over the probe's class; y_64 is float64's answer, of an int8
    form that of its own graph."""
    reference: float
    """The same for eager in the precision that this backend computes in."""
    band: float
    """Largest error that passes."""
    ratio: float
    """error / reference (reference floored at the unit roundoff of the precision)."""
    worst_index: tuple[int, ...] = ()
    """Where the largest error sits: (sample, …)."""
    worst_value: float | None = None
    """The backend's value there."""
    worst_truth: float | None = None
    """float64's value there; of an int8 form that of its own graph in float64."""
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A test sample whose answer differs from float64's."""

    sample: int
    answer: int
    truth: int
    label: int | None
    margin: float
    """Difference of the two largest float64 outputs."""
    bound: float
    """Error bound: twice the largest error of this sample's outputs."""
    explained: bool
    """margin ≤ bound, with that error inside the band."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict on one artifact on one backend."""

    artifact: str
    """Artifact.name."""
    artifact_sha256: str
    backend: str
    device: str
    environment: str
    """Environment.id."""
    precision_asked: Precision
    precision_found: Precision
    precision_evidence: str
    """How the precision was found out."""
    probes: tuple[ProbeResult, ...]
    constants: Mapping[str, Json]
    """One of "compared", "folded", "mismatched": names; empty where the form cannot be read."""
    structure: tuple[str, ...] = ()
    """What of the file is not as promised: a sentence each."""
    first_wrong: str = ""
    """The first node outside its band, in words; empty where none was looked for or found."""
    decisions: int
    """Samples whose answer was compared with float64's; of an int8 form with its own graph's."""
    disagreements: tuple[Disagreement, ...]
    metric: Mapping[str, float]
    """The task's metrics on this backend: {"test_accuracy": 0.9941, …}; empty without labels."""
    against_truth: Mapping[str, float] = field(default_factory=dict)
    """Test samples that only float64 answers rightly ("lost"), that only this backend does ("gained"), "p_value"; those
    with an "other" answer of all "samples"; the fall of the metric, a fraction ("drop", "drop_low", "drop_high")."""
    non_finite: Mapping[str, str] = field(default_factory=dict)
    """How it takes NaN and infinity beside eager, in words: a property, not a verdict."""
    passed: bool
    reason: str
    """Empty where it passed; else probe, output, index, both values."""
    seconds: float
    settings: Mapping[str, Json] = field(default_factory=dict)
    """The session's own: threads, provider, placement, …"""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Raw latencies of one cell: an artifact on a backend at one batch size."""

    artifact: str
    artifact_sha256: str
    backend: str
    device: str
    precision: Precision
    boundary: Boundary
    scenario: str
    """One of "interleaved" for the rounds of this house; else the LoadGen scenario."""
    batch: int
    threads: int
    latencies_ns: tuple[int, ...]
    """One whole run each, in the order they were taken."""
    replicates: tuple[int, ...]
    """Replicate (a session made anew in a process made anew) of each latency."""
    rounds: tuple[int, ...]
    """Round inside the replicate of each latency."""
    environment: str
    """Environment.id."""
    run: str
    """Names the one interleaved run that this cell was taken in: only cells of one run are compared."""
    started: str
    """UTC, ISO 8601."""
    cold: Mapping[str, float] = field(default_factory=dict)
    """open_ns, first_run_ns: medians over replicates."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    """budget_s, why it ended, warm-up runs, …"""
    error: str = ""
    """Why there is no figure; empty where there is one."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and the libraries; the id is a digest of everything else but `clocks` and `load`."""

    id: str
    """Twelve hexadecimal digits."""
    os: str
    """Name and release."""
    python: str
    """Version."""
    cpu: str
    """As the system names it."""
    cpu_flags: tuple[str, ...]
    """Only those that change arithmetic: avx2, avx512f, avx512_bf16, amx_bf16, …"""
    cores: int
    """That this process may use."""
    memory_bytes: int
    """Physical."""
    gpus: tuple[Mapping[str, str], ...]
    """name, compute_capability, memory, driver."""
    versions: Mapping[str, str]
    """Distribution → version of every library that computes."""
    settings: Mapping[str, str]
    """TF32 and thread variables that were set from outside."""
    clocks: Mapping[str, str] = field(default_factory=dict)
    """CPU governor, GPU clocks where they can be read."""
