"""What a report shows of one bundle, as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from export.bundle.types import Boundary, Environment, EpochRecord
from serve_bench.equivalence.records import Verdict
from serve_bench.latency.run_conditions import RunConditions
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.latency.stats import Interval, Quantile
from serve_bench.reports._ceiling import Roofline
from serve_bench.reports._sections import Section
from serve_bench.reports._sweeps import SweepTable


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One artifact on one backend: what its verdict says."""

    label: str
    """The backend, and what of precision and device it does not say itself: "onnxruntime-cpu float16"."""
    artifact: str
    """Its name in the bundle: "onnx float16"."""
    artifact_sha256: str
    """Of its file."""
    backend: str
    """Name of the backend, without precision and device."""
    device: str
    """ "cpu" or "cuda"."""
    precision_asked: str
    """What the form asks for."""
    precision_found: str
    """Empty where it was not verified."""
    precision_evidence: str
    """How the precision was found out."""
    verdict: Verdict
    """ "not checked" where it was not verified or could not be."""
    reason: str
    """Why it is not the same or could not be checked; empty where it is the same."""
    error: float | None
    """Against float64 on the worst probe and output, relative to the largest float64 output."""
    band: float | None
    """Largest error that passes."""
    reference: float | None
    """Eager's own error in this precision."""
    probe: str
    """The one of all whose error comes nearest its band or exceeds it most."""
    output: str
    """The worst output's name."""
    samples: int
    """Of that probe."""
    decisions: int
    """Test samples whose answer was compared with that of the model in float64."""
    disagreements: int
    """Answers that differ from float64's, of `decisions`."""
    metric: Mapping[str, float]
    """Figures on the test set, by name: test_accuracy is a fraction."""
    against_truth: Mapping[str, float] = field(default_factory=dict)
    """lost, gained, p_value: Verification's own."""
    non_finite: Mapping[str, str] = field(default_factory=dict)
    """How it takes NaN and infinity."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One subject at one batch size and boundary."""

    subject: Subject
    batch: int
    """Samples in one run."""
    boundary: Boundary
    """Between which two points a run is timed; boundaries are never compared."""
    quantiles: Mapping[str, Quantile]
    """Of "p50", "p90", "p99" those that the sample bears; ns."""
    throughput: float | None
    """Samples a second at the median latency."""
    ratio: Interval | None
    """How many times as fast as eager at this batch, device and boundary; None for eager itself or without it."""
    word: str
    """One of "baseline", "faster", "slower", "indistinguishable", ""."""
    delta: float | None
    """δ of this batch and boundary, a fraction."""
    runs: int
    """Timed runs, over all replicates."""
    replicates: int
    """That were taken: each is made of sessions made anew in processes made anew."""
    unsettled: int
    """Replicates whose warm-up ended at its time limit."""
    cold: Mapping[str, float]
    """open_ns, first_run_ns."""
    settings: Mapping[str, Any]
    """Of the session, as its backend states them."""
    error: str
    """Why there is no figure."""
    latencies_ns: tuple[int, ...] = field(repr=False)
    """One whole run each, in the order they were taken."""
    of_replicate: tuple[int, ...] = field(default=(), repr=False)
    """The replicate of each latency."""
    of_round: tuple[int, ...] = field(default=(), repr=False)
    """Its round within the replicate."""


@dataclass(frozen=True, kw_only=True)
class Absent:
    """What could not run or could not be built, with its reason."""

    label: str
    """The backend as Subject.label has it, or the form and its target."""
    artifact: str
    """Name of the form that the backend would have run; empty where it has none, and for one that was not built."""
    device: str
    """ "cpu" or "cuda"; empty for a form that was not built."""
    kind: Literal["not run", "not built"]
    """A backend that is not here, or a form that was not made."""
    reason: str
    """One sentence with the remedy."""


@dataclass(frozen=True, kw_only=True)
class ScenarioRow:
    """One scenario on one form and backend."""

    label: str
    """As Subject.label."""
    record: ScenarioRecord
    quantiles: Mapping[str, Quantile]
    """Of "p50", "p90", "p99" those that the sample bears; ns. Empty for Offline."""
    rate: float | None
    """ScenarioRecord.rate."""


def delta_key(batch: int, boundary: str, device: str) -> str:
    """ "batch 8, host"; of a GPU "batch 8, host, cuda": what the CPU's forms vary by says nothing of the GPU's."""
    return f"batch {batch}, {boundary}" + ("" if device == "cpu" else f", {device}")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that a report shows of one bundle."""

    model: str
    """Its name, with what is set otherwise than by default."""
    description: str
    """Of the model, in its own words."""
    headline: str
    """The result in one sentence."""
    verdict: str
    """The verification in one sentence."""
    warnings: tuple[str, ...]
    """What a reader must know before quoting a figure, a sentence or two each."""
    subjects: tuple[Subject, ...]
    """Every form on every backend that was verified or measured, the baseline first."""
    rows: tuple[Row, ...]
    """By batch, then boundary, then subject; the baseline first."""
    absent: tuple[Absent, ...]
    """What was meant and is not there, from the latest record."""
    facts: tuple[tuple[str, str], ...]
    """Name and text: data, training, accuracy, sizes."""
    measuring: tuple[tuple[str, str], ...]
    """Name and text: how the latencies were taken; empty where they were not."""
    environment: Environment | None
    """Where the figures were taken; None where only its id is known."""
    environment_id: str
    """Environment.id of the figures."""
    deltas: Mapping[str, float]
    """δ by "batch 8, host" (`delta_key`)."""
    run: str
    """Name of the interleaved run; empty without one."""
    command: str
    """What takes the interleaved run again."""
    digest: str
    """Of the payload."""
    path: str = ""
    """Of the bundle's folder, as it was given."""
    commands: tuple[str, ...] = ()
    """What takes cold starts, sweeps and scenarios again."""
    scenarios: tuple[ScenarioRow, ...] = ()
    """What was measured with LoadGen."""
    history: tuple[EpochRecord, ...] = ()
    """The learning curve."""
    fit: tuple[tuple[float, float, float], ...] = ()
    """Of a regression from one number to one: x, target and answer, by x."""
    axes: tuple[str, str] = ("", "")
    """Names of the first input and output."""
    sections: tuple[Section, ...] = ()
    """What was measured beside the interleaved run."""
    roofline: Roofline | None = None
    """How close the run comes to the machine's ceiling; None where no peak was measured."""
    sweeps: tuple[SweepTable, ...] = ()
    """The newest run of each."""
    conditions: RunConditions | None = None
    """What all forms of the interleaved run had in common; None without one."""

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(sorted({row.batch for row in self.rows}))

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        return tuple(dict.fromkeys(row.boundary for row in self.rows))
