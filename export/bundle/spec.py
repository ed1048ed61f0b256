"""What a model is before it is trained: its ends, recipes, parameters and published figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Precision = Literal["float32", "float16", "bfloat16", "tf32", "int8"]
LENGTH, LENGTHS = "length", "lengths"
"""The axis of a sequence's elements, and the input that says how many of them each sample has; the rest is padding."""
Task = Literal["classification", "regression", "unlabelled"]
Value = float | int | str | bool
"""Of a parameter or an option."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    """Its name in every exported form."""
    dtype: str
    """A numpy dtype name: "float32", "uint8", "int64"."""
    shape: tuple[int | str, ...]
    """A string is a dynamic axis: ("batch", 1, 28, 28)."""
    low: float | None = None
    """Smallest value of the documented range; None where no range is documented."""
    high: float | None = None
    """Largest value of the documented range."""
    symbols: str = ""
    """The character that each value stands for, by index; empty where values are no characters."""

    @property
    def is_grey_image(self) -> bool:
        """Whether it is (N, 1, height, width)."""
        return len(self.shape) == 4 and self.shape[1] == 1 and all(isinstance(n, int) for n in self.shape[2:])


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How a stored value becomes the model's: float32(x) * scale, minus `mean`, divided by `std`, in float32."""

    scale: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    @property
    def identity(self) -> bool:
        return self == Preprocess()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained."""

    name: str
    """`published` (the document's) or `fast` (ours)."""
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    """Peak of the schedule."""
    schedule: str = "constant"
    precision: Precision = "float32"
    """Of the forward pass while training; evaluation is always float32."""
    augmentation: str = "none"
    seed: int = 0
    loss: str = "cross_entropy"
    """Name in `pipeline.objectives`."""
    sampling: str = "shuffle"
    """Name in `pipeline.batches`: which samples a step takes."""
    steps_per_epoch: int | None = None
    """Where an epoch is not one pass over the data."""
    held_out: bool = True
    """Whether the held-out samples stay out; False trains on them too, as the document did."""
    options: Mapping[str, Value] = field(default_factory=dict)
    """What only this recipe knows: momentum, weight decay, dropout, averaging, …"""
    notes: str = ""
    """What the document leaves open and how it was chosen."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure that an author published."""

    figure: float
    """As a fraction for accuracies: 0.9937."""
    metric: str
    """`test_accuracy`."""
    source: str
    best: float | None = None
    """The best that the document saw, where training on made it worse; `figure` is that of the last epoch."""
    note: str = ""
    """What the document says of it besides the number."""
    differs: str = ""
    """Why the document's own recipe gives us another figure, where it does."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What may be set of a model, and to what."""

    name: str
    default: Value
    help: str
    low: float | None = None
    """Smallest value."""
    high: float | None = None
    """Largest value."""
    choices: tuple[Value, ...] = ()
    sets: str = ""
    """Field of the `published` recipe that it sets; empty where it is a parameter of the network."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One setting of a model's parameters that a document gives; those not named have their defaults."""

    params: Mapping[str, Value] = field(default_factory=dict)
    published: Published | None = None
    recipes: tuple[Recipe, ...] = ()
    """Instead of the model's own of the same name."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that can be trained and exported; its functions are never written to disk."""

    id: str
    task: Task
    dataset: str
    build: Callable[..., Any]
    """Returns the torch module; keyword parameters are those of `parameters` that set no recipe."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipes: tuple[Recipe, ...] = ()
    published: Published | None = None
    preprocess: Preprocess = field(default_factory=Preprocess)
    """From the stored form of the first input to the model's."""
    labels: tuple[str, ...] = ()
    """Class names by index."""
    description: str = ""
    source: str = ""
    """The document it comes from, where that gives no figure."""
    parameters: tuple[Parameter, ...] = ()
    variants: tuple[Variant, ...] = ()
    """The settings that a document gives a figure for; empty: the default alone."""
    params: Mapping[str, Value] = field(default_factory=dict)
    """Every parameter's value, once they are chosen (`pipeline.variants`)."""
    axes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Range of each dynamic axis that is not the batch: {"length": (1, 64)}."""
    graph: Callable[[Any], Any] | None = None
    """From the trained module to the form that torch.export takes, sharing its weights, where it cannot take the module
    itself (a loop over a dynamic length); TorchScript then compiles the module instead of tracing the graph."""
    step: Callable[[Any], Step] | None = None
    """From the trained module of a recurrent network to its cell, for apps that feed it one element at a time."""

    @property
    def variant(self) -> str:
        """ "width=5000 batch=256": what is set otherwise than the defaults; empty where nothing is."""
        defaults = {p.name: p.default for p in self.parameters}
        return " ".join(f"{n}={_plain(v)}" for n, v in self.params.items() if defaults.get(n) != v)

    @property
    def name(self) -> str:
        """ "mlp1-width=5000-batch=256": the id, and what is set otherwise than the defaults; the name of its folder."""
        return "-".join([self.id, *self.variant.split()])


@dataclass(frozen=True, kw_only=True)
class Step:
    """A recurrent network's cell: what it takes and gives besides the state."""

    module: Any
    """torch.nn.Module."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
