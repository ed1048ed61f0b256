"""Are the weights of an int8 file those of the float32 file it was made from, each at its nearest step?

Every quantised weight is scaled back and held against the float32 constant of its name: none may lie further off than
half a step (the quantiser names NAME's parts NAME_quantized, NAME_scale and NAME_zero_point, those of a bias
NAME_quantized_scale). The step itself must be the one that spans the weight, max|w| / 127 of a tensor or channel, and
that of a bias the product of its node's other two. What stayed in float32 must be the same to the bit. Scales of
activations come from calibration: beyond that product only the numbers speak for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.types import Json
from export.formats.onnx import graphs
from serve_bench.equivalence import stored

Array = npt.NDArray[np.generic]
QUANTISED = "_quantized"
SLACK = 1e-5
"""Of a step: the quantiser divides in float32."""
SPAN = 127
"""Steps from zero to the largest weight: the quantiser's symmetric int8."""
LEVELS = 255
"""Steps of a uint8."""
FULL = 2**30
"""Of an int32 bias."""


def compare(single: Path, path: Path) -> dict[str, Json]:
    """As `constants.compare`, for the int8 file `path` and the float32 ONNX file it was made from.

    Raises BundleCorrupt where a file cannot be read.
    """
    before, after = stored.read(single, "onnx"), stored.read(path, "onnx")
    axes, turned, sums = dict(_axes(path)), _turned(single, path), _sums(path, after)
    compared: list[str] = []
    mismatched: list[str] = []
    known: set[str] = set()
    for name, values in after.items():
        base = name.removesuffix(QUANTISED)
        if base == name:
            continue
        scale, zero = _part(after, name, "scale", known), _part(after, name, "zero_point", known)
        known.add(name)
        expected = before.get(base)
        if expected is not None and name in turned:
            expected = expected.T
        wrong = "is of no constant of the float32 file" if expected is None else ""
        if expected is not None:
            wrong = _difference(values, scale, zero, expected, axes.get(name, -1)) or _wrong_step(
                name, values, scale, zero, expected, axes.get(name, -1), sums
            )
        if wrong:
            mismatched.append(f"{base}: {name} {wrong}")
        else:
            compared.append(base)
    for name, values in after.items():
        if name in known or name not in before:
            continue
        expected = before[name].T if name in turned else before[name]
        if values.dtype == expected.dtype and values.shape == expected.shape and np.array_equal(values, expected):
            compared.append(name)
        else:
            mismatched.append(f"{name}: is not the float32 file's")
    unmatched = [n for n in after if n not in known and n not in before]
    lists = {"compared": compared, "mismatched": mismatched, "unmatched": unmatched}
    return {key: sorted(lists.get(key, [])) for key in ("compared", "folded", "mismatched", "unmatched", "absent")}


def _part(arrays: Mapping[str, Array], name: str, part: str, known: set[str]) -> Array | None:
    for candidate in (f"{name}_{part}", f"{name.removesuffix(QUANTISED)}_{part}"):
        if candidate in arrays:
            known.add(candidate)
            return arrays[candidate]
    return None


def _difference(values: Array, scale: Array | None, zero: Array | None, expected: Array, axis: int) -> str:
    """In words, at the worst element; empty where every one is at its nearest step."""
    if scale is None:
        return "has no scale"
    if values.shape != expected.shape:
        return f"has shape {list(values.shape)}, the float32 file's {list(expected.shape)}"
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = -1
    step = np.asarray(scale, np.float64).reshape(shape if scale.size > 1 else ())
    shift = 0.0 if zero is None else np.asarray(zero, np.float64).reshape(shape if zero.size > 1 else ())
    back = (np.asarray(values, np.float64) - shift) * step
    with np.errstate(all="ignore"):
        off = np.abs(back - np.asarray(expected, np.float64)) / step
    off = np.where((step == 0) & (back == expected), 0.0, off)
    worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(off), off, np.inf))), off.shape)
    if off[worst] <= 0.5 + SLACK + float(np.abs(values[worst])) * 2.0**-22:
        return ""
    index = tuple(int(i) for i in worst)
    return f"stands for {back[worst]:.6g} at {index}, where the float32 file has {expected[worst]!s}"


@dataclass(frozen=True)
class _Sum:
    """What a node adds its bias to: a product of input and weight, in steps of `step`."""

    weight: str
    bias: str
    values: Array
    """Of the bias, quantised."""
    step: Array


