"""What a deployed model says of how good it is and what it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from export.bundle.types import Json, TrainedModel
from serve_bench.equivalence.decisions import accuracy_interval, mean_interval

if TYPE_CHECKING:
    from serve_bench.equivalence.truth import Truth


def told(trained: TrainedModel, licence: str, truth: Truth) -> dict[str, Json]:
    """ "metric" (name, value, low and high of its 95 % interval, samples) and "dataset" (name, digest, licence, note).

    "metric" is empty where nothing was measured on labelled data.
    """
    data = trained.dataset
    facts = {"name": data.name, "digest": data.digest, "licence": licence, "note": data.note}
    return {"metric": metric(trained, truth), "dataset": {k: v for k, v in facts.items() if v}}


def metric(trained: TrainedModel, truth: Truth) -> dict[str, Json]:
    """The task's metric on the test set with its 95 % interval: exact for an accuracy, Student's t for a mean square
    error, whose interval is left out where every error is the same."""
    measured, samples = trained.metrics, truth.samples("test")
    if "test_accuracy" in measured:
        value = measured["test_accuracy"]
        low, high = accuracy_interval(round(value * samples), samples)
        return {"name": "test_accuracy", "value": value, "low": low, "high": high, "samples": samples}
    if "test_mse" not in measured:
        return {}
    found: dict[str, Any] = {"name": "test_mse", "value": measured["test_mse"], "samples": samples}
    answers = truth.outputs("test")[truth.output_names[0]]
    if truth.targets is not None and truth.targets.shape == answers.shape:
        squares = np.square(answers - truth.targets).reshape(len(answers), -1).mean(axis=1)
        ends = mean_interval(squares)
        if ends is not None and ends[0] < ends[1]:
            found |= {"low": max(ends[0], 0.0), "high": ends[1]}
    return found
