"""What every model on MNIST shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export.bundle.types import ModelSpec, Preprocess, Published, TensorSpec

DAY_1 = "Working Notes – Learning PyTorch – Day 1"
DAY_2 = "Working Notes – Learning PyTorch – Day 2"
JOURNEY = "A journey through Neural Networks – part 2 (MNIST CNN 96.74 % → 99.37 %)"
TP3 = "TP3: NN and CNN with PyTorch"

UNIT = Preprocess(scale=1 / 255)
"""Grey values from 0 to 1."""
NORMALISED = Preprocess(scale=1 / 255, mean=0.1307, std=0.3081)
"""Grey values less the training set's mean, over its standard deviation."""


def accuracy(figure: float, source: str, best: float | None = None, note: str = "") -> Published:
    return Published(figure=figure, metric="test_accuracy", source=source, best=best, note=note)


def classifier(name: str, build: Callable[..., Any], output: str, preprocess: Preprocess, **more: Any) -> ModelSpec:
    """A model that takes images (B, 1, 28, 28) and gives `output` (B, 10)."""
    low, high = ((v - preprocess.mean) / preprocess.std for v in (0.0, 1.0))
    return ModelSpec(
        id=name,
        task="classification",
        dataset="mnist",
        build=build,
        inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28), low=low, high=high),),
        outputs=(TensorSpec(name=output, dtype="float32", shape=("batch", 10)),),
        preprocess=preprocess,
        labels=tuple("0123456789"),
        **more,
    )
