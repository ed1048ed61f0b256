"""The inputs that artifacts are asked besides the real test set. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.bundle.types import LENGTH, LENGTHS, Preprocess, TensorSpec

Array = npt.NDArray[np.generic]
SAMPLES = 256
"""Most samples of a random probe."""
OF_EACH_LENGTH = 4
SPECIAL = (
    ("NaN in one place", np.nan, False),
    ("NaN throughout", np.nan, True),
    ("infinity in one place", np.inf, False),
    ("minus infinity in one place", -np.inf, False),
)
"""What a model is asked that no model answers with a number: how a backend takes it is said, never judged."""
SUBNORMAL = np.array([2.0**-149, -(2.0**-130), 2.0**-127])
"""Of float32: the smallest number, and two larger ones."""


def model_ready(stored: Array, preprocess: Preprocess, dtype: str) -> npt.NDArray[np.generic]:
    """The stored form as the model takes it: ((float32(x) · scale) − mean) / std, each step rounded to float32.

    An input of an integer type is only cast: tokens and lengths are never scaled.
    """
    if not np.issubdtype(np.dtype(dtype), np.floating) or preprocess.identity:
        return np.ascontiguousarray(stored, dtype=dtype)
    value = np.multiply(stored.astype(np.float32), np.float32(preprocess.scale))
    value -= np.float32(preprocess.mean)
    value /= np.float32(preprocess.std)
    return np.ascontiguousarray(value, dtype=dtype)


def synthetic(
    specs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    axes: Mapping[str, int],
    seed: int,
    count: int = SAMPLES,
    ranges: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[dict[str, dict[str, Array]], dict[str, str]]:
    """Probes by name ("gaussian", "uniform", "constant"), each model-ready inputs by name; and why others are skipped.

    `samples` are model-ready real inputs, of which mean, spread and the length of free axes are taken; `axes` says
    along which axis each input counts samples; random probes have `count`. Integer inputs are only ever drawn inside a
    documented range. Where `ranges` gives one of the axis "length", the probe "lengths" has samples of every length in
    it, padded to the largest.
    """
    specs = [_within(spec, specs, samples) for spec in specs]
    found: dict[str, dict[str, Array]] = {}
    skipped: dict[str, str] = {}
    integers = [s.name for s in specs if not _floating(s)]
    unbounded_integers = [s.name for s in specs if not _floating(s) and not _bounded(s)]
    unbounded = [s.name for s in specs if not _bounded(s)]
    shapes = {s.name: _shape(samples[s.name], axes[s.name], count) for s in specs}
    rng = np.random.default_rng(seed)
    if unbounded_integers:
        skipped["gaussian"] = f"the range of the integer input {unbounded_integers[0]!r} is not documented"
    elif len(integers) == len(specs):
        skipped["gaussian"] = "every input is of an integer type"
    else:
        found["gaussian"] = {
            s.name: _gaussian(s, samples[s.name], shapes[s.name], rng)
            if _floating(s)
            else _uniform(s, shapes[s.name], rng)
            for s in specs
        }
    if unbounded:
        skipped["uniform"] = f"the range of input {unbounded[0]!r} is not documented"
    else:
        found["uniform"] = {s.name: _uniform(s, shapes[s.name], rng) for s in specs}
    if unbounded_integers:
        skipped["constant"] = skipped["gaussian"]
    else:
        found["constant"] = {s.name: _constant(s, samples[s.name], axes[s.name]) for s in specs}
    lengths = (ranges or {}).get(LENGTH)
    if lengths is not None and LENGTHS in samples and not unbounded_integers:
        found[LENGTHS] = _every_length(specs, samples, axes, rng, *lengths)
    return found, skipped


def _within(spec: TensorSpec, specs: Sequence[TensorSpec], samples: Mapping[str, Array]) -> TensorSpec:
    """Lengths reach no further than the sequences do."""
    ends = [samples[s.name].shape[s.shape.index(LENGTH)] for s in specs if LENGTH in s.shape]
    if spec.name != LENGTHS or spec.high is None or not ends:
        return spec
    return replace(spec, high=min(spec.high, *ends))


def _every_length(
    specs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    axes: Mapping[str, int],
    rng: np.random.Generator,
    low: int,
    high: int,
) -> dict[str, Array]:
    """Samples of each length from `low` to `high`, in order; what stands behind their ends is as random as the rest."""
    lengths = np.repeat(np.arange(low, high + 1), OF_EACH_LENGTH)
    found: dict[str, Array] = {}
    for s in specs:
        shape = list(_shape(samples[s.name], axes[s.name], len(lengths)))
        if LENGTH in s.shape:
            shape[s.shape.index(LENGTH)] = high
        draw = _uniform(s, tuple(shape), rng) if not _floating(s) else _gaussian(s, samples[s.name], tuple(shape), rng)
        found[s.name] = lengths.astype(s.dtype) if s.name == LENGTHS else draw
    return found


def cut_by_length(
    arrays: Mapping[str, Array], batch_axes: Mapping[str, int], length_axes: Mapping[str, int]
) -> Iterator[dict[str, Array]]:
    """The same samples, those of one length at a time and without padding; `arrays` stand in order of their lengths."""
    for length in np.unique(arrays[LENGTHS]):
        rows = np.flatnonzero(arrays[LENGTHS] == length)
        piece = {n: a.take(rows, axis=batch_axes[n]) for n, a in arrays.items()}
        yield {n: a.take(range(length), axis=length_axes[n]) if n in length_axes else a for n, a in piece.items()}


def with_special_values(
    specs: Sequence[TensorSpec], one: Mapping[str, Array], axes: Mapping[str, int]
) -> dict[str, Array]:
    """The model-ready sample `one` again and again, each time with one of SPECIAL; empty without a floating input."""
    target = next((s for s in specs if _floating(s) and one[s.name].size), None)
    if target is None:
        return {}
    found = {n: np.repeat(a, len(SPECIAL), axis=axes[n]) for n, a in one.items()}
    for place, (_, value, whole) in enumerate(SPECIAL):
        part = np.moveaxis(found[target.name], axes[target.name], 0)[place]
        part[...] = np.where(whole | (np.arange(part.size) == part.size // 2).reshape(part.shape), value, part)
    return found


def _floating(spec: TensorSpec) -> bool:
    return bool(np.issubdtype(np.dtype(spec.dtype), np.floating))


def _bounded(spec: TensorSpec) -> bool:
    return spec.low is not None and spec.high is not None


def _shape(array: Array, axis: int, count: int) -> tuple[int, ...]:
    return (*array.shape[:axis], count, *array.shape[axis + 1 :])


def _gaussian(spec: TensorSpec, real: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """N(0, 1) at the mean and spread of the real inputs."""
    values = real.astype(np.float64)
    spread = float(values.std()) or 1.0
    return (rng.standard_normal(shape) * spread + float(values.mean())).astype(spec.dtype)


def _uniform(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    assert spec.low is not None
    assert spec.high is not None
    if _floating(spec):
        return rng.uniform(spec.low, spec.high, shape).astype(spec.dtype)
    return rng.integers(int(spec.low), int(spec.high), shape, dtype=np.int64, endpoint=True).astype(spec.dtype)


def _constant(spec: TensorSpec, real: Array, axis: int) -> Array:
    """Zeros, ones, and the two ends of the documented range (of the real inputs' where there is none).

    Of a floating-point input also numbers below the normal range of float32, where a processor may flush to zero.
    """
    low, high = (spec.low, spec.high) if _bounded(spec) else (float(real.min()), float(real.max()))
    assert low is not None
    assert high is not None
    levels = np.array([0.0, 1.0, low, high])
    levels = np.concatenate([levels, SUBNORMAL]) if _floating(spec) else np.clip(levels, low, high)
    shape = [1] * real.ndim
    shape[axis] = len(levels)
    return np.broadcast_to(levels.reshape(shape), _shape(real, axis, len(levels))).astype(spec.dtype)
