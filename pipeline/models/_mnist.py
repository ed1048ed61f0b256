"""What every model on MNIST shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export.bundle.types import ModelSpec, Parameter, Preprocess, Published, Recipe, TensorSpec, Value

UNIT = Preprocess(scale=1 / 255)
"""Grey values from 0 to 1."""
NORMALISED = Preprocess(scale=1 / 255, mean=0.1307, std=0.3081)
"""Grey values less the training set's mean, over its standard deviation."""


def accuracy(figure: float, source: str, best: float | None = None, note: str = "", differs: str = "") -> Published:
    return Published(figure=figure, metric="test_accuracy", source=source, best=best, note=note, differs=differs)


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


DOUBLE_SOFTMAX = Recipe(
    name="published",
    epochs=10,
    batch_size=64,
    optimizer="sgd",
    learning_rate=1.0,
    loss="double_softmax",
    sampling="all",
    held_out=False,
    notes="Cross entropy of the softmax's probabilities, as if they were logits: the document's own.",
)
"""Of both Working Notes."""


def fast(epochs: int, batch_size: int, learning_rate: float, notes: str = "", **options: Value) -> Recipe:
    """AdamW under a one-cycle schedule, in bfloat16, without augmentation."""
    return Recipe(
        name="fast",
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adamw",
        learning_rate=learning_rate,
        schedule="one-cycle",
        precision="bfloat16",
        options={"warm_up": 0.2, "last_rate": 0.01, "weight_decay": 0.01, **options},
        notes=notes,
    )


def rate(default: float) -> Parameter:
    return Parameter(
        name="rate", default=default, low=1e-6, high=10, sets="learning_rate", help="rate of the published recipe"
    )


def epochs(default: int) -> Parameter:
    return Parameter(
        name="epochs", default=default, low=1, high=1000, sets="epochs", help="epochs of the published recipe"
    )
