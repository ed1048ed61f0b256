"""The main model: two convolutions and two linear layers on MNIST, 45,020 weights (zoo: document D)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from export.bundle.types import ModelSpec, Preprocess, Published, Recipe, TensorSpec

MEAN, STD = 0.1307, 0.3081


def build() -> Any:
    """Images (B, 1, 28, 28), normalised, to log-probabilities (B, 10)."""
    from torch import nn

    layers: dict[str, Any] = OrderedDict(
        conv1=nn.Conv2d(1, 20, 5),  # (B, 20, 24, 24)
        pool1=nn.MaxPool2d(2),  # (B, 20, 12, 12)
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(20, 30, 5),  # (B, 30, 8, 8)
        drop2=nn.Dropout2d(0.5),
        pool2=nn.MaxPool2d(2),  # (B, 30, 4, 4)
        relu2=nn.ReLU(),
        flatten=nn.Flatten(1),  # (B, 480)
        fc1=nn.Linear(480, 60),
        relu3=nn.ReLU(),
        drop3=nn.Dropout(0.5),
        fc2=nn.Linear(60, 10),
        output=nn.LogSoftmax(1),
    )
    return nn.Sequential(layers)


_PUBLISHED = Recipe(
    name="published",
    epochs=100,
    batch_size=64,
    optimizer="sgd",
    learning_rate=0.01,
    options={"momentum": 0.9, "dropout2d": 0.5, "dropout": 0.5},
    notes=(
        "The document names no optimiser. Six epochs each, on held-out images: SGD, momentum 0.9, rate 0.01 98.72 %, "
        "at 0.03 97.98 %, at 0.003 98.14 %; Adam at 0.001 98.70 %. Rate constant, no weight decay, no augmentation."
    ),
)

_FAST = Recipe(
    name="fast",
    epochs=12,
    batch_size=256,
    optimizer="adamw",
    learning_rate=4e-3,
    schedule="one-cycle",
    precision="bfloat16",
    augmentation="affine",
    options={
        "beta1": 0.9,
        "beta2": 0.99,
        "weight_decay": 0.01,
        "warm_up": 0.2,
        "last_rate": 0.01,
        "dropout2d": 0.1,
        "dropout": 0.2,
        "rotation_degrees": 12.0,
        "scale": 0.1,
        "shear": 0.1,
        "shift_pixels": 2.0,
        "least_steps": 600,
    },
    notes=(
        "Chosen on held-out images: 12 epochs 99.58 %, 8 epochs 99.49 % (means of 4 seeds), 16 epochs 99.54 % (of 2). "
        "Less dropout than the document's: trained so shortly and with augmentation, the network does not overfit."
    ),
)

CNN = ModelSpec(
    id="cnn",
    task="classification",
    dataset="mnist",
    build=build,
    inputs=(
        TensorSpec(
            name="image", dtype="float32", shape=("batch", 1, 28, 28), low=(0 - MEAN) / STD, high=(1 - MEAN) / STD
        ),
    ),
    outputs=(TensorSpec(name="log_probabilities", dtype="float32", shape=("batch", 10)),),
    recipes=(_FAST, _PUBLISHED),
    published=Published(
        figure=0.9937,
        metric="test_accuracy",
        source="A journey through Neural Networks – part 2 (MNIST CNN 96.74 % → 99.37 %)",
    ),
    preprocess=Preprocess(scale=1 / 255, mean=MEAN, std=STD),
    labels=tuple("0123456789"),
    description="conv 20 and 30 (5×5), max pooling, 60 hidden units, dropout; handwritten digits of 28×28 pixels",
)

ENTRIES = (CNN,)
