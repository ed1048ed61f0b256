"""Faults of an ONNX graph: a wrong operator, attribute, axis or order, every weight being right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from serve_bench.equivalence.faults._base import Fault, Subject, chosen, model_of
from serve_bench.equivalence.stored import edit_onnx

ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "Gelu", "Elu", "LeakyRelu", "Sin")
SOFTMAXES = ("Softmax", "LogSoftmax")
Edit = Callable[[Any], None]
"""Changes a ModelProto in place."""
Found = Iterator[tuple[str, Edit]]
"""What is done, in words that name the node, and the edit."""


def _nodes(model: Any, *kinds: str) -> Iterator[tuple[int, Any]]:
    yield from ((i, node) for i, node in enumerate(model.graph.node) if node.op_type in kinds)


def _ints(node: Any, name: str, default: list[int]) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), default)


def _set_ints(node: Any, name: str, values: list[int]) -> None:
    _drop(node, name)
    node.attribute.add(name=name, type=7).ints.extend(values)  # AttributeProto.INTS


def _drop(node: Any, *names: str) -> None:
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _before(model: Any, index: int, operand: int, kind: str, extra: list[Any] | None = None, **attributes: Any) -> None:
    """Puts a node of `kind` in front of operand `operand` of node `index`; `extra` are its other inputs, as arrays."""
    import onnx

    node = model.graph.node[index]
    names = [_constant(model, value) for value in extra or []]
    new = onnx.helper.make_node(kind, [node.input[operand], *names], ["inserted"], name="inserted", **attributes)
    node.input[operand] = "inserted"
    model.graph.node.insert(index, new)


def _after(model: Any, index: int, kind: str, extra: list[Any] | None = None, **attributes: Any) -> None:
    """Puts a node of `kind` behind node `index`, whose output keeps its name."""
    import onnx

    node = model.graph.node[index]
    names = [_constant(model, value) for value in extra or []]
    output = node.output[0]
    node.output[0] = "inserted"
    new = onnx.helper.make_node(kind, ["inserted", *names], [output], name="inserted_after", **attributes)
    model.graph.node.insert(index + 1, new)


def _constant(model: Any, value: Any) -> str:
    import onnx

    name = f"inserted_{len(model.graph.initializer)}"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return name


def dropped_activation(model: Any) -> Found:
    for i, node in _nodes(model, *ACTIVATIONS):
        yield f"{node.name} is left out", partial(_become, i, "Identity")


def leaky(model: Any) -> Found:
    for i, node in _nodes(model, "Relu"):
        yield f"{node.name} lets a hundredth through", partial(_become, i, "LeakyRelu", alpha=0.01)


def _become(index: int, kind: str, model: Any, **attributes: Any) -> None:
    import onnx

    node = model.graph.node[index]
    node.op_type = kind
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())


def averaging(model: Any) -> Found:
    def edit(index: int, model: Any) -> None:
        node = model.graph.node[index]
        node.op_type = "AveragePool"
        _drop(node, "storage_order", "dilations")

    for i, node in _nodes(model, "MaxPool"):
        yield f"{node.name} takes the mean", partial(edit, i)


def shifted(model: Any) -> Found:
    """The image lies one row lower than it should: one row of padding too many above, one too few below."""

    def edit(index: int, model: Any) -> None:
        kernel = _ints(model.graph.node[index], "kernel_shape", [1, 1])
        pads = [0, 0, 1] + [0] * (len(kernel) - 1)
        pads += [0, 0, -1] + [0] * (len(kernel) - 1)
        _before(model, index, 0, "Pad", [np.array(pads, np.int64)], mode="constant")

    for i, node in _nodes(model, "Conv", "MaxPool", "AveragePool"):
        yield f"{node.name} is shifted by a row", partial(edit, i)


def dilated(model: Any) -> Found:
    """Twice the dilation, with as much padding as keeps the shape."""

    def edit(index: int, model: Any) -> None:
        node = model.graph.node[index]
        kernel = _ints(node, "kernel_shape", [1, 1])
        pads = _ints(node, "pads", [0] * 2 * len(kernel))
        more = [k - 1 for k in kernel]
        begin = [p + m // 2 for p, m in zip(pads, more, strict=False)]
        end = [p + m - m // 2 for p, m in zip(pads[len(kernel) :], more, strict=True)]
        _set_ints(node, "dilations", [2] * len(kernel))
        _set_ints(node, "pads", begin + end)

    for i, node in _nodes(model, "Conv"):
        if min(_ints(node, "kernel_shape", [1]) or [1]) > 1:
            yield f"{node.name} is dilated", partial(edit, i)


def strided(model: Any) -> Found:
    """A stride of 1 instead of 2, cut to the shape that is wanted; of a single window none is off."""

    def edit(index: int, sides: list[int], model: Any) -> None:
        node = model.graph.node[index]
        _set_ints(node, "strides", [1] * len(sides))
        starts, ends = np.zeros(len(sides), np.int64), np.array(sides, np.int64)
        _after(model, index, "Slice", [starts, ends, np.arange(2, 2 + len(sides))])

    shapes = _shapes(model)
    for i, node in _nodes(model, "MaxPool", "AveragePool", "Conv"):
        sides = shapes.get(node.output[0], [])[2:]
        if (
            max(_ints(node, "strides", [1])) > 1
            and all(isinstance(n, int) for n in sides)
            and max(sides, default=1) > 1
        ):
            yield f"{node.name} has stride 1", partial(edit, i, sides)


def _shapes(model: Any) -> dict[str, list[Any]]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    return {
        v.name: [d.dim_value if d.HasField("dim_value") else d.dim_param for d in v.type.tensor_type.shape.dim]
        for v in values
    }


def no_softmax(model: Any) -> Found:
    for i, node in _nodes(model, *SOFTMAXES):
        yield f"{node.name} is left out", partial(_become, i, "Identity")


def other_softmax(model: Any) -> Found:
    def edit(index: int, kind: str, model: Any) -> None:
        model.graph.node[index].op_type = kind

    for i, node in _nodes(model, *SOFTMAXES):
        kind = SOFTMAXES[1 - SOFTMAXES.index(node.op_type)]
        yield f"{node.name} is a {kind}", partial(edit, i, kind)


def swapped_outputs(model: Any) -> Found:
    """Two outputs under each other's name; of a single one, two of its columns."""

    def columns(index: int, count: int, model: Any) -> None:
        order = np.arange(count)
        order[[0, count - 1]] = order[[count - 1, 0]]
        _after(model, index, "Gather", [order.astype(np.int64)], axis=1)

    def names(first: int, second: int, model: Any) -> None:
        model.graph.node[first].output[0], model.graph.node[second].output[0] = (
            model.graph.node[second].output[0],
            model.graph.node[first].output[0],
        )

    makers = {o: i for i, node in enumerate(model.graph.node) for o in node.output}
    outputs = [o for o in model.graph.output if o.name in makers]
    if len(outputs) > 1:
        yield "the first two outputs are swapped", partial(names, makers[outputs[0].name], makers[outputs[1].name])
        return
    for output in outputs:
        dims = output.type.tensor_type.shape.dim
        if len(dims) == 2 and dims[1].dim_value > 1:
            edit = partial(columns, makers[output.name], dims[1].dim_value)
            yield f"the first and the last column of {output.name} are swapped", edit


