"""What exporters compute from a checkpoint: batch norms folded into the layer before them, recomputed in float64.

Bounds. In arithmetic with unit roundoff u, with γ_k = ku / (1 − ku) (Higham 2002, §3.1), and s = γ / √(σ² + ε):
the sum, root, quotient (or reciprocal root and product) and the rounding of ε itself leave at most 5 factors (1 + δ),
|δ| ≤ u, on s, so a folded weight w·s is within γ_6 · |w·s|. A folded bias β + (b − μ)·s, evaluated in any order, is
within γ_8 · (|β| + (|b| + |μ|)·|s|). Below the normal range of float16 an operation loses up to 2^-25 instead, which is
added: relative to σ² + ε for s, and four times for each result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve_bench.equivalence.bands import UNIT_ROUNDOFF
from serve_bench.equivalence.stored import program_module

Array = npt.NDArray[np.generic]
Float64 = npt.NDArray[np.float64]
LAYERS = ("conv", "linear", "addmm", "mm", "matmul", "lstm", "gru", "rnn", "embedding", "norm", "prelu", "scan")
"""Operators that take a weight as it is, by a part of their name."""
DERIVING = ("weight_norm",)


@dataclass(frozen=True)
class BatchNorm:
    """One batch norm of the graph, by names in the checkpoint."""

    name: str
    weight: str | None
    bias: str | None
    mean: str
    variance: str
    epsilon: float
    layer_weight: str | None
    """Of the convolution or linear layer whose answer it takes; None where there is none."""
    layer_bias: str | None
    axis: int
    """Of the layer's weight that counts its outputs."""


@dataclass(frozen=True)
class Graph:
    """What `model.pt2` says about the use of its weights."""

    used: frozenset[str]
    plain: frozenset[str]
    """Taken as they are by every operator that takes them."""
    batch_norms: tuple[BatchNorm, ...]


@dataclass(frozen=True)
class Fold:
    """A constant as an exporter may have computed it."""

    name: str
    """ "conv1.weight with bn1"."""
    key: str
    """The checkpoint tensor that it takes the place of."""
    covers: frozenset[str]
    value: Float64
    bound: Float64
    """Largest difference that rounding explains, element by element."""


def graph_of(program: Path) -> Graph:
    """Read from the JSON inside `.pt2`; nothing is executed."""
    module = program_module(program)
    names = dict(_names(module["signature"]["input_specs"]))
    nodes = module["graph"]["nodes"]
    made_by = {o["as_tensor"]["name"]: n for n in nodes for o in n["outputs"] if "as_tensor" in o}
    used: set[str] = set()
    changed: set[str] = set()
    for node in nodes:
        operator = node["target"].rsplit("ops.", 1)[-1]
        takes = {names[t] for t in _tensor_names(node["inputs"]) if t in names}
        used |= takes
        if not any(word in operator for word in LAYERS) or any(word in operator for word in DERIVING):
            changed |= takes
    norms = tuple(_batch_norm(n, names, made_by) for n in nodes if "batch_norm" in n["target"])
    return Graph(frozenset(used), frozenset(used - changed), norms)


def _names(specs: list[Any]) -> Iterator[tuple[str, str]]:
    for spec in specs:
        for kind, key in (("parameter", "parameter_name"), ("buffer", "buffer_name")):
            if kind in spec:
                yield spec[kind]["arg"]["name"], spec[kind][key]


def _tensor_names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _tensor_names(item)
    elif isinstance(value, dict):
        if isinstance(value.get("as_tensor"), dict):
            yield value["as_tensor"]["name"]
        for key, item in value.items():
            if key == "as_tensors":
                yield from (t["name"] for t in item)
            elif key != "as_graph":
                yield from _tensor_names(item)


