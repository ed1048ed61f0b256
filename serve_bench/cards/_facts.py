"""What every kind of card says of a bundle: read from its manifest, records and stored truth; nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from export.bundle.files import sha256_of_file
from export.bundle.store import EXECUTABLE, MANIFEST, Bundle, Manifest
from export.bundle.types import Artifact
from serve_bench.equivalence.decisions import accuracy_interval, mean_interval
from serve_bench.equivalence.stored import unreadable
from serve_bench.equivalence.truth import Truth
from serve_bench.reports import _tables as tables
from serve_bench.reports._warnings import gaps
from serve_bench.reports.summary import Subject, Summary, summarise

METRICS = ("test_accuracy", "test_mse")
"""Those that a card gives; losses and the figures of training are the report's."""
CONFIDENCE = 0.95
FAMILIES = (
    ({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv"}, "convolutional neural network"),
    ({"Scan", "Loop", "LSTM", "GRU", "RNN"}, "recurrent neural network"),
    ({"Gemm", "MatMul"}, "feed-forward neural network"),
)
"""By operators of the ONNX graph: the first family that has one of them."""
RECORDS = ("verification", "absent", "measurement")
"""Kinds of records that a card's text comes from."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One metric of the model, or of one of its forms on one backend."""

    metric: str
    """ "test_accuracy" (a fraction) or "test_mse" (in squared units of the output)."""
    value: float
    low: float | None
    """Lower end of the 95 % interval over test samples; None where it cannot be had from the bundle."""
    high: float | None
    samples: int
    """Of the test set."""
    subject: str
    """Form and backend: "onnx float16 on onnxruntime-cpu (cpu)"; empty for the model as it was trained."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of payload/."""

    path: str
    """POSIX path inside payload/."""
    sha256: str
    bytes: int
    artifact: Artifact | None
    """None for truth, side files and the manifest."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that a card shows."""

    manifest: Manifest
    digest: str
    """Of the manifest, and through it of the payload."""
    summary: Summary
    family: str
    """Architecture family in words; empty where the graph does not say."""
    parameters: int | None
    licence: str
    """Of the data, as app.onnx states it; empty where nothing in the bundle does."""
    figures: tuple[Figure, ...]
    """The trained model's first."""
    files: tuple[File, ...]
    """By path, the manifest among them."""
    libraries: tuple[tuple[str, str], ...]
    """Distribution and version of what made the files, by name."""
    limits: tuple[str, ...]
    """A sentence or two each: what was not verified, and what the figures do not say."""
    tradeoffs: tuple[str, ...]
    """What each reduced form costs the metric."""
    records: int
    """Records of this payload that the card was made from: a card made later has as many or more."""


class CardFormat(Protocol):
    """One kind of card."""

    @property
    def name(self) -> str: ...

    def render(self, card: Card) -> str:
        """The whole text; the same card gives the same text."""
        ...


def card_of(bundle: Bundle) -> Card:
    """What a card says of `bundle`; raises BundleCorrupt where a file is not what the manifest says."""
    bundle.check()
    manifest, summary = bundle.manifest, summarise(bundle)
    weights = next((a for a in bundle.artifacts if a.format == "weights"), None)
    parameters = weights.facts.get("parameters") if weights else None
    return Card(
        manifest=manifest,
        digest=bundle.digest,
        summary=summary,
        family=_family(manifest),
        parameters=parameters if isinstance(parameters, int) else None,
        licence=licence_of(bundle),
        figures=tuple(_figures(bundle, summary)),
        files=tuple(_files(bundle)),
        libraries=tuple(_libraries(manifest)),
        limits=tuple(_limits(bundle, summary)),
        tradeoffs=tuple(_tradeoffs(summary)),
        records=sum(len(bundle.read(kind)) for kind in RECORDS),
    )


def subject_text(subject: Subject) -> str:
    """ "onnx float16 on onnxruntime-cpu (cpu)"."""
    return f"{subject.artifact} on {subject.backend} ({subject.device})"


def _family(manifest: Manifest) -> str:
    graphs = [a for a in manifest.artifacts if a.format == "onnx"]
    operators = {str(o) for a in graphs for o in a.facts.get("operators", ())}
    return next((name for known, name in FAMILIES if known & operators), "")


def licence_of(bundle: Bundle) -> str:
    """The licence of the data as the metadata of app.onnx state it; empty without one.

    Raises BundleCorrupt where app.onnx cannot be read.
    """
    app = next((a for a in bundle.artifacts if a.format == "app"), None)
    if app is None:
        return ""
    import onnx

    path = bundle.file(app.path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        licence = json.loads({p.key: p.value for p in model.metadata_props}.get("dataset", "{}")).get("licence", "")
    except Exception as error:
        raise unreadable(path, "onnx", error) from error
    return str(licence)


def _figures(bundle: Bundle, summary: Summary) -> Iterator[Figure]:
    manifest = bundle.manifest
    samples = manifest.dataset.test
    for metric in METRICS:
        value = manifest.training.metrics.get(metric)
        if value is not None:
            interval = squares_interval(bundle, value) if metric == "test_mse" else share_interval(value, samples)
            yield _figure(metric, value, interval, samples, "")
    for subject in summary.subjects:
        for metric in METRICS:
            if subject.verdict == "same" and metric in subject.metric:
                value = subject.metric[metric]
                interval = share_interval(value, samples) if metric == "test_accuracy" else None
                yield _figure(metric, value, interval, samples, subject_text(subject))


def _figure(metric: str, value: float, interval: tuple[float, float] | None, samples: int, subject: str) -> Figure:
    low, high = interval or (None, None)
    return Figure(metric=metric, value=value, low=low, high=high, samples=samples, subject=subject)


def share_interval(share: float, samples: int) -> tuple[float, float] | None:
    """The exact 95 % interval of a share of `samples`; None where it is no share of so many."""
    right = round(share * samples)
    if samples < 1 or abs(right / samples - share) > 1e-9:
        return None
    return accuracy_interval(right, samples, CONFIDENCE)


def squares_interval(bundle: Bundle, value: float) -> tuple[float, float] | None:
    """The 95 % interval of a mean square error, from the float64 answers to the test samples and their targets.

    None without a truth or targets, where all errors are alike, or where their mean is not `value` to one in a
    thousand. Its lower end is at least 0, which a mean square cannot fall below.
    """
    if "truth.npz" not in bundle.manifest.files:
        return None
    truth = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
    if truth.targets is None or not len(truth.targets):
        return None
    name = truth.output_names[0]
    answers = np.moveaxis(truth.outputs("test")[name], truth.output_axis(name), 0)
    if answers.size != truth.targets.size:
        return None
    errors = answers.reshape(len(answers), -1) - truth.targets.reshape(len(answers), -1)
    squares = np.square(errors).mean(axis=1)
    if abs(float(squares.mean()) - value) > 1e-3 * max(value, 1e-12):
        return None
    interval = mean_interval(squares)
    return None if interval is None or interval[0] == interval[1] else (max(0.0, interval[0]), interval[1])


def _files(bundle: Bundle) -> Iterator[File]:
    artifacts = {artifact.path: artifact for artifact in bundle.artifacts}
    for name in sorted([*bundle.manifest.files, MANIFEST]):
        path = bundle.payload / name
        sha256 = bundle.manifest.files.get(name) or sha256_of_file(path)
        yield File(path=name, sha256=sha256, bytes=path.stat().st_size, artifact=artifacts.get(name))


def _libraries(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Of the environment that published the payload and of every file's producers, each version once."""
    every: list[Mapping[str, str]] = [manifest.environment.versions, *(a.producers for a in manifest.artifacts)]
    found = {(name.lower().replace("_", "-"), version) for versions in every for name, version in versions.items()}
    yield from sorted(found)


def _limits(bundle: Bundle, summary: Summary) -> Iterator[str]:
    manifest = bundle.manifest
    yield from _limits_of_figures(manifest)
    judged = {s.artifact_sha256 for s in summary.subjects if s.verdict != "not checked"}
    left = [a.name for a in bundle.artifacts if a.format != "weights" and a.sha256 not in judged]
    if left:
        yield f"Not verified on any backend: {', '.join(left)}."
    for subject in summary.subjects:
        if subject.verdict != "same":
            yield f"{subject_text(subject)} is {subject.verdict}: {subject.reason}"
    for label, kind, reason in tables.absent(summary):
        yield f"{kind.capitalize()}: {label}: {reason}"
    yield from gaps(bundle)
    executable = [a.path for a in bundle.artifacts if a.format in EXECUTABLE]
    if executable:
        yield f"{', '.join(executable)} can run code when opened: open them only where you trust who signed the bundle."
    data = "" if licence_of(bundle) else ", nor of the data"
    yield f"The bundle states no licence of the weights{data}."


def _limits_of_figures(manifest: Manifest) -> Iterator[str]:
    data = manifest.dataset
    if data.note:
        yield f"Data: {data.note}."
    if any(metric in manifest.training.metrics for metric in METRICS):
        yield (
            f"Figures are of {data.test:,} test samples of {data.name}. Their intervals hold for samples drawn as those"
            " were, and say nothing of other inputs, nor of how another training run would come out."
        )
    else:
        yield "There is no figure of quality: the bundle holds no labelled test data."
    published = manifest.published
    if published and published.differs:
        yield f"The published figure is not that of the document's own recipe as it was run here: {published.differs}."


def _tradeoffs(summary: Summary) -> Iterator[str]:
    for subject in summary.subjects:
        if subject.verdict == "same" and subject.precision_asked != "float32" and subject.against_truth:
            computed = tables.precision_text(subject.precision_found, subject.precision_asked)
            yield f"{subject_text(subject)}, in {computed}: {tables.discordant_text(subject)} against float64"
