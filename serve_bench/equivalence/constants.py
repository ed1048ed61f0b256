"""Are the weights in a file those of the checkpoint, bit for bit? No torch, and nothing is executed.

A constant is accepted where its bits are a checkpoint tensor's (in the artifact's precision, rounded to nearest even),
where they are after a reshape or a permutation of axes, where it is made of whole blocks of checkpoint tensors (ONNX
reorders the gates of an LSTM), or where it is a folded batch norm within the bound of `folds`. The scalars in the graph
of a `.pt2` are those of `model.pt2`. A tensor that a layer
takes as it is and that is nowhere, though a constant of its shape stands unexplained, is mismatched and fails, and so
does a constant with the name and shape of a checkpoint tensor that is neither it nor its fold. What matches nothing and
resembles nothing is named as unmatched: only the numbers speak for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BundleCorrupt
from export.bundle.types import Json
from serve_bench.equivalence import scalars, stored
from serve_bench.equivalence.folds import Fold, Graph, folds, graph_of

Array = npt.NDArray[np.generic]
READABLE = ("exported_program", "torchscript", "onnx")
BLOCKS = (2, 3, 4, 6, 8, 12, 16)
"""Numbers of equal blocks that a constant is cut into: gates times directions."""
RESEMBLES = 0.5
"""Share of equal elements from which a constant is taken for a damaged copy."""


def compare(weights: Path, artifact: Path, form: str, precision: str, program: Path | None) -> dict[str, Json]:
    """Names under "compared", "folded", "mismatched", "unmatched", "absent"; sentences under "mismatched".

    `program` is the `.pt2` that says which weights are used and how batch norms are folded; without it all count as
    used. An empty dict where the precision has no bit form to compare (int8). Raises BundleCorrupt where a file cannot
    be read.
    """
    if precision not in ("float32", "float16", "bfloat16"):
        return {}
    checkpoint = stored.read(weights, "weights")
    found = stored.read(artifact, form)
    typed = {n: _typed(a, precision) for n, a in checkpoint.items()}
    if form == "exported_program":
        return _by_name(typed, found, _scalars(program, artifact) if program is not None else [])
    expected = {n: a for n, a in typed.items() if np.issubdtype(a.dtype, np.floating)}
    try:
        graph = graph_of(program) if program is not None else None
    except (KeyError, ValueError, TypeError) as error:
        raise BundleCorrupt(f"{program}: its graph cannot be read; export it again") from error
    graph = graph or Graph(frozenset(expected), frozenset(expected), ())
    constants = {n: a for n, a in found.items() if np.issubdtype(a.dtype, np.floating)}
    return _Comparison(expected, graph, folds(graph, expected, precision)).run(constants)


def _typed(array: Array, precision: str) -> Array:
    """A float32 tensor rounded to nearest even in `precision`; bfloat16 widened again, which is exact."""
    if array.dtype != np.float32:
        return array
    return bfloat16(array) if precision == "bfloat16" else array.astype(precision)


def bfloat16(array: Array) -> Array:
    """float32 rounded to bfloat16's 8 bits, nearest even, in float32; infinities and NaN stay."""
    words = array.astype(np.float32).view(np.uint32)
    near = (words + 0x7FFF + ((words >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(array), near.view(np.float32), array)


def why(found: Mapping[str, Json]) -> str:
    """The first mismatch as a sentence; empty where there is none."""
    wrong = found.get("mismatched") or []
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"constants differ from the checkpoint: {wrong[0]}{more}" if wrong else ""


def _scalars(program: Path, artifact: Path) -> list[str]:
    try:
        return scalars.differences(program, artifact)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BundleCorrupt(f"{artifact}: its graph cannot be read; export it again") from error


def _by_name(checkpoint: Mapping[str, Array], found: Mapping[str, Array], more: list[str]) -> dict[str, Json]:
    """`.pt2` keeps names, so each tensor must be there under its own, to the bit; `more` is wrong beside tensors."""
    wrong = [*more, *(f"{n}: is missing" for n in checkpoint if n not in found)]
    wrong += [_difference(n, n, found[n], a) for n, a in checkpoint.items() if n in found and not _same(found[n], a)]
    compared = [n for n, a in checkpoint.items() if n in found and _same(found[n], a)]
    return _report(compared=compared, mismatched=wrong, unmatched=[n for n in found if n not in checkpoint])


def _report(**lists: list[str]) -> dict[str, Json]:
    keys = ("compared", "folded", "mismatched", "unmatched", "absent")
    return {key: sorted(dict.fromkeys(lists.get(key, []))) for key in keys}


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _squeezed(array: Array) -> Array:
    return array.reshape([n for n in array.shape if n != 1])


def _difference(name: str, where: str, value: Array, expected: Array) -> str:
    """ "conv2.weight: 0.125 at (3, 0, 1, 1) of constants.2, where the checkpoint has 0.1251"."""
    if value.size != expected.size or value.dtype != expected.dtype:
        return (
            f"{name}: {where} is {value.dtype}{list(value.shape)}, "
            f"the checkpoint's is {expected.dtype}{list(expected.shape)}"
        )
    flat, right = value.reshape(-1), expected.reshape(-1)
    distance = np.abs(flat.astype(np.float64) - right.astype(np.float64))
    worst = int(np.argmax(np.where(np.isnan(distance), np.inf, distance)))
    index = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    return f"{name}: {flat[worst]!s} at {index} of {where!r}, where the checkpoint has {right[worst]!s}"


class _Comparison:
    """One artifact's constants against one checkpoint, both in the artifact's precision."""

    def __init__(self, expected: Mapping[str, Array], graph: Graph, folded: list[Fold]) -> None:
        self.expected, self.graph, self.folds = expected, graph, folded
        self.by_bytes: dict[bytes, list[str]] = {}
        for name, array in expected.items():
            self.by_bytes.setdefault(array.tobytes(), []).append(name)
        self.covered: set[str] = set()
        self.compared: list[str] = []
        self.folded: list[str] = []
        self.mismatched: list[str] = []

    def run(self, constants: Mapping[str, Array]) -> dict[str, Json]:
        open_ = {name: array for name, array in constants.items() if not self._accept(name, array)}
        for name, array in list(open_.items()):
            sentence = self._damaged(name, array)
            if sentence:
                self.mismatched.append(sentence)
                del open_[name]
        for key in sorted(self.graph.plain - self.covered):
            expected = self.expected.get(key)
            alike = [
                n
                for n, a in open_.items()
                if expected is not None and a.size == expected.size and self._shaped(a, expected)
            ]
            if expected is not None and alike:
                self.mismatched.append(_difference(key, alike[0], open_.pop(alike[0]), expected))
        literal = [n for n, a in open_.items() if a.size <= 1 or (a == a.reshape(-1)[0]).all()]
        absent = sorted((self.graph.used & set(self.expected)) - self.covered)
        return _report(
            compared=self.compared,
            folded=self.folded,
            mismatched=self.mismatched,
            unmatched=[n for n in open_ if n not in literal],
            absent=absent,
        )

    @staticmethod
    def _shaped(a: Array, b: Array) -> bool:
        return sorted(_squeezed(a).shape) == sorted(_squeezed(b).shape)

    def own_name(self, constant: str) -> str | None:
        """The checkpoint tensor that a constant is named after, whatever stands before its name."""
        parts = constant.split(".")
        names = (".".join(parts[i:]) for i in range(len(parts)))
        return next((n for n in names if n in self.expected), None)

    def _accept(self, name: str, array: Array) -> bool:
        own = self.own_name(name)
        if own is not None and array.tobytes() == self.expected[own].tobytes():
            return self._cover([own])
        fold = next((f for f in self.folds if self._is_fold(array, f)), None)
        if fold is not None:
            self.folded.append(fold.name)
            self.covered |= fold.covers
            return True
        if own is not None and self._permuted(array, self.expected[own]):
            return self._cover([own])
        if own is None:
            twins = self.by_bytes.get(array.tobytes(), [])
            if twins:
                return self._cover(twins)
            moved = [n for n, e in self.expected.items() if self._permuted(array, e)]
            if moved:
                return self._cover(moved)
            return self._made_of_blocks(array)
        return False

    def _cover(self, names: list[str]) -> bool:
        self.compared += names
        self.covered |= set(names)
        return True

    @staticmethod
    def _is_fold(array: Array, fold: Fold) -> bool:
        """Whether it is the fold, as it stands or with two axes swapped, within rounding."""
        flat = _squeezed(array)
        for value, bound in ((fold.value, fold.bound), (fold.value.T, fold.bound.T)):
            if _squeezed(value).shape == flat.shape and array.size:
                distance = np.abs(flat.astype(np.float64) - value.reshape(flat.shape))
                if bool((distance <= bound.reshape(flat.shape)).all()):
                    return True
        return False

    @staticmethod
    def _permuted(array: Array, expected: Array) -> bool:
        flat, wanted = _squeezed(array), _squeezed(expected)
        if sorted(flat.shape) != sorted(wanted.shape) or flat.dtype != wanted.dtype or not 2 <= flat.ndim <= 4:
            return False
        data = flat.tobytes()
        orders = itertools.permutations(range(flat.ndim))
        return any(
            tuple(wanted.shape[i] for i in o) == flat.shape and wanted.transpose(o).tobytes() == data for o in orders
        )

    def _made_of_blocks(self, array: Array) -> bool:
        """Whether it is whole blocks of checkpoint tensors, in any order; a block of one value says nothing."""
        for blocks, owners in self._owners(array):
            if blocks[0].size > 1 and len(blocks) == sum(o is not None for o in owners):
                return self._cover([n for o in owners if o for n in o])
        return False

    def _partly_blocks(self, name: str, array: Array) -> str:
        """The sentence on a constant most of whose blocks are the checkpoint's; a block of one value says nothing."""
        for blocks, owners in self._owners(array):
            hits = sum(o is not None and bool((b != b.flat[0]).any()) for b, o in zip(blocks, owners, strict=True))
            if hits * 2 > len(blocks):
                return f"{name}: {hits} of its {len(blocks)} blocks are the checkpoint's, the others are not"
        return ""

    def _owners(self, array: Array) -> Iterator[tuple[list[Array], list[list[str] | None]]]:
        """The constant's blocks, and for each the tensors that hold it."""
        for blocks in _cut(array):
            known = self._blocks(len(blocks[0]), blocks[0].shape[1:], array.dtype)
            yield blocks, [known.get(b.tobytes()) for b in blocks]

    def _blocks(self, rows: int, rest: tuple[int, ...], dtype: np.dtype[np.generic]) -> dict[bytes, list[str]]:
        found: dict[bytes, list[str]] = {}
        for name, array in self.expected.items():
            if array.ndim and array.shape[1:] == rest and len(array) % rows == 0 and array.dtype == dtype:
                for start in range(0, len(array), rows):
                    found.setdefault(array[start : start + rows].tobytes(), []).append(name)
        return found

    def _damaged(self, name: str, array: Array) -> str:
        """The sentence on a constant that is named after a tensor, or resembles one, and is not it; else empty."""
        own = self.own_name(name)
        fold = next((f for f in self.folds if self._nearly(array, f.value, f.bound)), None)
        if fold is not None:
            self.covered |= fold.covers
            return _difference(fold.name, name, array, fold.value.astype(array.dtype))
        if own is not None and (own in self.graph.plain or array.shape == self.expected[own].shape):
            self.covered.add(own)
            return _difference(own, name, array, self.expected[own])
        for key, expected in self.expected.items():
            if array.dtype == expected.dtype and self._nearly(array, expected, np.zeros(())):
                self.covered.add(key)
                return _difference(key, name, array, expected)
        return self._partly_blocks(name, array)

    @staticmethod
    def _nearly(array: Array, value: Array, bound: Array) -> bool:
        """Whether most elements are those of `value`, within `bound`."""
        if array.shape != value.shape or array.size < 4:
            return False
        distance = np.abs(array.astype(np.float64) - value.astype(np.float64))
        return float((distance <= bound).mean()) >= RESEMBLES


def _cut(array: Array) -> Iterator[list[Array]]:
    """The constant in equal blocks of rows: rows are its last axis, or its elements where only one axis is left."""
    flat = _squeezed(array)
    if flat.ndim == 0:
        return
    rows = flat.reshape(-1, *flat.shape[-1:]) if flat.ndim > 1 else flat
    for count in BLOCKS:
        if len(rows) % count == 0 and len(rows) >= count:
            yield np.split(rows, count)
