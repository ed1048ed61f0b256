"""What every backend is asked: each probe at its batch sizes, as files of model-ready inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import LENGTHS
from serve_bench.equivalence.probes import cut_by_length
from serve_bench.equivalence.truth import Truth, few_rows
from serve_bench.exchange import SUFFIX, write_arrays

LARGEST_BATCH = 512
SMALL_BATCHES = (1, 2, 7)
FEW = 64
"""Samples of the probes that try small batches."""


@dataclass(frozen=True)
class Question:
    """One probe as it is put to a backend."""

    probe: str
    source: str
    """The class of inputs whose scale and reference judge it."""
    inputs: tuple[Path, ...]
    """Files whose samples follow one another in the class."""
    batch: int
    rows: tuple[int, ...] | None = None
    """The samples of the class that are asked; None for all of them, in order."""
    every: int = 1
    """Of the answers, only each such one is judged: the others are strangers."""


def questions_of(truth: Truth, folder: Path) -> list[Question]:
    """Every probe at the largest batch, and the first test samples in small ones; inputs are written to `folder`."""
    found = []
    for probe in truth.probes:
        path = folder / f"{probe}{SUFFIX}"
        inputs = truth.inputs(probe)
        write_arrays(path, inputs)
        found.append(Question(probe, probe, (path,), min(LARGEST_BATCH, max(truth.samples(probe), 1))))
        if probe == "test":
            rows = tuple(few_rows(truth, FEW))
            few, crowd = folder / f"few{SUFFIX}", folder / f"crowd{SUFFIX}"
            write_arrays(few, _taken(truth, inputs, rows))
            small = [b for b in SMALL_BATCHES if b <= truth.samples("test")]
            found += [Question(f"batch {b}", "test", (few,), b, rows) for b in small]
            if "gaussian" in truth.probes or "uniform" in truth.probes:
                write_arrays(crowd, _among_strangers(truth, inputs, rows))
                found.append(Question("neighbours", "test", (crowd,), LARGEST_BATCH, rows, 2))
        if probe == LENGTHS:
            found.append(Question("unpadded", probe, tuple(_unpadded(truth, inputs, folder)), LARGEST_BATCH))
    return found


def _unpadded(truth: Truth, inputs: Mapping[str, npt.NDArray[np.generic]], folder: Path) -> Iterator[Path]:
    """A file for each length: its samples without padding, whose answers must be those of the padded ones."""
    for number, piece in enumerate(cut_by_length(inputs, truth.meta["input_axes"], truth.length_axes)):
        yield write_arrays(folder / f"unpadded-{number}{SUFFIX}", piece)


def _taken(truth: Truth, inputs: Mapping[str, npt.NDArray[np.generic]], rows: Sequence[int]) -> dict[str, Any]:
    axes = truth.meta["input_axes"]
    return {n: a.take(rows, axis=axes[n]) for n, a in inputs.items()}


def _among_strangers(
    truth: Truth, inputs: Mapping[str, npt.NDArray[np.generic]], rows: Sequence[int]
) -> dict[str, Any]:
    """Each sample followed by one of a random probe, all in one batch: no answer may depend on who else is asked."""
    strangers = truth.inputs("gaussian" if "gaussian" in truth.probes else "uniform")
    found = {}
    for name, array in inputs.items():
        axis = truth.meta["input_axes"][name]
        own, other = array.take(rows, axis=axis), strangers[name]
        other = other.take([i % other.shape[axis] for i in range(len(rows))], axis=axis)
        paired = np.stack([own, _fitted(other, own)], axis=axis + 1)
        found[name] = paired.reshape(*own.shape[:axis], 2 * len(rows), *own.shape[axis + 1 :])
    return found


def _fitted(other: npt.NDArray[np.generic], own: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A stranger of the same shape: cut, or repeated, along free axes."""
    if other.shape == own.shape:
        return other
    return np.resize(other, own.shape).astype(own.dtype)
