"""Directed search: inputs that drive a backend as far from float64 as they can be driven. Seeded.

Random and real inputs show the usual error. An evolution strategy with one parent and one child for each member of a
small population (Rechenberg 1973: the step grows where a fifth of the children win, else it shrinks) goes on from
them, inside the documented range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from export.bundle.errors import VerdictFailed
from export.bundle.types import LENGTHS, ProbeResult, TensorSpec
from serve_bench.equivalence import bands, judge
from serve_bench.equivalence.program import Callers
from serve_bench.equivalence.truth import Truth

Array = npt.NDArray[np.generic]
Difference = Callable[[Mapping[str, Array]], npt.NDArray[np.float64]]
"""How far the backend's answer to each sample is from float64's: (N,) from model-ready inputs by name."""
PROBE = "search"
STEPS = 200
POPULATION = 8
GROWS, SHRINKS = 1.5, 1.5**-0.25
"""Factors of the step for a child that wins and one that does not: in balance where one of five wins."""


def search(
    difference: Difference,
    start: Mapping[str, Array],
    specs: Sequence[TensorSpec],
    axes: Mapping[str, int],
    seed: int,
    steps: int = STEPS,
) -> tuple[dict[str, Array], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The population after `steps`, and its differences at the start and at the end, (N,) each.

    `start` holds the population: model-ready inputs by name, samples along `axes`. No member gets worse.
    """
    rng = np.random.default_rng(seed)
    members = {name: np.moveaxis(np.array(array), axes[name], 0) for name, array in start.items()}

    def measured(moved: Mapping[str, Array]) -> npt.NDArray[np.float64]:
        return difference({n: np.ascontiguousarray(np.moveaxis(a, 0, axes[n])) for n, a in moved.items()})

    best = first = measured(members)
    size = np.full(len(first), 0.3)
    for _ in range(steps):
        children = {s.name: _child(s, members[s.name], size, rng) for s in specs}
        found = measured(children)
        won = np.isfinite(found) & (found > best)
        for name, child in children.items():
            members[name][won] = child[won]
        best = np.where(won, found, best)
        size = np.clip(size * np.where(won, GROWS, SHRINKS), 1e-6, 1.0)
    return {n: np.ascontiguousarray(np.moveaxis(a, 0, axes[n])) for n, a in members.items()}, first, best


def _child(spec: TensorSpec, parents: Array, size: npt.NDArray[np.float64], rng: np.random.Generator) -> Array:
    """Each parent, a random share of its elements moved by its own step."""
    wide = size.reshape(-1, *[1] * (parents.ndim - 1))
    moved = rng.random(parents.shape) < np.maximum(wide, 0.05)
    if spec.name == LENGTHS:
        return parents.copy()
    if not np.issubdtype(parents.dtype, np.floating):
        low, high = int(spec.low or 0), int(spec.high or 0)
        drawn = rng.integers(low, high, parents.shape, endpoint=True)
        return np.where(moved, drawn, parents).astype(parents.dtype)
    values = parents.astype(np.float64)
    spread = values.std() or 1.0
    values = values + moved * wide * spread * rng.standard_normal(parents.shape)
    if spec.low is not None and spec.high is not None:
        values = np.clip(values, spec.low, spec.high)
    return values.astype(parents.dtype)


def of_backend(
    truth: Truth,
    specs: Sequence[TensorSpec],
    answer: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    callers: Callers,
    seed: int = 0,
) -> list[ProbeResult]:
    """A result an output on what the search finds for one float32 backend; none where there is nothing to start from.

    The scale is at least that of the class it starts from. The reference is eager's own error where the same search has
    driven eager, or that of any class where it is larger: a driven backend beside an undriven eager failed
    where nothing was wrong (`mnist-logistic`, 9.7 times an undriven eager's error).
    """
    source = next((p for p in ("gaussian", "uniform") if p in truth.probes), None)
    axes = truth.meta["input_axes"]
    if source is None or truth.samples(source) < POPULATION:
        return []
    start = {n: a.take(range(POPULATION), axis=axes[n]) for n, a in truth.inputs(source).items()}
    scales = {name: truth.scale(source, name) for name in truth.output_names}

    def wide(inputs: Mapping[str, Array], dtype: str = "float64") -> dict[str, Array]:
        return dict(zip(truth.output_names, callers(dtype, [inputs[s.name] for s in specs]), strict=False))

    def driven(backend: Callable[[Mapping[str, Array]], Mapping[str, Array]]) -> dict[str, Array]:
        def difference(inputs: Mapping[str, Array]) -> npt.NDArray[np.float64]:
            here, there = backend(inputs), wide(inputs)
            off = [_by_sample(truth, name, here[name], there[name]) / (s or 1.0) for name, s in scales.items()]
            return np.asarray(np.max(off, 0))

        return search(difference, start, specs, axes, seed)[0]

    found, eagers = driven(answer), callers.kept("search", lambda: driven(lambda i: wide(i, "float32")))
    here, there, eager, eager_wide = answer(found), wide(found), wide(eagers, "float32"), wide(eagers)
    results = []
    for name in truth.output_names:
        y64 = np.asarray(there[name], np.float64)
        scale = max(scales[name], bands.pooled_scale(y64))
        known = [truth.reference(p, "float32", name) for p in truth.probes]
        own = bands.error(eager[name], np.asarray(eager_wide[name], np.float64), scale)
        reference = max([own.value, *(e for e in known if e is not None)])
        results.append(judge.result(PROBE, name, POPULATION, bands.error(here[name], y64, scale), "float32", reference))
    return results


def _by_sample(truth: Truth, name: str, here: Array, there: Array) -> npt.NDArray[np.float64]:
    if here.shape != there.shape:
        raise VerdictFailed(f"probe {PROBE!r}, output {name!r}: has shape {list(here.shape)}, not {list(there.shape)}")
    distance = np.abs(here.astype(np.float64) - there.astype(np.float64))
    return np.asarray(np.moveaxis(distance, truth.output_axis(name), 0).reshape(len(there), -1).max(1))