def _sums(path: Path, arrays: Mapping[str, Array]) -> list[_Sum]:
    """Of each node that takes a quantised input, weight and bias."""
    nodes = list(_nodes(path))
    back = {n.output[0]: n for n in nodes if n.op_type == "DequantizeLinear"}
    found = []
    for node in nodes:
        parts = [back.get(name) for name in node.input[:3]]
        if len(parts) < 3 or any(part is None or part.input[1] not in arrays for part in parts):
            continue
        given, weight, bias = (part for part in parts if part is not None)
        step = arrays[given.input[1]].astype(np.float64) * arrays[weight.input[1]].astype(np.float64)
        found.append(_Sum(weight.input[0], bias.input[0], arrays.get(bias.input[0], np.zeros(1)), step))
    return found


def _wrong_step(
    name: str, values: Array, scale: Array | None, zero: Array | None, expected: Array, axis: int, sums: list[_Sum]
) -> str:
    """In words, where a scale or zero point is not what the quantiser's rule makes of the weight; else empty."""
    assert scale is not None
    own = np.asarray(scale, np.float64).reshape(-1)
    if values.dtype == np.uint8:
        return _wrong_range(own, zero, expected)
    if zero is not None and np.any(zero):
        return "has a zero point that is not 0"
    if values.dtype == np.int32:
        steps = [np.broadcast_to(s.step, own.shape) for s in sums if s.bias == name]
        if steps and not any(_same(own, step) for step in steps):
            return "has a scale that is not the product of its node's input and weight scales"
        return ""
    rest = tuple(i for i in range(expected.ndim) if i != axis % expected.ndim)
    span = np.abs(expected.astype(np.float64)).max(rest if scale.size > 1 else None).reshape(-1) / SPAN
    own = np.where((span == 0) | (_full(name, own.shape, sums) & (own > span)), span, own)
    if _same(own, span):
        return ""
    worst = int(np.argmax(np.abs(own / np.where(span == 0, 1, span) - 1)))
    return f"has the scale {own[worst]:.9g} at {worst}, where its largest weight asks for {span[worst]:.9g}"


def _wrong_range(scale: Array, zero: Array | None, expected: Array) -> str:
    """As `_wrong_step`, of a uint8: it spans from the least to the largest value, zero among them."""
    low, high = min(float(expected.min()), 0.0), max(float(expected.max()), 0.0)
    step = (high - low) / LEVELS
    if not _same(scale, np.full(scale.shape, step)):
        return f"has the scale {scale[0]:.9g}, where its range asks for {step:.9g}"
    wanted = round(-low / step) if step else 0
    if zero is not None and np.any(zero != wanted):
        return f"has the zero point {int(zero.reshape(-1)[0])}, where its range asks for {wanted}"
    return ""


def _full(name: str, shape: tuple[int, ...], sums: list[_Sum]) -> Array:
    """Where a bias fills its int32: there the quantiser widens the weight's step until the bias fits."""
    full = np.zeros(shape, bool)
    for known in sums:
        if known.weight == name and known.values.size in (1, full.size):
            full |= np.abs(known.values.reshape(-1).astype(np.float64)) >= FULL
    return full


def _same(found: Array, expected: Array) -> bool:
    """The scales that the quantiser's one rounding makes of exact ones."""
    return found.shape == expected.shape and np.array_equal(found.astype(np.float32), expected.astype(np.float32))


def _turned(single: Path, path: Path) -> set[str]:
    """Weights of products that were a Gemm with a transposed weight: the quantiser turns them round."""
    gemms = (n for n in _nodes(single) if n.op_type == "Gemm" and any(a.name == "transB" and a.i for a in n.attribute))
    transposed = {name for n in gemms for name in (n.input[1], f"{n.input[1]}{QUANTISED}")}
    return {n.input[1] for n in _nodes(path) if n.op_type in ("MatMulInteger", "MatMul")} & transposed


def _nodes(path: Path) -> Iterator[Any]:
    import onnx

    for graph in graphs(onnx.load(str(path), load_external_data=False).graph):
        yield from graph.node


def _axes(path: Path) -> Iterator[tuple[str, int]]:
    """Axis of the channels of each quantised constant."""
    for node in _nodes(path):
        if node.op_type == "DequantizeLinear":
            yield node.input[0], next((int(a.i) for a in node.attribute if a.name == "axis"), 1)
