"""Digits of 8×8 pixels with values 0–16: logistic regression, a linear layer, perceptrons, one convolution."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from export.bundle.types import ModelSpec, Parameter, Published, Recipe, TensorSpec, Variant
from pipeline.models._sources import LECTURE


def build_logistic() -> Any:
    """Images (B, 1, 8, 8) to logits (B, 10): X·β + intercept, both drawn from a standard normal."""
    import torch
    from torch import nn

    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(64, 10).T)
        layer.bias.copy_(torch.randn(10))
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(1), fc=layer))


def build_linear() -> Any:
    """Images (B, 1, 8, 8) to logits (B, 10)."""
    from torch import nn

    return nn.Sequential(OrderedDict(flatten=nn.Flatten(1), fc=nn.Linear(64, 10)))


def build_fnn(activation: str) -> Any:
    """Images (B, 1, 8, 8) to logits (B, 10), by 64 hidden units."""
    from torch import nn

    act = _activation(activation)
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(1), fc1=nn.Linear(64, 64), act1=act(), fc2=nn.Linear(64, 10)))


def build_fnn2(activation: str) -> Any:
    """Images (B, 1, 8, 8) to logits (B, 10), by twice 64 hidden units."""
    from torch import nn

    act = _activation(activation)
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(1),
            fc1=nn.Linear(64, 64),
            act1=act(),
            fc2=nn.Linear(64, 64),
            act2=act(),
            fc3=nn.Linear(64, 10),
        )
    )


def build_cnn() -> Any:
    """Images (B, 1, 8, 8) to logits (B, 10)."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(1, 8, 3, padding=1),  # (B, 8, 8, 8)
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(2),  # (B, 8, 4, 4)
            flatten=nn.Flatten(1),  # (B, 128)
            fc=nn.Linear(128, 10),
        )
    )


def _activation(name: str) -> Any:
    from torch import nn

    return {"relu": nn.ReLU, "tanh": nn.Tanh}[name]


def _published(steps: int) -> Recipe:
    return Recipe(
        name="published",
        epochs=steps // 100,
        batch_size=1437,
        optimizer="sgd",
        learning_rate=1e-3,
        sampling="full",
        steps_per_epoch=100,
        held_out=False,
        options={"momentum": 0.9},
        notes="An epoch is 100 steps over all 1,437 training images.",
    )


def _fast(epochs: int, batch_size: int, rate: float, decay: float, moved: float = 0.0, notes: str = "") -> Recipe:
    """AdamW under a one-cycle schedule; `moved` scales the affine augmentation."""
    largest = {"rotation_degrees": 20 * moved, "scale": 0.2 * moved, "shear": 0.2 * moved, "shift_pixels": moved}
    return Recipe(
        name="fast",
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adamw",
        learning_rate=rate,
        schedule="one-cycle",
        sampling="all",
        held_out=False,
        augmentation="affine" if moved else "none",
        options={"warm_up": 0.2, "last_rate": 0.01, "weight_decay": decay} | (largest if moved else {}),
        notes=f"Chosen by five-fold cross-validation inside the 1,437 training images: {notes}.",
    )


def _accuracy(figure: float) -> Published:
    return Published(figure=figure, metric="test_accuracy", source=LECTURE)


def _classifier(name: str, build: Any, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=name,
        task="classification",
        dataset="digits-8x8",
        build=build,
        inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8), low=0, high=16),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
        labels=tuple("0123456789"),
        **more,
    )


_ACTIVATION = Parameter(name="activation", default="relu", choices=("relu", "tanh"), help="between the linear layers")
_STEPS = Parameter(
    name="epochs", default=10, low=1, high=1000, sets="epochs", help="hundreds of steps of the published recipe"
)

LOGISTIC = _classifier(
    "digits-logistic",
    build_logistic,
    recipes=(_fast(10, 32, 0.1, 1.0, notes="96.03 %, with decay 0.01 93.74 %"), _published(1000)),
    description="64 → 10 from a standard normal start: logistic regression; digits of 8×8 pixels",
    parameters=(_STEPS,),
    variants=(Variant(published=_accuracy(0.8833)), Variant(params={"epochs": 30})),
)
LINEAR = _classifier(
    "digits-linear",
    build_linear,
    recipes=(_fast(10, 32, 0.1, 0.3, notes="96.69 %, at rate 0.03 96.35 %, at 0.2 95.65 %"), _published(1000)),
    published=_accuracy(0.9667),
    description="64 → 10; digits of 8×8 pixels",
)
FNN = _classifier(
    "digits-fnn",
    build_fnn,
    recipes=(_fast(20, 64, 0.01, 0.01, 0.5, notes="98.02 %, without augmentation 97.77 %"), _published(2000)),
    description="64 → 64 → 10, ReLU or tanh; digits of 8×8 pixels",
    parameters=(_ACTIVATION,),
    variants=(
        Variant(published=_accuracy(0.9722)),
        Variant(
            params={"activation": "tanh"},
            published=_accuracy(0.9722),
            recipes=(_fast(20, 32, 0.003, 0.1, 0.25, notes="98.02 %, without augmentation at most 97.63 %"),),
        ),
    ),
)
FNN2 = _classifier(
    "digits-fnn2",
    build_fnn2,
    recipes=(_fast(10, 64, 0.01, 0.5, 0.25, notes="97.67 % with ReLU, 97.46 % with tanh"), _published(1000)),
    description="64 → 64 → 64 → 10, ReLU or tanh; digits of 8×8 pixels",
    parameters=(_ACTIVATION,),
    variants=(
        Variant(published=_accuracy(0.9611)),
        Variant(params={"activation": "tanh"}, published=_accuracy(0.9667)),
    ),
)
CNN = _classifier(
    "digits-cnn",
    build_cnn,
    recipes=(_fast(20, 32, 0.03, 0.1, 0.25, notes="98.82 %, without augmentation 98.54 %"), _published(1000)),
    published=_accuracy(0.9833),
    description="conv 8 (3×3), max pooling, 128 → 10; digits of 8×8 pixels",
)

ENTRIES = (LOGISTIC, LINEAR, FNN, FNN2, CNN)
