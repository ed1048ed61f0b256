"""The seam between a trained model and a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from export.bundle.types import Artifact, Json, Precision, TrainedModel

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the user chose for this export."""

    target: str = "sm80"
    """GPU that engines are built for: "sm80", "sm86", …, "current"."""
    opset: int = 17
    """Lowest ONNX opset to try; what was got is read back and recorded."""
    max_batch: int = 512
    """Largest batch an engine's profile admits."""
    opt_batch: int = 64
    """Batch an engine is optimised for."""
    cache_dir: Path | None = None
    """Where timing caches are kept; None for no cache."""
    device: str = "cpu"
    max_metric_drop: float = 0.5
    """Points of accuracy (of R², for a regression) that an int8 form may lose."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything a format may be written from."""

    trained: TrainedModel
    example: Arrays
    """Model inputs by name, as the model takes them, at least 2 samples."""
    files: Mapping[str, tuple[Path, Artifact]]
    """Name of a format's entry already written → its file and record."""
    options: ExportOptions = field(default_factory=ExportOptions)
    program: Path | None = None
    """The user's own `.pt2`, where that is what the model came as."""
    calibration: Callable[[], Arrays] | None = None
    """Model-ready samples that ranges of values may be taken from: training data, or what the user gave."""
    stored: Mapping[str, str] = field(default_factory=dict)
    """Input → numpy dtype that the data have it in: "uint8" of images."""
    told: Mapping[str, Json] = field(default_factory=dict)
    """What a deployed model says of itself: metric with its interval, data set and licence."""


class Format(Protocol):
    """One exported form in one precision. Stateless.

    One that is only for some models also has `applies(spec) -> bool`: for others it is not even listed as not built.
    One with `on_request` is written only where its precision is asked for, one with `by_name` only where `--with` names
    it, one with `after_truth` once the truth is there, and in int8 kept only where the model's metric holds. One with
    `built_for() -> Json` says what of this machine the file depends on.
    """

    @property
    def name(self) -> str:
        """Entry name, unique: "onnx", "onnx-fp16"."""
        ...

    @property
    def needs(self) -> str | None:
        """Entry name of the format that this one is made from."""
        ...

    @property
    def precision(self) -> Precision: ...

    @property
    def filename(self) -> str:
        """POSIX path inside payload/; may hold `{target}`."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same inputs now give another file: part of the stage's key."""
        ...

    def missing(self) -> str | None:
        """Why this format cannot be written here, in one sentence with the remedy; None where it can."""
        ...

    def write(self, source: Source, destination: Path) -> Artifact:
        """Writes `destination` (a temporary name the caller renames) and returns its record.

        Sidecars are written beside it as `destination` + ".json". Raises ExportError with the library's own words.
        """
        ...