def normalised(model: Any) -> Found:
    """The input is scaled and moved as by another data set's mean and spread."""

    def edit(index: int, operand: int, scale: float, shift: float, model: Any) -> None:
        kind = np.float32
        _before(model, index, operand, "Mul", [kind(scale)])
        model.graph.node[index].output[0] = "scaled"
        model.graph.node[index].name = "scaled"
        node = model.graph.node[index + 1]
        node.input[operand] = "scaled"
        _before(model, index + 1, operand, "Add", [kind(shift)])

    floats = {i.name for i in model.graph.input if i.type.tensor_type.elem_type == 1}  # FLOAT
    for i, node in enumerate(model.graph.node):
        for operand, name in enumerate(node.input):
            if name in floats:
                for scale, shift in ((1.0, 0.01), (1.01, 0.0), (0.5, -0.5)):
                    yield f"{name} × {scale} + {shift}", partial(edit, i, operand, scale, shift)
                return


def frozen(axis: str, model: Any) -> Found:
    """A dynamic axis is fixed at what an example happened to have."""

    def edit(size: int, model: Any) -> None:
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == axis:
                    dim.dim_value = size

    known = {d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim}
    if axis in known:
        for size in (1, 8):
            yield f"{axis} is fixed at {size}", partial(edit, size)


def lengths_off(model: Any) -> Found:
    """Every length is one too small, or one too large."""

    def edit(step: int, model: Any) -> None:
        import onnx

        name = _constant(model, np.array(step, np.int64))
        for node in model.graph.node:
            for place, operand in enumerate(node.input):
                if operand == "lengths":
                    node.input[place] = "lengths_off"
        model.graph.node.insert(0, onnx.helper.make_node("Add", ["lengths", name], ["lengths_off"], name="lengths_off"))

    if any(i.name == "lengths" for i in model.graph.input):
        for step in (-1, 1):
            yield f"lengths {step:+d}", partial(edit, step)


def training_dropout(model: Any) -> Found:
    def edit(index: int, ratio: float, model: Any) -> None:
        _before(model, index, 0, "Dropout", [np.float32(ratio), np.array(True)], seed=1)

    for i, node in _nodes(model, "Gemm", "MatMul", "Conv"):
        for ratio in (0.1, 0.5):
            yield f"a dropout of {ratio} before {node.name}", partial(edit, i, ratio)


@dataclass(frozen=True)
class Graphs:
    name: str = "graphs"

    def faults(self, subject: Subject) -> Iterator[Fault]:
        model = model_of(subject)
        if model is None:
            return
        for kind, find in KINDS:
            for words, edit in chosen(list(find(model)), subject):
                yield Fault(kind=kind, name=words, write=partial(edit_onnx, subject.path, edit))


KINDS: tuple[tuple[str, Callable[[Any], Found]], ...] = (
    ("activation dropped", dropped_activation),
    ("ReLU → LeakyReLU", leaky),
    ("max → average pooling", averaging),
    ("padding shifted by one", shifted),
    ("dilation off", dilated),
    ("stride off", strided),
    ("softmax missing", no_softmax),
    ("softmax ↔ log-softmax", other_softmax),
    ("outputs swapped", swapped_outputs),
    ("wrong normalisation constants", normalised),
    ("batch axis frozen", partial(frozen, "batch")),
    ("time axis frozen", partial(frozen, "length")),
    ("length off by one", lengths_off),
    ("dropout in training mode", training_dropout),
)
ENTRIES = (Graphs(),)
