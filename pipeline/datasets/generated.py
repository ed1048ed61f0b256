"""Data that the documents make themselves: two equations, one equation, and the sine of random points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import DatasetFacts
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits

MADE_HERE = "none needed: the points are computed"
"""The licence of data that no one hands out."""
FITTED = "fitted and judged on the same points, as the document does"
_SINE_POINTS = 1000

Points = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Inputs (N, values) and targets (N, 1)."""


def same_points(name: str, split: Split, note: str = "") -> Data:
    """A data set whose test points are those that are fitted; nothing is held out."""
    note = f"{note}; {FITTED}" if note else FITTED
    size = len(split)
    facts = DatasetFacts(name=name, digest=digest_of_splits(split), train=size, validation=0, test=size, note=note)
    return Data(train=split, validation=split.rows(np.arange(0)), test=split, facts=facts)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Points made anew each time, the same for a seed."""

    name: str
    input: str
    """Name of the input."""
    points: Callable[[np.random.RandomState], Points]
    seed: int = 0
    licence: str = MADE_HERE

    def drawn(self, seed: int) -> Generated:
        return Generated(name=self.name, input=self.input, points=self.points, seed=seed)

    def fingerprint(self, root: Path) -> str:
        return digest_of_splits(self._split())

    def fetch(self, root: Path, progress: Progress) -> None:
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        return same_points(self.name, self._split())

    def _split(self) -> Split:
        inputs, targets = self.points(np.random.RandomState(self.seed))
        return Split(stored={self.input: inputs.astype(np.float32)}, targets=targets.astype(np.float32))


def linear_system(_: np.random.RandomState) -> Points:
    """A·x = b with A = [[0, 1], [1, 0]], b = [1, 1]: the rows of A, and b."""
    return np.array([[0, 1], [1, 0]]), np.ones((2, 1))


def unit_sum(_: np.random.RandomState) -> Points:
    """xᵀw = 1 with x = ones(5)."""
    return np.ones((1, 5)), np.ones((1, 1))


def sine(random: np.random.RandomState) -> Points:
    """1000 points x ~ U(0, 2π) and sin x."""
    x = random.uniform(0, 2 * np.pi, (_SINE_POINTS, 1))
    return x, np.sin(x)


ENTRIES = (
    Generated(name="linear-system", input="row", points=linear_system),
    Generated(name="unit-sum", input="x", points=unit_sum),
    Generated(name="sine", input="x", points=sine),
)
