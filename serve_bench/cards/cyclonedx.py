"""A machine-learning bill of materials: CycloneDX 1.6 as JSON, with the model card that format defines.

Nothing in it depends on when or where it is written: its time is the manifest's, its serial number follows from the
payload's digest, and its version counts the records it was made from, so that what is added to them makes a later
version of the same document.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from export.bundle.types import Json, TensorSpec
from serve_bench.cards._facts import Card, Figure, File, subject_text

SPEC = "1.6"
MODEL = "model"
"""bom-ref of the model, which everything else is a part of or went into."""


class CycloneDx:
    name = "cyclonedx"

    def render(self, card: Card) -> str:
        document = {
            "bomFormat": "CycloneDX",
            "specVersion": SPEC,
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, card.digest)}",
            "version": 1 + card.records,
            "metadata": {"timestamp": card.manifest.created, "component": _model(card)},
            "components": [_library(name, version) for name, version in card.libraries],
            "dependencies": [
                {"ref": MODEL, "dependsOn": [_library_ref(name, version) for name, version in card.libraries]}
            ],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _model(card: Card) -> Json:
    manifest = card.manifest
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": manifest.title,
        "version": card.digest[:16],
        "description": manifest.description,
        "components": [_file(file) for file in card.files],
        "modelCard": {
            "modelParameters": _parameters(card),
            "quantitativeAnalysis": {"performanceMetrics": [_metric(figure) for figure in card.figures]},
            "considerations": _filled(
                {"technicalLimitations": list(card.limits), "performanceTradeoffs": list(card.tradeoffs)}
            ),
            "properties": _properties(_verdicts(card)),
        },
        "properties": _properties(_facts(card)),
    }


def _parameters(card: Card) -> Json:
    manifest = card.manifest
    data = manifest.dataset
    trained = manifest.training.recipe is not None and manifest.task in ("classification", "regression")
    facts = [
        ("licence", card.licence),
        ("digest", data.digest),
        ("training samples", data.train),
        ("validation samples", data.validation),
    ]
    return _filled(
        {
            "approach": {"type": "supervised"} if trained else {},
            "task": manifest.task,
            "architectureFamily": card.family,
            "modelArchitecture": manifest.title,
            "datasets": [
                _filled(
                    {
                        "type": "dataset",
                        "name": data.name,
                        "contents": {"properties": _properties([*facts, ("test samples", data.test)])},
                        "description": data.note,
                    }
                )
            ],
            "inputs": [_end(spec) for spec in manifest.inputs],
            "outputs": [_end(spec) for spec in manifest.outputs],
        }
    )


def _end(spec: TensorSpec) -> Json:
    return {"format": f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"}


def _metric(figure: Figure) -> Json:
    ends = {}
    if figure.low is not None and figure.high is not None:
        ends = {"confidenceInterval": {"lowerBound": f"{figure.low:.6g}", "upperBound": f"{figure.high:.6g}"}}
    whose = figure.subject or "the trained model"
    return {
        "type": figure.metric,
        "value": repr(figure.value),
        "slice": f"{whose}, {figure.samples} test samples",
        **ends,
    }


def _verdicts(card: Card) -> list[tuple[str, Any]]:
    """The verdict on each form, with its error against float64 and the band that it must stay in."""
    found = []
    for subject in card.summary.subjects:
        error = "" if subject.error is None else f", error {subject.error:.3g}, band {subject.band:.3g}"
        found.append((f"verdict: {subject_text(subject)}", f"{subject.verdict}{error}"))
    return found


def _facts(card: Card) -> list[tuple[str, Any]]:
    manifest = card.manifest
    training, recipe = manifest.training, manifest.training.recipe
    facts: list[tuple[str, Any]] = [("payload digest", card.digest), ("parameters", card.parameters)]
    if recipe:
        facts += [("recipe", recipe.name), ("epochs", recipe.epochs), ("batch size", recipe.batch_size)]
        facts += [("optimizer", recipe.optimizer), ("loss", recipe.loss), ("seed", training.seed)]
    if manifest.published:
        published = manifest.published
        facts.append(("published figure", f"{published.metric} {published.figure!r}, {published.source}"))
    made = manifest.environment
    facts += [("made on", f"{made.cpu}, {made.os}, Python {made.python}"), ("made in environment", made.id)]
    return [*facts, ("verified in environment", card.summary.environment_id)]


def _file(file: File) -> Json:
    facts: list[tuple[str, Any]] = [("bytes", file.bytes)]
    if file.artifact:
        facts += [
            ("form", file.artifact.name),
            ("precision", file.artifact.precision),
            ("target", file.artifact.target),
        ]
    return {
        "type": "file",
        "bom-ref": f"payload/{file.path}",
        "name": f"payload/{file.path}",
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": _properties(facts),
    }


def _library_ref(name: str, version: str) -> str:
    """Package URL (purl-spec) of a distribution of the Python package index."""
    return f"pkg:pypi/{name}@{version.replace('+', '%2B')}"


def _library(name: str, version: str) -> Json:
    purl = _library_ref(name, version)
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _properties(pairs: Iterable[tuple[str, Any]]) -> list[Json]:
    """Name and value pairs of ours, prefixed as the format asks; those without a value are left out."""
    return [{"name": f"pipeline:{name}", "value": str(value)} for name, value in pairs if value not in (None, "")]


def _filled(value: dict[str, Any]) -> Json:
    return {key: one for key, one in value.items() if one not in ("", [], {}, None)}


ENTRIES = (CycloneDx(),)
