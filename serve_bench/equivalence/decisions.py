"""Which answers change. Pure functions over one output of shape (N, classes), N ≥ 0, classes ≥ 2."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.bundle.types import Disagreement
from serve_bench.equivalence.bands import relative

Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def decides(task: str, truth: npt.NDArray[np.generic]) -> bool:
    """Whether an output is a choice between classes: of any task but regression, (N, at least 2)."""
    return task != "regression" and truth.ndim == 2 and truth.shape[1] >= 2


def disagreements(
    answers: npt.NDArray[np.generic], truth: Float64, labels: Labels | None, scale: float, band: float
) -> tuple[Disagreement, ...]:
    """Every sample whose argmax differs from float64's.

    With e the largest error among a sample's outputs, the two largest can only change places where their margin is at
    most 2e (each moves by at most e). So a change is explained where the margin is at most that and e itself lies
    inside the band; a NaN explains nothing.
    """
    values = np.asarray(answers, np.float64)
    chosen, right = values.argmax(axis=1), truth.argmax(axis=1)
    found = []
    for i in np.flatnonzero(chosen != right):
        largest = float(np.abs(values[i] - truth[i]).max())
        second, first = np.partition(truth[i], -2)[-2:]
        margin, bound = float(first - second), 2 * largest
        found.append(
            Disagreement(
                sample=int(i),
                answer=int(chosen[i]),
                truth=int(right[i]),
                label=None if labels is None else int(labels[i]),
                margin=margin,
                bound=bound if np.isfinite(bound) else float(np.finfo(np.float64).max),
                explained=bool(margin <= bound and relative(largest, scale) <= band),
            )
        )
    return tuple(found)


def accuracy(answers: npt.NDArray[np.generic], labels: Labels) -> float:
    """The share of samples whose argmax is their label."""
    return float((np.asarray(answers).argmax(axis=1) == labels).mean()) if len(labels) else 0.0
