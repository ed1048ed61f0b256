"""Walks an ONNX graph and its bodies: shapes by inference, operations and traffic of every node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from serve_bench.latency._operations import VIEWS, Call, Shape, Unknown, operations

OWN_DOMAINS = ("", "ai.onnx")
SMALL = 64
"""Constants of at most so many numbers stay in the graph: shapes are inferred from them."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    shape: Shape | None
    kind: int
    """TensorProto.DataType; 0 where it is not known."""
    constant: bool = False
    """Whether the file holds its numbers."""

    @property
    def floating(self) -> bool:
        from onnx import TensorProto as T

        return self.kind in (0, T.FLOAT, T.FLOAT16, T.BFLOAT16, T.DOUBLE)

    @property
    def bytes(self) -> int:
        """0 where the shape is not known."""
        from onnx.helper import tensor_dtype_to_np_dtype

        known = self.shape is not None and self.kind
        return prod(self.shape or ()) * int(tensor_dtype_to_np_dtype(self.kind).itemsize) if known else 0


NOTHING = Tensor(shape=None, kind=0)
Scope = Mapping[str, Tensor]


@dataclass
class Tally:
    """What a graph costs, its subgraphs included."""

    flops: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    intermediate: int = 0
    whole: dict[str, int] = field(default_factory=dict)
    """Bytes of weights that are read as a whole, by name."""
    gathered: Counter[str] = field(default_factory=Counter)
    """Bytes gathered from weights, by name."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of the weights in `gathered`."""

    def add(self, other: Tally, times: int) -> None:
        """Takes over a subgraph that runs `times` times; its weights are read once all the same."""
        for name, count in other.flops.items():
            self.flops[name] += count * times
        for name, count in other.gathered.items():
            self.gathered[name] += count * times
        self.unknown += other.unknown
        self.intermediate += other.intermediate * times
        self.whole |= other.whole
        self.sizes |= other.sizes

    @property
    def weight_bytes(self) -> int:
        gathered = (min(self.sizes[n], count) for n, count in self.gathered.items() if n not in self.whole)
        return sum(self.whole.values()) + sum(gathered)


