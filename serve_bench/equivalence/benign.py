"""Copies of an ONNX file that are the same model: what a converter or an optimiser may do. The verdict passes each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.formats.onnx import graphs
from serve_bench.equivalence.stored import edit_onnx

OPSETS = (18, 19, 20, 21, 22)


@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    write: Callable[[Path], None]
    promises: Mapping[str, int] = field(default_factory=dict)
    """Facts of the artifact that change with it: opset and IR version."""


def variants(path: Path) -> Iterator[Variant]:
    """Every variant that the file at `path` can have."""
    model = _load(path)
    for name, edit in EDITS:
        yield Variant(name=name, write=partial(edit_onnx, path, edit))
    gemms = [i for i, node in enumerate(model.graph.node) if node.op_type == "Gemm" and _transposed(node)]
    for i in gemms:
        yield Variant(
            name=f"weight of Gemm {i} pre-transposed", write=partial(edit_onnx, path, partial(_untranspose, [i]))
        )
    if len(gemms) > 1:
        yield Variant(
            name="every Gemm's weight pre-transposed", write=partial(edit_onnx, path, partial(_untranspose, gemms))
        )
    for opset in OPSETS:
        converted = _converted(model, opset)
        if converted is not None:
            promises = {"opset": opset, "ir_version": converted.ir_version}
            data = converted.SerializeToString(deterministic=True)
            yield Variant(name=f"opset {opset}", write=partial(_bytes, data), promises=promises)


def _load(path: Path) -> Any:
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _bytes(data: bytes, destination: Path) -> None:
    destination.write_bytes(data)


def _converted(model: Any, opset: int) -> Any:
    """The model at another opset; None where onnx's converter cannot."""
    import onnx

    try:
        return onnx.version_converter.convert_version(model, opset)
    except Exception:
        return None


def _rename(names: Mapping[str, str], model: Any) -> None:
    for graph in graphs(model.graph):
        for node in graph.node:
            for values in (node.input, node.output):
                for i, name in enumerate(values):
                    values[i] = names.get(name, name)
        for item in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
            item.name = names.get(item.name, item.name)


def renamed_weights(model: Any) -> None:
    _rename({t.name: f"w{i}" for i, t in enumerate(model.graph.initializer)}, model)


def renamed_values(model: Any) -> None:
    kept = {o.name for o in model.graph.output}
    values = [o for node in model.graph.node for o in node.output if o and o not in kept]
    _rename({name: f"v{i}" for i, name in enumerate(values)}, model)


def renamed_nodes(model: Any) -> None:
    for i, node in enumerate(model.graph.node):
        node.name = f"n{i}"


def reordered_weights(model: Any) -> None:
    tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def constant_nodes(model: Any) -> None:
    """Weights as Constant nodes instead of initializers."""
    import onnx

    nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    del model.graph.initializer[:]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def typed_data(model: Any) -> None:
    """Weights in the typed field of a tensor instead of its raw bytes."""
    import onnx

    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, tensor.data_type, array.shape, array.ravel()))


def identities(model: Any) -> None:
    """An Identity behind every node."""
    import onnx

    kept = {o.name for o in model.graph.output}
    rest = list(model.graph.node)
    del model.graph.node[:]
    for node in rest:
        model.graph.node.append(node)
        for i, name in enumerate(node.output):
            if name and name not in kept and node.op_type not in ("Shape", "Squeeze", "Range", "Scan"):
                model.graph.node[-1].output[i] = f"{name}_before"
                model.graph.node.append(onnx.helper.make_node("Identity", [f"{name}_before"], [name]))


def without_value_info(model: Any) -> None:
    for graph in graphs(model.graph):
        del graph.value_info[:]


def documented(model: Any) -> None:
    """Comments and metadata of another producer."""
    model.producer_name, model.doc_string = "another producer", "a comment"
    model.metadata_props.add(key="added", value="by someone")


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def _untranspose(indices: list[int], model: Any) -> None:
    import onnx

    tensors = {t.name: t for t in model.graph.initializer}
    for i in indices:
        node = model.graph.node[i]
        if node.input[1] not in tensors:
            continue
        weight = onnx.numpy_helper.to_array(tensors[node.input[1]])
        name = f"{node.input[1]}_transposed_{i}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T), name))
        node.input[1] = name
        for attribute in node.attribute:
            if attribute.name == "transB":
                attribute.i = 0
    used = {name for graph in graphs(model.graph) for node in graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


EDITS: tuple[tuple[str, Callable[[Any], None]], ...] = (
    ("weights renamed", renamed_weights),
    ("values renamed", renamed_values),
    ("nodes renamed", renamed_nodes),
    ("weights in another order", reordered_weights),
    ("weights as constant nodes", constant_nodes),
    ("weights in typed fields", typed_data),
    ("an identity behind every node", identities),
    ("without inferred shapes", without_value_info),
    ("another producer's comments", documented),
)
