"""Which answers change. Pure functions over one output of shape (N, classes), N ≥ 0, classes ≥ 2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import Disagreement
from serve_bench.equivalence.bands import relative
from serve_bench.latency.stats import incomplete_beta, t_quantile

Float64 = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Z_95 = 1.96
BINS = 15
"""Of the calibration error, as in its source."""


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


def accuracy_interval(right: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, `right` of `samples` ≥ 1 (Clopper and Pearson 1934, Biometrika 26).

    Its ends are quantiles of beta distributions, found by bisection.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else _beta_quantile(tail, right, samples - right + 1)
    high = 1.0 if right == samples else _beta_quantile(1 - tail, right + 1, samples - right)
    return low, high


def _beta_quantile(share: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if incomplete_beta(a, b, middle) < share else (low, middle)
    return (low + high) / 2


def mean_interval(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `values` (N,) by Student's t; None of fewer than two."""
    if len(values) < 2:
        return None
    half = t_quantile(0.975, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def discordant(answers: npt.NDArray[np.generic], truth: Float64, labels: Labels) -> tuple[int, int, float]:
    """Samples that only float64 answers rightly, those that only the backend does, and how likely so uneven a split is.

    The exact two-sided test on discordant pairs: under equal error rates either is Binomial(n, ½) (McNemar 1947,
    Psychometrika 12; the binomial in place of its normal approximation). 1.0 where there is no such pair.
    """
    here = np.asarray(answers).argmax(axis=1) == labels
    there = truth.argmax(axis=1) == labels
    lost, gained = int((there & ~here).sum()), int((here & ~there).sum())
    pairs, fewer = lost + gained, min(lost, gained)
    tail = sum(math.comb(pairs, k) for k in range(fewer + 1))
    return lost, gained, min(1.0, 2 * tail / 2**pairs) if pairs else 1.0


def share_change(lost: int, gained: int, samples: int) -> tuple[float, float, float]:
    """By how much the share of right answers falls, and the 95 % interval of that: fractions of `samples`.

    The interval for matched proportions with half an observation added to each of the four cells (Agresti and Min 2005,
    Statistics in Medicine 24), so that it does not shrink to a point where no answer changed.
    """
    more, less, total = lost + 0.5, gained + 0.5, samples + 2
    middle = (more - less) / total
    half = Z_95 * math.sqrt(more + less - (more - less) ** 2 / total) / total
    return (lost - gained) / samples, middle - half, middle + half


def squares_change(before: Float64, after: Float64, targets: Float64) -> tuple[float, float, float] | None:
    """By how much R² falls from `before` to `after`, arrays of the shape of `targets`, and its 95 % interval.

    R² is 1 less the mean square of the errors over the variance of the targets; the interval is the normal one of the
    mean of paired differences. None where all targets are equal, or of a single sample.
    """
    variance = float(targets.var())
    if variance == 0 or len(targets) < 2:
        return None
    worse = (np.square(after - targets) - np.square(before - targets)).reshape(len(targets), -1).mean(axis=1) / variance
    half = Z_95 * float(worse.std(ddof=1)) / math.sqrt(len(worse))
    middle = float(worse.mean())
    return middle, middle - half, middle + half


def probabilities(scores: npt.NDArray[np.generic], kind: type[np.floating[Any]] = np.float64) -> npt.NDArray[Any]:
    """Softmax over the last axis of logits or log-probabilities (of those it is the exponential), computed in `kind`.

    Rows that are probabilities already stay what they are.
    """
    values = np.asarray(scores, kind)
    if values.size and values.min() >= 0 and (np.abs(values.sum(-1) - 1) < 1e-3).all():
        return values
    shifted = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def calibration_error(answers: npt.NDArray[np.generic], labels: Labels) -> float:
    """Expected calibration error: how far stated confidence lies from the share that is right, over equal bins.

    Guo et al. 2017 (arXiv:1706.04599), with 15 bins; 0.0 without samples.
    """
    if not len(labels):
        return 0.0
    scores = probabilities(answers)
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / len(labels))
