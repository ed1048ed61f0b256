"""How far from float64 an answer may be. Pure functions.

The question is not "is it within 1e-5" but "is it as close to the truth as eager is", so a band is a multiple of
eager's own error, never a fixed tolerance. Unit roundoffs are those of IEEE 754 (round to nearest): half the distance
from 1 to the next number, 2^-p for a significand of p bits. See N. J. Higham, "Accuracy and Stability of Numerical
Algorithms", 2nd ed., SIAM 2002, §2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.bundle.errors import VerdictFailed

UNIT_ROUNDOFF = {"float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8, "int8": 2.0**-9}
"""Significands of 24, 11, 11 and 8 bits, the hidden one counted; half of one of the 256 steps of an int8 range."""
FACTOR = {"float32": 16.0, "tf32": 2.0, "float16": 2.0, "bfloat16": 2.0, "int8": 2.0}
"""How many times eager's own error may be reached; METHODOLOGY.md holds the calibration."""
RANK = {"float32": 4, "tf32": 3, "float16": 2, "bfloat16": 1, "int8": 0}
"""More is more exact: what is found may not stand below what was asked."""


@dataclass(frozen=True, kw_only=True)
class Error:
    """The largest error of one output over a class of inputs."""

    value: float
    """max|y − y64| / scale; infinite where a finite truth is answered by NaN or Inf."""
    index: tuple[int, ...]
    """Where it sits: (sample, …)."""
    answer: float
    truth: float
    finite: bool
    """False where any answer is NaN or Inf while the truth is finite."""


def pooled_scale(truth: npt.NDArray[np.generic]) -> float:
    """max|y64| over a whole class of inputs; 0.0 for an empty array."""
    return float(np.max(np.abs(np.asarray(truth, np.float64)), initial=0.0))


def error(answers: npt.NDArray[np.generic], truth: npt.NDArray[np.float64], scale: float) -> Error:
    """The largest error of `answers` (same shape as `truth`), in units of `scale`.

    Where the scale is 0 (the truth is zero throughout) any other answer is infinitely wrong. Raises VerdictFailed
    where shapes differ.
    """
    if answers.shape != truth.shape:
        raise VerdictFailed(f"the answer has shape {list(answers.shape)} where float64's has {list(truth.shape)}")
    if truth.size == 0:
        return Error(value=0.0, index=(), answer=0.0, truth=0.0, finite=True)
    distance = np.abs(np.asarray(answers, np.float64) - truth)
    wrong = np.isfinite(truth) & ~np.isfinite(distance)
    distance[wrong] = np.inf
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    largest = float(distance[worst])
    return Error(
        value=relative(largest, scale),
        index=tuple(int(i) for i in worst),
        answer=float(answers[worst]),
        truth=float(truth[worst]),
        finite=not wrong.any(),
    )


def relative(distance: float, scale: float) -> float:
    """distance / scale, with 0 / 0 = 0."""
    if scale > 0:
        return distance / scale
    return 0.0 if distance == 0 else float("inf")


def floored(precision: str, reference: float | None) -> float:
    """Eager's own error in `precision`, no less than its unit roundoff (eager can be right by luck).

    None stands for "eager cannot run in it": then the unit roundoff stands alone. Of int8, "eager" is the form's own
    graph in float32: a backend that rounds the other way at a tie of two steps is no less right.
    """
    return max(reference or 0.0, UNIT_ROUNDOFF[precision])


def band(precision: str, reference: float | None) -> float:
    """The largest error that passes: 16 · max(e(eager32), 2^-24) in float32, 2 · max(e(eager_p), u_p) below it."""
    return FACTOR[precision] * floored(precision, reference)


def computes_in_less(asked: str, found: str) -> bool:
    """Whether a backend computes in less than what was asked of it."""
    return RANK[found] < RANK[asked]
