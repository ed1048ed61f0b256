"""What a fault is. Faults are made from an exported file; the file itself is never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from export.bundle.types import Artifact


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One wrong copy of one exported file."""

    kind: str
    """Its class: "single weight scaled"."""
    name: str
    """Unique among the faults of one file: "conv1.weight (3, 0, 1, 1) × (1 + 1e-04)"."""
    tensor: str = ""
    """The one tensor that is changed, by its name in the file; empty where more is, or the graph."""
    write: Callable[[Path], None]
    """Writes the wrong copy to a path."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The file that copies are made of."""

    path: Path
    artifact: Artifact
    limit: int
    """Most faults of one kind."""
    rng: np.random.Generator


def model_of(subject: Subject) -> Any | None:
    """The ModelProto of an ONNX file, its graph alone; None where the subject is of another format."""
    if subject.artifact.stored_as != "onnx":
        return None
    import onnx

    return onnx.load(str(subject.path), load_external_data=False)


class Source(Protocol):
    """A family of faults; `ENTRIES` of a module in this folder are such."""

    name: str

    def faults(self, subject: Subject) -> Iterator[Fault]:
        """Every fault of this family that the file can have; none where it is of another format."""
        ...


def chosen(items: list[Any], subject: Subject) -> list[Any]:
    """At most `limit` of them, drawn without replacement, in their own order."""
    if len(items) <= subject.limit:
        return items
    picked = subject.rng.choice(len(items), subject.limit, replace=False)
    return [items[i] for i in sorted(picked)]
