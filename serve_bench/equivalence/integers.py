"""Are the weights of an int8 file those of the float32 file it was made from, each at its nearest step?

Every quantised weight is scaled back and held against the float32 constant of its name: none may lie further off than
half a step (the quantiser names NAME's parts NAME_quantized, NAME_scale and NAME_zero_point, those of a bias
NAME_quantized_scale). What stayed in float32 must be the same to the bit. Scales of activations come from calibration:
only the numbers speak for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def compare(single: Path, path: Path) -> dict[str, Json]:
    """As `constants.compare`, for the int8 file `path` and the float32 ONNX file it was made from.

    Raises BundleCorrupt where a file cannot be read.
    """
    before, after = stored.read(single, "onnx"), stored.read(path, "onnx")
    axes, turned = dict(_axes(path)), _turned(single, path)
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
            wrong = _difference(values, scale, zero, expected, axes.get(name, -1))
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
    off = np.abs(back - np.asarray(expected, np.float64)) / step
    worst = np.unravel_index(int(np.argmax(np.where(np.isfinite(off), off, np.inf))), off.shape)
    if off[worst] <= 0.5 + SLACK + float(np.abs(values[worst])) * 2.0**-22:
        return ""
    index = tuple(int(i) for i in worst)
    return f"stands for {back[worst]:.6g} at {index}, where the float32 file has {expected[worst]!s}"


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
