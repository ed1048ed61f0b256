"""Operations and least bytes of a model, counted from its ONNX graph. Nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.errors import UsageError
from serve_bench.equivalence.stored import unreadable
from serve_bench.latency._walk import NOTHING, Tensor, Walk


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one run of a model costs at least."""

    flops: int
    """Floating-point operations; a multiply-add is two."""
    operators: Mapping[str, int]
    """Of these, by operator type; those without arithmetic are left out."""
    weight_bytes: int
    """Every constant of floating-point numbers once; of one that is only gathered from, what is gathered."""
    input_bytes: int
    output_bytes: int
    intermediate_bytes: int
    """Of every tensor between two nodes once, as far as shapes are known: traffic that fusion and caches may spare."""
    unknown: Mapping[str, int]
    """Operator types that could not be counted, and how many of their nodes: `flops` lacks them."""

    @property
    def bytes(self) -> int:
        """The compulsory traffic: weights and inputs read once, outputs written once."""
        return self.weight_bytes + self.input_bytes + self.output_bytes

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations a byte of the compulsory traffic."""
        return self.flops / self.bytes if self.bytes else 0.0


def count(path: Path, batch: int, axes: Mapping[str, int] | None = None) -> Work:
    """The work of one run of `model.onnx` on `batch` samples; `axes` are the sizes of its other dynamic axes by name.

    Shapes are those of onnx.shape_inference after every dynamic axis has its size. A Scan's body counts as often as its
    sequence is long, a Loop's where the number of turns is a constant (it is taken to run them all), an If as its
    cheaper branch. Raises BundleCorrupt where the file is no ONNX, UsageError for a dynamic axis without a size.
    """
    return work_of(load(path), batch, axes or {}, path)


def load(path: Path) -> Any:
    """The ModelProto, its local functions written out; raises BundleCorrupt where the file is no ONNX."""
    import onnx
    from onnx import inliner

    try:
        model = onnx.load(str(path), load_external_data=False)
        return inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:
        raise unreadable(path, "onnx", error) from error


def work_of(model: Any, batch: int, axes: Mapping[str, int], path: Path) -> Work:
    """`count` of a model that was loaded already, which is left as it is."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    ends = {v.name: _fixed(v, batch, axes, path) for v in graph.input if v.name not in weights}
    walk = Walk(model)
    try:
        tally, found = walk.count(graph, ends, {})
    except (RuntimeError, ValueError, TypeError) as error:
        raise unreadable(path, "onnx", error, "its shapes cannot") from error
    return Work(
        flops=tally.flops.total(),
        operators=dict(sorted(tally.flops.items())),
        weight_bytes=tally.weight_bytes,
        input_bytes=sum(tensor.bytes for tensor in ends.values()),
        output_bytes=sum(found.get(v.name, NOTHING).bytes for v in graph.output),
        intermediate_bytes=tally.intermediate,
        unknown=dict(sorted(tally.unknown.items())),
    )


def dynamic_axes(model: Any) -> dict[str, tuple[str, int]]:
    """Names of the dynamic axes of a model's inputs, the batch apart: where each is first, as input and axis."""
    weights = {tensor.name for tensor in model.graph.initializer}
    found: dict[str, tuple[str, int]] = {}
    for value in (v for v in model.graph.input if v.name not in weights):
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if dim.dim_param and axis != _batch(dims):
                found.setdefault(dim.dim_param, (value.name, axis))
    return found


def _batch(dims: Any) -> int:
    """The axis of the batch: the one of that name, else the first."""
    names = [dim.dim_param for dim in dims]
    return names.index("batch") if "batch" in names else 0


def _fixed(value: Any, batch: int, axes: Mapping[str, int], path: Path) -> Tensor:
    """An input with a size for each axis; a first axis that is fixed is no batch."""
    dims = value.type.tensor_type.shape.dim
    shape = []
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value"):
            shape.append(dim.dim_value)
        elif axis == _batch(dims):
            shape.append(batch)
        elif dim.dim_param in axes:
            shape.append(axes[dim.dim_param])
        else:
            name = dim.dim_param or str(axis)
            raise UsageError(f"{path}: input {value.name!r} has a dynamic axis {name!r}: its size is needed to count")
    return Tensor(shape=tuple(shape), kind=value.type.tensor_type.elem_type)
