"""The seam of a data set, and the choice of the one that will really be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import DatasetFacts
from export.progress import Progress
from export.registry import entry

_PACKAGE = "pipeline.datasets"
_STAND_IN = {"mnist": "digits", "gp": "gp-draws"}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Samples and what is wanted of them."""

    stored: Mapping[str, npt.NDArray[Any]]
    """Inputs by name, (N, …), as they are stored: images uint8, 0 background to 255 ink."""
    targets: npt.NDArray[Any]
    """(N,) int64 classes, or (N, values) float32."""

    def __len__(self) -> int:
        return len(self.targets)

    def joined(self, other: Split) -> Split:
        """These samples, then those of `other`."""
        stored = {name: np.concatenate([values, other.stored[name]]) for name, values in self.stored.items()}
        return Split(stored=stored, targets=np.concatenate([self.targets, other.targets]))

    def rows(self, chosen: npt.NDArray[np.int64]) -> Split:
        return Split(stored={n: v[chosen] for n, v in self.stored.items()}, targets=self.targets[chosen])


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set in memory."""

    train: Split
    validation: Split
    """Held out of the training images for every choice."""
    test: Split
    """Never used to choose anything."""
    facts: DatasetFacts


class Dataset(Protocol):
    """One data set. Stateless; `root` is the folder of all data sets."""

    @property
    def name(self) -> str: ...

    @property
    def licence(self) -> str:
        """Under which terms the data are handed out, in words; "not stated" where their source says nothing."""
        ...

    def fingerprint(self, root: Path) -> str | None:
        """`DatasetFacts.digest` of what lies intact under `root`; None where something is missing or broken."""
        ...

    def fetch(self, root: Path, progress: Progress) -> str | None:
        """Makes what lies under `root` whole; gives the reason where no source can be reached, None where all is well.

        Raises DataError where the user has to act: the folder cannot be written, the disk is full.
        """
        ...

    def load(self, root: Path, progress: Progress) -> Data:
        """Raises DataError where the data cannot be had whole."""
        ...


@runtime_checkable
class Redrawn(Protocol):
    """A data set whose held-out samples are drawn anew for each seed; others always hold out the same."""

    def drawn(self, seed: int) -> Dataset: ...


def drawn_by(seed: int, dataset: Dataset) -> Dataset:
    """The data set with its held-out samples drawn by `seed`, itself where they are always the same."""
    return dataset.drawn(seed) if isinstance(dataset, Redrawn) else dataset


def data_root(option: Path | None) -> Path:
    """Folder of all data sets: `--data-dir`, else `PIPELINE_DATA`, else the user's cache folder."""
    if option is not None:
        return option
    if named := os.environ.get("PIPELINE_DATA"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("pipeline")) / "data"


def resolve(requested: str | None, default: str, root: Path, progress: Progress) -> tuple[Dataset, str]:
    """The data set that will really be used, and why it is not the model's own (one line, else "").

    Only a default is ever replaced, only where it is neither here nor to be had from the network, and the user is told.
    Raises UnknownName, DataError.
    """
    dataset: Dataset = entry(_PACKAGE, "dataset", requested or default)
    reason = dataset.fetch(root, progress)
    if reason is None:
        return dataset, ""
    if requested is not None or default not in _STAND_IN:
        raise not_whole(dataset.name, root, reason)
    stand_in: Dataset = entry(_PACKAGE, "dataset", _STAND_IN[default])
    progress.note(f"{stand_in.name} stand in for {default}: no whole copy in {root / default}, and {reason}")
    return stand_in, f"{stand_in.name} stand in for {default}, of which there was no whole copy and no download"


def not_whole(name: str, root: Path, reason: str) -> DataError:
    return DataError(
        f"{root / name}: no whole copy of {name}, and {reason}; put one there, name its folder with --data-dir, "
        "or train on another data set with --dataset"
    )


def digest_of_splits(*splits: Split) -> str:
    """sha256 over the bytes of every split's inputs, then targets, in the order given."""
    digest = hashlib.sha256()
    for split in splits:
        for values in (*split.stored.values(), split.targets):
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
