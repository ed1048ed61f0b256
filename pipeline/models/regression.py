"""Small least-squares problems: two by gradient descent from 0, a sine, and networks from one number to one."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from export.bundle.types import ModelSpec, Parameter, Published, Recipe, TensorSpec, Variant
from pipeline.models._sources import DAY_1, LECTURE, TP3


def build_weights(size: int) -> Any:
    """Rows (B, size) to their product with the unknown vector (B, 1), which starts from 0."""
    from torch import nn

    layer = nn.Linear(size, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return nn.Sequential(OrderedDict(unknown=layer))


def build_linear_system() -> Any:
    """Rows (B, 2) of A to A·x (B, 1)."""
    return build_weights(2)


def build_unit_sum() -> Any:
    """x (B, 5) to xᵀw (B, 1)."""
    return build_weights(5)


def build_sine() -> Any:
    """x (B, 1) to a₀·sin(a₁·x) (B, 1), from a = [1.3, 1]."""
    import torch
    from torch import nn

    class Sine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.amplitude = nn.Parameter(torch.tensor(1.3))
            self.frequency = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: Any) -> Any:
            return self.amplitude * torch.sin(self.frequency * x)

    return Sine()


def build_network(*widths: int, activation: str = "") -> Any:
    """x (B, 1) to y (B, 1) by hidden layers of these widths, with "relu", "tanh" or nothing between the layers."""
    from torch import nn

    layers: dict[str, Any] = OrderedDict()
    ends = [1, *widths, 1]
    for i in range(len(ends) - 1):
        layers[f"fc{i + 1}"] = nn.Linear(ends[i], ends[i + 1])
        if activation and i < len(widths):
            layers[f"{activation}{i + 1}"] = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]()
    return nn.Sequential(layers)


def build_gp_linear() -> Any:
    """x (B, 1) to y (B, 1)."""
    return build_network()


def build_gp_linear2() -> Any:
    """x (B, 1) to y (B, 1), by 10 hidden units without activation."""
    return build_network(10)


def build_gp_relu(hidden: int) -> Any:
    """x (B, 1) to y (B, 1)."""
    return build_network(hidden, activation="relu")


def build_gp_tanh(hidden: int) -> Any:
    """x (B, 1) to y (B, 1)."""
    return build_network(hidden, activation="tanh")


def build_gp_relu3() -> Any:
    """x (B, 1) to y (B, 1), by twice 100 hidden units."""
    return build_network(100, 100, activation="relu")


def build_gp_relu5() -> Any:
    """x (B, 1) to y (B, 1), by four times 100 hidden units."""
    return build_network(100, 100, 100, 100, activation="relu")


def _descent(name: str, updates: int, rate: float, notes: str, **options: Any) -> Recipe:
    """Gradient descent on the sum of squares over all points; an epoch is one update."""
    return Recipe(
        name=name,
        epochs=updates,
        batch_size=1000,
        optimizer="sgd",
        learning_rate=rate,
        loss="sum_of_squares",
        sampling="full",
        steps_per_epoch=1,
        held_out=False,
        options=options,
        notes=notes,
    )


def _regression(name: str, dataset: str, build: Any, given: TensorSpec, output: str, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=name,
        task="regression",
        dataset=dataset,
        build=build,
        inputs=(given,),
        outputs=(TensorSpec(name=output, dtype="float32", shape=("batch", 1)),),
        **more,
    )


def _mse(figure: float, source: str, note: str) -> Published:
    return Published(figure=figure, metric="test_mse", source=source, note=note)


LINEAR_SYSTEM = _regression(
    "linear-system",
    "linear-system",
    build_linear_system,
    TensorSpec(name="row", dtype="float32", shape=("batch", 2), low=-1, high=1),
    "value",
    recipes=(
        _descent("fast", 1, 0.5, "With AᵀA = 1 one step of ½ is Newton's."),
        _descent("published", 9, 0.5, "The document's 10 steps count the start: 9 updates."),
    ),
    description="x in A·x = b by gradient descent on |A·x − b|²",
    parameters=(
        Parameter(
            name="step", default=0.5, low=1e-6, high=1, sets="learning_rate", help="rate of the published recipe"
        ),
    ),
    variants=(
        Variant(published=_mse(0.0, DAY_1, "x = [1, 1], loss 0")),
        Variant(params={"step": 0.1}, published=_mse(0.8**18, DAY_1, "x = [0.8658, 0.8658]: an error of 0.8⁹ each")),
    ),
)

UNIT_SUM = _regression(
    "unit-sum",
    "unit-sum",
    build_unit_sum,
    TensorSpec(name="x", dtype="float32", shape=("batch", 5), low=-1, high=1),
    "sum",
    recipes=(
        _descent("fast", 1, 0.1, "One step of 1 / (2·xᵀx) is Newton's."),
        _descent(
            "published",
            100,
            0.02,
            "The document gives neither rate nor number; at this rate the error shrinks to 0.8 of itself in each step, "
            "and 100 steps leave nothing that float32 could show.",
        ),
    ),
    published=_mse(0.0, TP3, "w = 0.2 in each entry"),
    description="w in xᵀw = 1 with x = ones(5), by gradient descent on (1 − xᵀw)²",
)

SINE = _regression(
    "sine",
    "sine",
    build_sine,
    TensorSpec(name="x", dtype="float32", shape=("batch", 1), low=0, high=2 * math.pi),
    "y",
    recipes=(
        replace(
            _descent("fast", 30, 0.1, "Adam with a falling rate does not jump to and fro over the valley."),
            optimizer="adam",
            schedule="one-cycle",
            options={"warm_up": 0.1, "last_rate": 0.01},
        ),
        _descent(
            "published",
            40,
            0.1,
            "Steps of 0.1·g/(1 + ‖g‖) jump to and fro over the valley: the document prints the loss before its 40th "
            "update and the parameters after it.",
            gradient="over_one_plus_norm",
        ),
    ),
    published=Published(
        figure=13.45,
        metric="train_loss",
        source=DAY_1,
        note="sum of squares at the 40th step; a = [0.983, 0.943] after it",
    ),
    description="a₀·sin(a₁·x) fitted to the sine of 1,000 random points",
)


def _gp(name: str, build: Any, fast: Recipe, description: str, **more: Any) -> ModelSpec:
    return _regression(
        name,
        "gp",
        build,
        TensorSpec(name="x", dtype="float32", shape=("batch", 1), low=0, high=1),
        "y",
        recipes=(fast, _GP_PUBLISHED),
        description=f"{description}; a curve through 250 points",
        source=LECTURE,
        **more,
    )


_GP_PUBLISHED = Recipe(
    name="published",
    epochs=20,
    batch_size=250,
    optimizer="sgd",
    learning_rate=1e-3,
    loss="mean_squares",
    sampling="full",
    steps_per_epoch=100,
    held_out=False,
    options={"momentum": 0.9},
    notes="An epoch is 100 steps over all 250 points. The document draws the fit and gives no figure.",
)


def _gp_fast(epochs: int, rate: float) -> Recipe:
    return replace(
        _GP_PUBLISHED,
        name="fast",
        epochs=epochs,
        optimizer="adam",
        learning_rate=rate,
        schedule="one-cycle",
        steps_per_epoch=25,
        options={"warm_up": 0.2, "last_rate": 0.01},
        notes="Full batches; an epoch is 25 steps.",
    )


def _hidden(default: int) -> Parameter:
    return Parameter(name="hidden", default=default, low=1, high=100_000, help="hidden units")


GP_LINEAR = _gp("gp-linear", build_gp_linear, _gp_fast(8, 0.3), "1 → 1")
GP_LINEAR2 = _gp("gp-linear2", build_gp_linear2, _gp_fast(10, 0.05), "1 → 10 → 1 without activation")
GP_RELU = _gp(
    "gp-relu",
    build_gp_relu,
    _gp_fast(8, 0.03),
    "1 → hidden → 1, ReLU",
    parameters=(_hidden(100),),
)
GP_TANH = _gp(
    "gp-tanh",
    build_gp_tanh,
    _gp_fast(8, 0.1),
    "1 → hidden → 1, tanh",
    parameters=(_hidden(10),),
)
GP_RELU3 = _gp("gp-relu3", build_gp_relu3, _gp_fast(8, 0.01), "1 → 100 → 100 → 1, ReLU")
GP_RELU5 = _gp("gp-relu5", build_gp_relu5, _gp_fast(8, 0.01), "1 → 100 → 100 → 100 → 100 → 1, ReLU")

ENTRIES = (LINEAR_SYSTEM, UNIT_SUM, SINE, GP_LINEAR, GP_LINEAR2, GP_RELU, GP_TANH, GP_RELU3, GP_RELU5)
