"""Which samples each step of an epoch takes: every draw from the generator that is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from export.bundle.errors import TrainingError
from export.bundle.types import Recipe


@dataclass(frozen=True, kw_only=True)
class Population:
    """What is drawn from."""

    targets: Any
    """(N,) or (N, values)."""
    lengths: Any = None
    """(N,) of sequences; None for anything else."""

    def __len__(self) -> int:
        return len(self.targets)


Sampler = Callable[[Population, Recipe, Any], Iterator[Any]]


def steps(population: Population, recipe: Recipe) -> int:
    """Steps of an epoch; raises TrainingError where the data set cannot fill one."""
    if recipe.steps_per_epoch is not None:
        return recipe.steps_per_epoch
    size = min(recipe.batch_size, len(population))
    if size == 0:
        raise TrainingError("the data set has no training sample")
    return -(-len(population) // size) if recipe.sampling in ("all", "lengths") else len(population) // size


def whole_batches(population: Population, recipe: Recipe, generator: Any) -> Iterator[Any]:
    """A new order, cut into batches of one size; what is left over stays out of this epoch."""
    order, size = _order(population, generator), min(recipe.batch_size, len(population))
    for step in range(len(population) // size):
        yield order[step * size : (step + 1) * size]


def all_samples(population: Population, recipe: Recipe, generator: Any) -> Iterator[Any]:
    """A new order, cut into batches, of which the last may be smaller."""
    yield from _order(population, generator).split(min(recipe.batch_size, len(population)))


def full_batch(population: Population, recipe: Recipe, generator: Any) -> Iterator[Any]:
    """Every sample in every step, in the order in which it lies: slices copy nothing."""
    for _ in range(steps(population, recipe)):
        yield slice(None)


def class_shares(targets: Any, recipe: Recipe, classes: int = 0) -> Any:
    """How often `by_class` draws each class: in proportion to its samples to the power `class_power`, 0 if not set."""
    counts = targets.bincount(minlength=classes).double()
    shares = counts.pow(float(recipe.options.get("class_power", 0.0))) * (counts > 0)
    return shares / shares.sum()


def by_class(population: Population, recipe: Recipe, generator: Any) -> Iterator[Any]:
    """A class drawn for each sample of a batch, uniformly or by `class_shares`, then one of its samples."""
    import torch

    device = population.targets.device
    order = population.targets.argsort(stable=True)
    counts = population.targets.bincount()
    first, present = counts.cumsum(0) - counts, counts.nonzero()[:, 0]
    shape = (steps(population, recipe), recipe.batch_size)
    if "class_power" in recipe.options:
        drawn = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
        classes = torch.searchsorted(class_shares(population.targets, recipe).cumsum(0), drawn).clamp_max(
            len(counts) - 1
        )
    else:
        classes = present[torch.randint(len(present), shape, generator=generator, device=device)]
    inside = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * counts[classes]
    yield from order[first[classes] + inside.long()]


def by_length(population: Population, recipe: Recipe, generator: Any) -> Iterator[Any]:
    """Batches of sequences of like length, in a new order: shuffled, sorted by length, cut, and the cuts shuffled."""
    import torch

    order = _order(population, generator)
    batches = order[population.lengths[order].argsort(stable=True)].split(min(recipe.batch_size, len(population)))
    for i in torch.randperm(len(batches), generator=generator, device=order.device).tolist():
        yield batches[i]


def _order(population: Population, generator: Any) -> Any:
    import torch

    return torch.randperm(len(population), generator=generator, device=population.targets.device)


SAMPLERS: Mapping[str, Sampler] = {
    "shuffle": whole_batches,
    "all": all_samples,
    "full": full_batch,
    "classes": by_class,
    "lengths": by_length,
}
