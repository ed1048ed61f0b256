"""The ONNX model that other apps embed: raw values in, answers out, preprocessing and softmax inside.

It is the graph of `model.onnx`, node for node, with a few nodes before and behind it, so that whoever holds both can
compose it again and compare.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from export.bundle.errors import ExportError
from export.bundle.types import Json, Preprocess, Task, TensorSpec
from export.formats.onnx import graphs, metadata_of, opset_of, symbols_of

VERSION = "1"
"""Of what an app sees: names, types and meaning of inputs and outputs, and the metadata."""
PIXELS, PROBABILITIES, LABEL, VALUE = "pixels", "probabilities", "label", "value"
LOWEST = 13
"""The first operator set whose Softmax works on one axis, and whose Unsqueeze takes its axes as an input."""


def app_inputs(
    inputs: Sequence[TensorSpec], preprocess: Preprocess, stored: Mapping[str, str]
) -> tuple[TensorSpec, ...]:
    """What an app gives: the first input as it is stored (`stored`: input → numpy dtype), the others as the model's.

    A one-channel image of a stored integer type becomes "pixels", ("batch", height, width).
    """
    first, *others = inputs
    kind = stored.get(first.name, first.dtype)
    if np.dtype(first.dtype).kind != "f" or np.dtype(kind).kind not in "iu":
        kind = first.dtype
    if kind == first.dtype and preprocess.identity:
        return tuple(inputs)
    low, high = (None if x is None else _unprocessed(x, preprocess, kind) for x in (first.low, first.high))
    raw = replace(first, name=f"raw_{first.name}", dtype=kind, low=low, high=high)
    if first.is_grey_image:
        raw = replace(raw, name=PIXELS, shape=(first.shape[0], *first.shape[2:]))
    return (raw, *others)


def _unprocessed(value: float, preprocess: Preprocess, kind: str) -> float:
    raw = (value * preprocess.std + preprocess.mean) / preprocess.scale
    return float(round(raw)) if np.dtype(kind).kind in "iu" else raw


def app_outputs(task: Task, outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """ "probabilities" (N, classes) and "label" (N,) int64 of a classifier; else the one output as "value"."""
    first = outputs[0]
    if task == "classification" and len(first.shape) == 2:
        answers = replace(first, name=PROBABILITIES, low=0.0, high=1.0)
        return (answers, TensorSpec(name=LABEL, dtype="int64", shape=first.shape[:1]))
    return (replace(first, name=VALUE),) if len(outputs) == 1 else tuple(outputs)


def compose(
    model: Any,
    task: Task,
    preprocess: Preprocess,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    wanted: Sequence[TensorSpec],
) -> Any:
    """A new ModelProto of `model.onnx` between the app's own nodes, at the lowest operator set that its nodes allow.

    `inputs` and `outputs` are the model's, `wanted` the app's inputs. Its metadata are empty. Raises ExportError where
    the graph needs operators that are not ONNX's own.
    """
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    opset_of(made)
    graph = made.graph
    kept = list(graph.node)
    before = _before(graph, inputs[0], wanted[0], preprocess)
    behind = _behind(graph, task, outputs)
    del graph.node[:], graph.input[:], graph.output[:], made.metadata_props[:]
    graph.node.extend([*before, *kept, *behind])
    graph.input.extend(_value(s) for s in wanted)
    graph.output.extend(_value(s) for s in app_outputs(task, outputs))
    ends = {v.name for v in (*graph.input, *graph.output)}
    inner = [v for v in graph.value_info if v.name not in ends]
    del graph.value_info[:]
    graph.value_info.extend(inner)
    _lower(made)
    return made


def _value(spec: TensorSpec) -> Any:
    import onnx

    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(spec.name, kind, list(spec.shape))


def _before(graph: Any, spec: TensorSpec, raw: TensorSpec, preprocess: Preprocess) -> list[Any]:
    """float32(x) · scale − mean, divided by std, each step in float32 and none where it changes nothing."""
    import onnx
    from onnx.helper import make_node

    if raw.name == spec.name:
        return []
    single = onnx.TensorProto.FLOAT
    steps: list[tuple[str, dict[str, Any], Any]] = [("Cast", {"to": single}, None)]
    if len(raw.shape) < len(spec.shape):
        steps.append(("Unsqueeze", {}, np.array([1], np.int64)))
    for operator, number, neutral in (
        ("Mul", preprocess.scale, 1.0),
        ("Sub", preprocess.mean, 0.0),
        ("Div", preprocess.std, 1.0),
    ):
        if number != neutral:
            steps.append((operator, {}, np.array(number, np.float32)))
    if spec.dtype != "float32":
        steps.append(("Cast", {"to": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))}, None))
    nodes, value = [], raw.name
    for number, (operator, attributes, constant) in enumerate(steps):
        name = f"app.{number}.{operator.lower()}"
        given = [value]
        if constant is not None:
            graph.initializer.append(onnx.numpy_helper.from_array(constant, f"{name}.by"))
            given.append(f"{name}.by")
        value = spec.name if number == len(steps) - 1 else name
        nodes.append(make_node(operator, given, [value], name, **attributes))
    return nodes


def _behind(graph: Any, task: Task, outputs: Sequence[TensorSpec]) -> list[Any]:
    from onnx.helper import make_node

    wanted = app_outputs(task, outputs)
    scores = outputs[0].name
    if wanted[-1].name == LABEL:
        label = make_node("ArgMax", [scores], [LABEL], "app.label", axis=1, keepdims=0)
        if scores == PROBABILITIES:
            return [label]
        operator = "Identity" if gives_probabilities(graph, scores) else "Softmax"
        attributes = {"axis": 1} if operator == "Softmax" else {}
        return [make_node(operator, [scores], [PROBABILITIES], "app.probabilities", **attributes), label]
    pairs = zip(outputs, wanted, strict=True)
    return [make_node("Identity", [a.name], [b.name], f"app.{b.name}") for a, b in pairs if a.name != b.name]


def gives_probabilities(graph: Any, output: str) -> bool:
    """Whether a softmax makes an output."""
    return any(output in node.output and node.op_type == "Softmax" for node in graph.node)


def _lower(model: Any) -> None:
    """Names the lowest operator set in which every node means what it means now, and the IR that goes with it."""
    import onnx

    now = opset_of(model)
    kinds = {node.op_type for graph in graphs(model.graph) for node in graph.node}
    needed = max((onnx.defs.get_schema(kind, now, "").since_version for kind in kinds), default=LOWEST)
    del model.opset_import[:]
    model.opset_import.extend([onnx.helper.make_opsetid("", max(needed, LOWEST))])
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))


def describe(
    model: Any,
    *,
    name: str,
    task: Task,
    labels: Sequence[str],
    preprocess: Preprocess,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    more: Mapping[str, Json],
) -> None:
    """Sets metadata_props: what `told` says, and `more` (metric, data set, parent, …) as JSON where it is no string."""
    known = told(name, task, labels, preprocess, inputs, outputs)
    words = {k: v if isinstance(v, str) else json.dumps(v, sort_keys=True, ensure_ascii=False) for k, v in more.items()}
    for key, value in sorted((known | words).items()):
        model.metadata_props.add(key=key, value=value)


def told(
    name: str,
    task: Task,
    labels: Sequence[str],
    preprocess: Preprocess,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> dict[str, str]:
    """What the metadata must say of the model and of its own ends; the verdict holds the file to it."""
    ends = {
        word: json.dumps([_described(spec) for spec in specs], ensure_ascii=False)
        for word, specs in (("inputs", inputs), ("outputs", outputs))
    }
    own = metadata_of(name, task, labels, preprocess) | symbols_of(inputs) | ends
    return own | {"app_version": VERSION, "preprocessing": "inside the graph"}


def _described(spec: TensorSpec) -> dict[str, Json]:
    meaning = {
        PIXELS: "one grey image a sample, rows from the top: 0 is background, the largest value is ink",
        PROBABILITIES: "softmax over the classes, in the order of labels",
        LABEL: "index of the most probable class",
    }
    said: dict[str, Json] = {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
    said |= {k: float(v) for k, v in (("low", spec.low), ("high", spec.high)) if v is not None}
    if spec.symbols:
        said["meaning"] = f"index in 'symbols of {spec.name}' of each character; what lies beyond lengths is ignored"
    elif spec.name in meaning:
        said["meaning"] = meaning[spec.name]
    return said


def differences(app: Any, again: Any) -> list[str]:
    """A sentence for everything in which two graphs of an app differ, metadata aside; none where they are the same."""
    said = []
    if list(app.opset_import) != list(again.opset_import) or app.ir_version != again.ir_version:
        said.append("its operator set or IR version is not the one that model.onnx gives")
    for word, found, wanted in (
        ("input", app.graph.input, again.graph.input),
        ("output", app.graph.output, again.graph.output),
        ("constant", app.graph.initializer, again.graph.initializer),
        ("node", app.graph.node, again.graph.node),
    ):
        own, other = ({v.name: v.SerializeToString(deterministic=True) for v in values} for values in (found, wanted))
        wrong = [n for n in [*own, *(n for n in other if n not in own)] if own.get(n) != other.get(n)]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            said.append(f"{word} {wrong[0]!r} is not the one that model.onnx gives{more}")
        elif [v.name for v in found] != [v.name for v in wanted]:
            said.append(f"its {word}s stand in another order")
    return said


def model_of(data: bytes) -> Any:
    """The ModelProto in `data`; raises ExportError where it is none."""
    import onnx

    try:
        return onnx.load_from_string(data)
    except Exception as error:
        raise ExportError(f"app: model.onnx cannot be read: {error}") from error