class Walk:
    """Walks graphs; each body is inferred anew with the shapes that it is called with."""

    def __init__(self, model: Any) -> None:
        self._opsets, self._ir_version = model.opset_import, max(model.ir_version, 4)
        self._constants: dict[str, Any] = {}

    def count(self, graph: Any, ends: Scope, outer: Scope) -> tuple[Tally, Scope]:
        """The tally of a graph called with `ends`, and every tensor that it knows; `outer` is what it may capture."""
        tensors = {**outer, **self._inferred(graph, ends, outer)}
        tally, results = Tally(), {v.name for v in graph.output}
        for node in graph.node:
            name = node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}::{node.op_type}"
            try:
                self._node(node, name, tensors, tally)
            except (Unknown, LookupError):
                tally.unknown[name] += 1
            _traffic(node, tensors, tally, results)
        return tally, tensors

    def _inferred(self, graph: Any, ends: Scope, outer: Scope) -> dict[str, Tensor]:
        """Every tensor of a graph, from shape inference on the graph alone. Weights are declared as inputs, so that
        their numbers are not copied."""
        import onnx

        alone = onnx.GraphProto(name=graph.name or "graph", node=graph.node)
        used = set(_used(graph))
        given = {**{n: t for n, t in outer.items() if n in used and t.kind}, **ends}
        for tensor in graph.initializer:
            given[tensor.name] = Tensor(shape=tuple(tensor.dims), kind=tensor.data_type, constant=True)
            if prod(tensor.dims) <= SMALL:
                self._constants[tensor.name] = tensor
        alone.initializer.extend(self._constants[n] for n in given if n in self._constants)
        alone.input.extend(onnx.helper.make_tensor_value_info(n, t.kind, t.shape) for n, t in given.items())
        alone.output.extend(onnx.helper.make_empty_tensor_value_info(v.name) for v in graph.output)
        model = onnx.helper.make_model(alone, opset_imports=self._opsets, ir_version=self._ir_version)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        found = {v.name: _tensor(v) for v in [*inferred.value_info, *inferred.output]}
        for name in (n.output[0] for n in graph.node if n.op_type == "Constant"):
            found[name] = replace(found.get(name, NOTHING), constant=True)
        return found | given

    def _node(self, node: Any, name: str, tensors: Scope, tally: Tally) -> None:
        """Adds the operations of one node; raises Unknown where they cannot be counted."""
        if name in SUBGRAPHS:
            tally.add(*getattr(self, SUBGRAPHS[name])(node, tensors))
            return
        flops = operations(_call(node, name, tensors))
        if flops:
            tally.flops[name] += flops

    def _scan(self, node: Any, tensors: Scope) -> tuple[Tally, int]:
        """The body, with one slice of each sequence, and the sequences' length."""
        given = _attributes(node)
        body, sequences = given["body"], given["num_scan_inputs"]
        states = len(node.input) - sequences
        axes = given.get("scan_input_axes") or [0] * sequences
        inputs = [tensors.get(name, NOTHING) for name in node.input]
        lengths, slices = [], []
        for tensor, axis in zip(inputs[states:], axes, strict=True):
            rest = None
            if tensor.shape is not None:
                at = axis % len(tensor.shape)
                lengths.append(tensor.shape[at])
                rest = tensor.shape[:at] + tensor.shape[at + 1 :]
            slices.append(Tensor(shape=rest, kind=tensor.kind))
        if not lengths:
            raise Unknown
        return self._body(body, [*inputs[:states], *slices], tensors), lengths[0]

    def _loop(self, node: Any, tensors: Scope) -> tuple[Tally, int]:
        """The body and a constant number of turns."""
        from onnx import TensorProto, numpy_helper

        if node.input[0] not in self._constants:
            raise Unknown
        turns = int(numpy_helper.to_array(self._constants[node.input[0]]).item())
        inputs = [Tensor(shape=(), kind=kind) for kind in (TensorProto.INT64, TensorProto.BOOL)]
        carried = [tensors.get(name, NOTHING) for name in node.input[2:]]
        return self._body(_attributes(node)["body"], [*inputs, *carried], tensors), turns

    def _if(self, node: Any, tensors: Scope) -> tuple[Tally, int]:
        """The branch with fewer operations."""
        given = _attributes(node)
        branches = [self._body(given[name], [], tensors) for name in ("then_branch", "else_branch")]
        return min(branches, key=lambda tally: tally.flops.total()), 1

    def _body(self, body: Any, inputs: Sequence[Tensor], tensors: Scope) -> Tally:
        ends = {v.name: replace(t, constant=False) for v, t in zip(body.input, inputs, strict=True)}
        return self.count(body, ends, tensors)[0]


SUBGRAPHS = {"Scan": "_scan", "Loop": "_loop", "If": "_if"}


def _attributes(node: Any) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _call(node: Any, name: str, tensors: Scope) -> Call:
    inputs = [tensors.get(n, NOTHING) for n in node.input]
    return Call(
        kind=name,
        inputs=tuple(tensor.shape for tensor in inputs),
        outputs=tuple(tensors.get(n, NOTHING).shape for n in node.output),
        given=tuple(bool(n) for n in node.input),
        attributes=_attributes(node),
        floating=not inputs or inputs[0].floating,
    )


def _traffic(node: Any, tensors: Scope, tally: Tally, results: set[str]) -> None:
    """Books the weights that a node reads and the tensors that it makes."""
    made = [tensors.get(name, NOTHING).bytes for name in node.output if name not in results]
    if node.op_type not in VIEWS | {"Constant"}:
        tally.intermediate += sum(made)
    for index, name in enumerate(node.input):
        weight = tensors.get(name, NOTHING)
        if not (weight.constant and weight.floating):
            continue
        if node.op_type == "Gather" and index == 0:
            tally.gathered[name] += tensors.get(node.output[0], NOTHING).bytes or weight.bytes
            tally.sizes[name] = weight.bytes
        else:
            tally.whole[name] = weight.bytes


def _tensor(value: Any) -> Tensor:
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    known = kind.HasField("shape") and None not in dims
    return Tensor(shape=tuple(d for d in dims if d is not None) if known else None, kind=kind.elem_type)


def _used(graph: Any) -> Iterator[str]:
    """Names that a graph's nodes read, those of their bodies included."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _used(attribute.g)
