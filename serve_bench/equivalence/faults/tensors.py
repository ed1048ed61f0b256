"""Faults of one tensor: a weight that is damaged, rounded or wrongly laid out. In every form that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve_bench.equivalence import stored
from serve_bench.equivalence.constants import bfloat16
from serve_bench.equivalence.faults._base import Fault, Subject
from serve_bench.equivalence.integers import QUANTISED

Array = npt.NDArray[Any]
Change = Callable[[Array, np.random.Generator], "tuple[str, Array] | None"]
"""What was done, in words, and the changed tensor; None where the tensor cannot have the fault."""
STEPS = (2, 3, 4, 5, 6)
"""A single weight is scaled by 1 ± 10^-k."""


def _one(array: Array, rng: np.random.Generator, at: Callable[[Array], Array]) -> tuple[tuple[int, ...], Array] | None:
    """An index where `at` is true, and a copy to change."""
    places = np.argwhere(at(array))
    if not len(places):
        return None
    return tuple(int(i) for i in places[rng.integers(len(places))]), array.copy()


def _nonzero(array: Array) -> Array:
    return np.asarray(array != 0)


def scaled_weight(array: Array, rng: np.random.Generator, factor: float) -> tuple[str, Array] | None:
    found = _one(array, rng, _nonzero)
    if found is None:
        return None
    where, copy = found
    copy[where] = array[where].astype(np.float64) * factor
    return f"{where} × {factor:.6g}", copy


def zeroed(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    found = _one(array, rng, _nonzero)
    if found is None:
        return None
    where, copy = found
    copy[where] = 0
    return f"{where} = 0", copy


def neighbours(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    flat = array.reshape(-1)
    places = np.flatnonzero(flat[1:] != flat[:-1])
    if not len(places):
        return None
    first = int(rng.choice(places))
    copy = flat.copy()
    copy[[first, first + 1]] = copy[[first + 1, first]]
    return f"elements {first} and {first + 1} swapped", copy.reshape(array.shape)


def sign(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    found = _one(array, rng, _nonzero)
    if found is None:
        return None
    where, copy = found
    copy[where] = -array[where]
    return f"{where} negated", copy


def stepped(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    """An integer that stands for the next step of its range."""
    found = _one(array, rng, lambda a: a < np.iinfo(a.dtype).max)
    if found is None:
        return None
    where, copy = found
    copy[where] += 1
    return f"{where} + 1", copy


def bit(array: Array, rng: np.random.Generator, position: int) -> tuple[str, Array] | None:
    bits = 8 * array.dtype.itemsize
    found = _one(array, rng, _nonzero)
    if found is None or position >= bits:
        return None
    where, copy = found
    words = copy.view(f"u{array.dtype.itemsize}")
    words[where] ^= words.dtype.type(1 << position)
    return f"bit {position} of {where}", copy


def scaled(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    factor = 1 + float(rng.choice([1e-3, 1e-2, 1e-1]))
    return f"all × {factor:g}", (array.astype(np.float64) * factor).astype(array.dtype)


def rounded(array: Array, rng: np.random.Generator, to: str) -> tuple[str, Array] | None:
    if to == "float16":
        narrow = array.astype(np.float16).astype(array.dtype)
    elif to == "bfloat16":
        narrow = bfloat16(array).astype(array.dtype)
    else:
        step = float(np.abs(array).max()) / 127
        narrow = (np.round(array.astype(np.float64) / step) * step).astype(array.dtype) if step else array
    return f"rounded to {to}", narrow


def transposed(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    if array.ndim != 2 or array.shape[0] != array.shape[1] or len(array) < 2:
        return None
    return "transposed", np.ascontiguousarray(array.T)


def permuted(array: Array, rng: np.random.Generator) -> tuple[str, Array] | None:
    if array.ndim < 1 or len(array) < 2:
        return None
    first, second = sorted(int(i) for i in rng.choice(len(array), 2, replace=False))
    copy = array.copy()
    copy[[first, second]] = array[[second, first]]
    return f"channels {first} and {second} swapped", copy


LAYOUT: list[tuple[str, Change]] = [
    ("element zeroed", zeroed),
    ("neighbours swapped", neighbours),
    ("sign flipped", sign),
    *[("bit flipped", partial(bit, position=i)) for i in range(32)],
    ("square matrix transposed", transposed),
    ("channels permuted", permuted),
]
CHANGES: list[tuple[str, Change]] = [
    *[
        (f"single weight × (1 ± 1e-{k})", partial(scaled_weight, factor=1 + sign_ * 10.0**-k))
        for k in STEPS
        for sign_ in (1, -1)
    ],
    *LAYOUT,
    ("tensor scaled", scaled),
    *[(f"tensor rounded to {to}", partial(rounded, to=to)) for to in ("float16", "bfloat16", "int8")],
]
STEPPED: list[tuple[str, Change]] = [("quantised weight off by a step", stepped), *LAYOUT]
"""Of integers that stand for weights."""


@dataclass(frozen=True)
class Tensors:
    """For each change, as many tensors as the limit allows, drawn anew: every tensor has its turn."""

    name: str = "tensors"

    def faults(self, subject: Subject) -> Iterator[Fault]:
        if subject.artifact.stored_as not in stored.WRITABLE:
            return
        everything = stored.read(subject.path, subject.artifact.stored_as)
        yield from _some(subject, {n: a for n, a in everything.items() if _weighs(a)}, CHANGES)
        yield from _some(subject, {n: a for n, a in everything.items() if n.endswith(QUANTISED)}, STEPPED)
        if subject.artifact.precision == "int8":
            scales = {n: a for n, a in everything.items() if n.endswith("_scale") and a.size == 1}
            yield from _some(
                subject, scales, [("scale off by a tenth", lambda a, _: ("× 1.1", (a * 1.1).astype(a.dtype)))]
            )


def _weighs(array: Array) -> bool:
    return array.dtype in (np.float32, np.float16) and array.size > 1


def _some(subject: Subject, arrays: dict[str, Array], changes: list[tuple[str, Change]]) -> Iterator[Fault]:
    for kind, change in changes:
        limit = 1 if kind == "bit flipped" else subject.limit
        found = 0
        for name in subject.rng.permutation(list(arrays)):
            if found == limit:
                break
            made = change(arrays[name], subject.rng)
            if made is not None and subject.artifact.precision == "bfloat16":
                made = made[0], bfloat16(made[1]).astype(np.float32)
            if made is None or made[1].tobytes() == arrays[name].tobytes():
                continue
            found += 1
            words, array = made
            yield Fault(
                kind=kind,
                name=f"{name} {words}",
                tensor=str(name),
                write=partial(_replace, subject.path, subject.artifact.stored_as, str(name), array),
            )


def _replace(path: Path, form: str, name: str, array: Array, destination: Path) -> None:
    stored.replace_tensors(path, form, {name: array}, destination)


@dataclass(frozen=True)
class Stale:
    """Every weight from another training: each tensor moved by a hundredth of its own spread."""

    name: str = "stale"

    def faults(self, subject: Subject) -> Iterator[Fault]:
        if subject.artifact.stored_as not in stored.WRITABLE:
            return
        arrays: dict[str, Array] = dict(stored.read(subject.path, subject.artifact.stored_as))
        rounding = bfloat16 if subject.artifact.precision == "bfloat16" else np.asarray
        moved = {
            name: rounding(
                (array + 0.01 * (float(array.std()) or 1.0) * subject.rng.standard_normal(array.shape)).astype(
                    array.dtype
                )
            )
            for name, array in arrays.items()
            if _weighs(array)
        }
        if moved:
            write = partial(stored.replace_tensors, subject.path, subject.artifact.stored_as, moved)
            yield Fault(kind="stale weights", name="every weight of another training", write=write)


ENTRIES = (Tensors(), Stale())