def _batch_norm(node: Any, names: Mapping[str, str], made_by: Mapping[str, Any]) -> BatchNorm:
    arguments = {a["name"]: a["arg"] for a in node["inputs"]}
    layer = made_by.get(arguments["input"].get("as_tensor", {}).get("name"))
    inner = {a["name"]: a["arg"] for a in layer["inputs"]} if layer else {}
    folds = layer is not None and any(word in layer["target"] for word in ("conv", "linear"))
    mean = names.get(_name(arguments["running_mean"]) or "", "")
    return BatchNorm(
        name=mean.rpartition(".")[0],
        weight=names.get(_name(arguments["weight"]) or ""),
        bias=names.get(_name(arguments["bias"]) or ""),
        mean=mean,
        variance=names.get(_name(arguments["running_var"]) or "", ""),
        epsilon=float(arguments["eps"]["as_float"]),
        layer_weight=names.get(_name(inner.get("weight")) or "") if folds else None,
        layer_bias=names.get(_name(inner.get("bias")) or "") if folds else None,
        axis=1 if layer is not None and "transpose" in layer["target"] else 0,
    )


def _name(argument: Any) -> str | None:
    found = (argument or {}).get("as_tensor")
    return found["name"] if found else None


def folds(graph: Graph, checkpoint: Mapping[str, Array], precision: str) -> list[Fold]:
    """Every constant that folding the graph's batch norms can give, from `checkpoint` in the artifact's precision."""
    found: list[Fold] = []
    for norm in graph.batch_norms:
        if norm.mean in checkpoint and norm.variance in checkpoint:
            found += _folds(norm, checkpoint, precision)
    return found


def _folds(norm: BatchNorm, checkpoint: Mapping[str, Array], precision: str) -> Iterator[Fold]:
    def get(name: str | None, default: float) -> Float64:
        return np.full(mean.shape, default) if name is None else checkpoint[name].astype(np.float64)

    u, tiny = UNIT_ROUNDOFF[precision], 2.0**-25 if precision == "float16" else 0.0
    mean, variance = (checkpoint[n].astype(np.float64) for n in (norm.mean, norm.variance))
    gain, shift, bias = get(norm.weight, 1.0), get(norm.bias, 0.0), get(norm.layer_bias, 0.0)
    scale = gain / np.sqrt(variance + norm.epsilon)
    loose = tiny / (variance + norm.epsilon)
    g6, g8 = (k * u / (1 - k * u) + loose for k in (6, 8))
    scaled = frozenset(n for n in (norm.weight, norm.variance) if n)
    shifted = frozenset(n for n in (norm.bias, norm.mean, norm.layer_bias) if n)
    if norm.layer_weight is not None and norm.layer_weight in checkpoint:
        weight = checkpoint[norm.layer_weight].astype(np.float64)
        shape = [1] * weight.ndim
        shape[norm.axis] = len(scale) if weight.shape[norm.axis] == len(scale) else 1
        if shape[norm.axis] == len(scale):
            value = weight * scale.reshape(shape)
            bound = np.abs(value) * g6.reshape(shape) + 4 * tiny
            name = f"{norm.layer_weight} with {norm.name}"
            yield Fold(name, norm.layer_weight, scaled | {norm.layer_weight}, value, bound)
    value = shift + (bias - mean) * scale
    bound = g8 * (np.abs(shift) + (np.abs(bias) + np.abs(mean)) * np.abs(scale)) + 4 * tiny
    yield Fold(f"{norm.name}: folded bias", norm.layer_bias or norm.bias or norm.mean, shifted, value, bound)
    yield Fold(f"{norm.name}: scale", norm.weight or norm.variance, scaled, scale, np.abs(scale) * g6 + 4 * tiny)
    if norm.layer_bias is not None:
        alone = shift - mean * scale
        bound = g8 * (np.abs(shift) + np.abs(mean * scale)) + 4 * tiny
        yield Fold(f"{norm.name}: shift", norm.bias or norm.mean, shifted - {norm.layer_bias}, alone, bound)
