"""Latency against the length of the sequences that a model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from export.bundle.types import LENGTH, LENGTHS, TensorSpec
from serve_bench.backends._helpers import batch_axis
from serve_bench.latency.sweeps._series import Step, Taker, batches_of, doublings, end_rest, written
from serve_bench.latency.sweeps._types import Asked, SweepPoint

Array = npt.NDArray[np.generic]


def sequence_axis(specs: Sequence[TensorSpec]) -> str | None:
    """The name of the axis that is neither the batch nor fixed: "length" where there is one, else the first."""
    free = [
        size
        for spec in specs
        for place, size in enumerate(spec.shape)
        if isinstance(size, str) and place != batch_axis(spec)
    ]
    return LENGTH if LENGTH in free else next(iter(free), None)


def longest(specs: Sequence[TensorSpec], samples: Mapping[str, Array]) -> int:
    """The documented maximum of the input `lengths`; without one, what the longest real sample has."""
    documented = next((int(s.high) for s in specs if s.name == LENGTHS and s.high is not None), None)
    axis = sequence_axis(specs)
    real = (samples[s.name].shape[s.shape.index(axis)] for s in specs if axis in s.shape)
    return documented or int(max(real))


def of_length(specs: Sequence[TensorSpec], samples: Mapping[str, Array], length: int) -> dict[str, Array]:
    """Every sample cut or repeated to `length` along the sequence axis, by input; `lengths` says so.

    What is repeated is the sample without its padding: its first `lengths[i]` elements, or all of them where the model
    has no such input.
    """
    axis = sequence_axis(specs)
    real = samples.get(LENGTHS) if any(s.name == LENGTHS for s in specs) else None
    return {s.name: _fitted(s, samples[s.name], axis, real, length) for s in specs}


def _fitted(spec: TensorSpec, array: Array, axis: str | None, real: Array | None, length: int) -> Array:
    if spec.name == LENGTHS and axis not in spec.shape:
        return np.full_like(array, length)
    if axis not in spec.shape:
        return array
    places = (batch_axis(spec) or 0, spec.shape.index(axis))
    rows = np.moveaxis(array, places, (0, 1))
    ends = [rows.shape[1]] * len(rows) if real is None else [max(int(n), 1) for n in np.ravel(real)]
    fitted = np.stack([row[np.arange(length) % end] for row, end in zip(rows, ends, strict=True)])
    return np.ascontiguousarray(np.moveaxis(fitted, (0, 1), places))


class Length:
    name = "length"
    axis = "length"
    compared = ""
    legend = (
        "Real samples cut or repeated to each length, up to the documented maximum, all sequences of a batch of one "
        "length. How long a sequence is says nothing here of how well it is answered."
    )

    def refuses(self, inputs: Sequence[TensorSpec]) -> str | None:
        if sequence_axis(inputs) is not None:
            return None
        shapes = ", ".join(f"{s.name} ({', '.join(map(str, s.shape))})" for s in inputs)
        return f"this model has no sequence axis: its inputs are {shapes}"

    def base(self, point: SweepPoint, points: Sequence[SweepPoint]) -> SweepPoint | None:
        return None

    def run(self, asked: Asked) -> list[SweepPoint]:
        specs = asked.bundle.manifest.inputs
        most = longest(specs, asked.samples)
        steps = [
            Step(
                inputs=written(asked, of_length(specs, asked.samples, n), f"length-{n}"),
                threads=asked.threads,
                length=n,
            )
            for n in doublings(1, most)
        ]
        taker = Taker(asked)
        series = taker.open(batches_of(asked), steps[0])
        taker.take(series, steps, asked.budget_s)
        end_rest(series, f"longest documented ({most})")
        return taker.records(self.name, series)


ENTRIES = (Length(),)
