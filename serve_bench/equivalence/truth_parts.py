"""Eager's own error in reduced precision, beside the float64 answers: a part of making the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import Preprocess, TensorSpec
from serve_bench._child import sample_count, slices
from serve_bench.backends._helpers import batch_axis, first_line
from serve_bench.equivalence import program
from serve_bench.equivalence.bands import relative
from serve_bench.equivalence.probes import model_ready

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
SUBSAMPLE_BATCHES = 16
"""Batches of each probe, its samples evenly spread, on which eager's error in float16 is taken: 1024 samples of a small
network, fewer of a large one, since CPUs without such arithmetic need a hundred times float32's time."""
REDUCED = ("float16", "bfloat16")
WHOLE = ("bfloat16",)
"""About as fast as float32, and coarse: a subsample misses the few samples whose error is three times all others'."""


@dataclass
class Pool:
    """What is known of one probe's answers for one output."""

    parts: list[Array] = field(default_factory=list)
    scale: float = 0.0
    distance: float = 0.0
    """max|y32 − y64| so far."""
    share_scale: float = 0.0
    """Largest probability so far, where the output chooses between classes; else 0."""
    share_distance: float = 0.0
    """The largest distance so far of eager's probabilities in float32 from those of float64."""


@dataclass(frozen=True)
class Reference:
    """The program, its documented inputs and outputs, and the functions that run it."""

    path: Path
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    preprocess: Preprocess

    def ready(self, arrays: Arrays, stored: bool) -> list[Array]:
        """Model-ready arrays in the order of the inputs; only the first input of the stored form is preprocessed."""
        steps = [self.preprocess if stored and i == 0 else Preprocess() for i in range(len(self.inputs))]
        return [model_ready(arrays[s.name], step, s.dtype) for s, step in zip(self.inputs, steps, strict=True)]


def lazily(reference: Reference, given: Arrays, batch: int) -> Iterator[tuple[Arrays, int]]:
    return slices(reference.inputs, given, batch)


def reduced_errors(
    reference: Reference,
    pool: Any,
    given: Mapping[str, Arrays],
    pools: Mapping[str, list[Pool]],
    batch: int,
    seconds: dict[str, float],
) -> tuple[dict[str, float], dict[str, str], dict[str, dict[str, int]]]:
    """Eager's error in float16 and bfloat16 by truth key; why a precision has none; samples taken by probe."""
    errors: dict[str, float] = {}
    absent: dict[str, str] = {}
    taken: dict[str, dict[str, int]] = {}
    for precision in REDUCED:
        started = time.perf_counter()
        call = program.caller(program.load(reference.path, precision), precision)
        found: dict[str, float] = {}
        counts: dict[str, int] = {}
        try:
            for probe, arrays in given.items():
                most = None if precision in WHOLE else SUBSAMPLE_BATCHES * batch
                values, counts[probe] = _distances(reference, pool, call, probe, arrays, pools[probe], batch, most)
                names = [f"{probe}/error/{precision}/{s.name}" for s in reference.outputs]
                found |= dict(zip(names, values, strict=True))
        except Exception as error:
            absent[precision] = f"eager cannot run in it: {first_line(error)}"
            continue
        overflowed = sorted(key for key, value in found.items() if not np.isfinite(value))
        errors |= {key: value for key, value in found.items() if np.isfinite(value)}
        taken[precision] = counts
        if overflowed:
            absent[precision] = f"eager gives NaN or Inf in it: {', '.join(overflowed)}"
        seconds[precision] = time.perf_counter() - started
    return errors, absent, taken


def _distances(
    reference: Reference,
    pool: Any,
    call: program.Call,
    probe: str,
    given: Arrays,
    pools: Sequence[Pool],
    batch: int,
    most: int | None,
) -> tuple[list[float], int]:
    """max|y − y64| / scale of each output, and over how many samples, at most `most`."""
    total = sample_count(reference.inputs, given)
    rows = np.linspace(0, total - 1, min(total, most or total)).astype(np.int64)
    few = {s.name: given[s.name].take(rows, axis=batch_axis(s) or 0) for s in reference.inputs}
    axes = [batch_axis(s) or 0 for s in reference.outputs]
    truths = [np.concatenate(p.parts, axis=a).take(rows, axis=a) for p, a in zip(pools, axes, strict=True)]
    largest, done = [0.0] * len(pools), 0

    def run(piece: tuple[Arrays, int]) -> tuple[list[Array], int]:
        return call(reference.ready(piece[0], stored=probe == "test")), piece[1]

    for answers, count in pool.map(run, lazily(reference, few, batch)):
        for i, axis in enumerate(axes):
            truth = truths[i].take(range(done, done + count), axis=axis)
            distance = np.abs(answers[i].take(range(count), axis=axis) - truth).max(initial=0.0)
            largest[i] = max(largest[i], float(distance)) if np.isfinite(distance) else float("inf")
        done += count
    return [relative(d, p.scale) for d, p in zip(largest, pools, strict=True)], done
