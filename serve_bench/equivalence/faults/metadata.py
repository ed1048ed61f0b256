"""Faults of what an ONNX file says about itself: an app reads it, and no number would show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from serve_bench.equivalence.faults._base import Fault, Subject, model_of
from serve_bench.equivalence.stored import edit_onnx


@dataclass(frozen=True)
class Metadata:
    name: str = "metadata"

    def faults(self, subject: Subject) -> Iterator[Fault]:
        model = model_of(subject)
        if model is None:
            return
        known = {p.key: p.value for p in model.metadata_props}
        for kind, name, changed in _changes(known):
            yield Fault(kind=kind, name=name, write=partial(edit_onnx, subject.path, partial(_say, changed)))


def _changes(known: dict[str, str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    labels = json.loads(known.get("labels", "[]"))
    if len(labels) > 1:
        kind = "class order in metadata"
        for name, wrong in (
            ("classes rotated by one", labels[1:] + labels[:1]),
            ("first two classes swapped", [labels[1], labels[0], *labels[2:]]),
            ("a class is missing", labels[:-1]),
        ):
            yield kind, name, {"labels": json.dumps(wrong, ensure_ascii=False)}
    steps: dict[str, Any] = json.loads(known.get("preprocess", "{}"))
    for key in ("scale", "mean", "std"):
        if key in steps:
            changed = json.dumps(steps | {key: steps[key] * 1.01 + 0.01}, sort_keys=True)
            yield "normalisation in metadata", f"{key} is off", {"preprocess": changed}
    for key, value in known.items():
        if key.startswith("symbols of ") and len(value) > 1:
            yield "vocabulary in metadata", f"{key}: first two swapped", {key: value[1] + value[0] + value[2:]}


def _say(changed: dict[str, str], model: Any) -> None:
    for item in model.metadata_props:
        item.value = changed.get(item.key, item.value)


ENTRIES = (Metadata(),)
