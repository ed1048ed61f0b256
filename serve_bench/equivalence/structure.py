"""Is a file what its artifact promises, apart from its numbers? Read without executing anything, and without torch."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BundleCorrupt
from export.bundle.types import Artifact, TensorSpec
from export.formats.onnx import graphs, metadata_of, symbols_of
from serve_bench.equivalence.stored import SCALAR_TYPES, archive_prefix, unreadable

OWN_DOMAINS = ("", "ai.onnx")
SYMBOL = re.compile(r"Symbol\('(?P<name>\w+)'")
TRAINING_CALL = re.compile(r"torch\.(?P<call>\w*dropout|batch_norm)\((?P<arguments>[^()]*)\)")


def check(path: Path, artifact: Artifact, told: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for everything that is not as promised; none where all is.

    `told` is what an ONNX file's metadata must say (labels, preprocess, …); None where nothing was promised. Raises
    BundleCorrupt where the file cannot be read.
    """
    readers = {"onnx": _onnx, "exported_program": _program, "torchscript": _torchscript}
    reader = readers.get(artifact.stored_as)
    if reader is None:
        return []
    try:
        return reader(path, artifact, told)
    except BundleCorrupt:
        raise
    except Exception as error:
        raise unreadable(path, artifact.format, error) from error


def why(found: Sequence[str]) -> str:
    """The first sentence and the number of the others; empty where there is none."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"the file is not as promised: {found[0]}{more}" if found else ""


def _onnx(path: Path, artifact: Artifact, told: Mapping[str, str] | None) -> list[str]:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    if not model.graph.node:
        raise BundleCorrupt(f"{path}: holds no graph; export it again")
    return [*_promises(model, artifact, told), *_ends(model.graph, artifact), *_inside(model)]


def _promises(model: Any, artifact: Artifact, told: Mapping[str, str] | None) -> Iterator[str]:
    opset = next((i.version for i in model.opset_import if i.domain in OWN_DOMAINS), None)
    for what, found in (("opset", opset), ("ir_version", model.ir_version)):
        promised = artifact.facts.get(what)
        if promised is not None and found != promised:
            yield f"{what} is {found}, promised was {promised}"
    foreign = sorted({i.domain for i in model.opset_import} - set(OWN_DOMAINS))
    if foreign:
        yield f"needs the operators of {', '.join(foreign)}, which are not ONNX's own"
    if model.functions:
        yield f"defines functions of its own: {model.functions[0].name}"
    known = {p.key: p.value for p in model.metadata_props}
    for key, value in (told or {}).items():
        if known.get(key) != value:
            yield f"its metadata say {key} = {known.get(key)!s:.80}, the model's is {value:.80}"


def _ends(graph: Any, artifact: Artifact) -> Iterator[str]:
    """Inputs and outputs: names, types, fixed and dynamic axes."""
    import onnx

    weights = {w.name for w in graph.initializer}
    for word, values, specs in (
        ("input", [i for i in graph.input if i.name not in weights], artifact.inputs),
        ("output", list(graph.output), artifact.outputs),
    ):
        names, wanted = [v.name for v in values], [s.name for s in specs]
        if names != wanted:
            yield f"its {word}s are {', '.join(names) or 'none'}, promised were {', '.join(wanted)}"
            continue
        for value, spec in zip(values, specs, strict=True):
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
            if kind != spec.dtype:
                yield f"{word} {spec.name!r} is of type {kind}, promised was {spec.dtype}"
            yield from _axes(word, value.type.tensor_type, spec)


def _axes(word: str, kind: Any, spec: TensorSpec) -> Iterator[str]:
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    if len(dims) != len(spec.shape):
        yield f"{word} {spec.name!r} has {len(dims)} axes, promised were {len(spec.shape)}"
        return
    for axis, (found, wanted) in enumerate(zip(dims, spec.shape, strict=True)):
        if isinstance(wanted, str) and isinstance(found, int):
            yield f"axis {axis} of {word} {spec.name!r} is fixed at {found}, promised was any {wanted}"
        elif isinstance(wanted, int) and found != wanted:
            yield f"axis {axis} of {word} {spec.name!r} is {found}, promised was {wanted}"


def _inside(model: Any) -> Iterator[str]:
    """Nodes that belong to training, and weights that lie outside the file."""
    import onnx

    constants = _constants(model)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                yield f"{tensor.name!r} lies in another file"
        for node in graph.node:
            switch = node.input[2] if node.op_type == "Dropout" and len(node.input) > 2 else ""
            if switch and constants.get(switch, True):
                yield f"node {node.name!r} is a dropout in training mode"
            if node.op_type == "BatchNormalization" and _attribute(node, "training_mode"):
                yield f"node {node.name!r} is a batch norm in training mode"


def _constants(model: Any) -> dict[str, bool]:
    """Truth values of the scalar constants that switch something on."""
    import onnx

    found = {}
    for graph in graphs(model.graph):
        tensors = [(t.name, t) for t in graph.initializer]
        tensors += [
            (n.output[0], a.t) for n in graph.node for a in n.attribute if n.op_type == "Constant" and a.HasField("t")
        ]
        for name, tensor in tensors:
            if tensor.data_type == onnx.TensorProto.BOOL:
                found[name] = bool(onnx.numpy_helper.to_array(tensor).any())
    return found


def _attribute(node: Any, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def _program(path: Path, artifact: Artifact, told: Mapping[str, str] | None) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        prefix = archive_prefix(archive, "/archive_format")
        document = json.loads(archive.read(f"{prefix}/models/model.json"))
    return [*_program_ends(document, artifact), *_training_nodes(document["graph_module"]["graph"]["nodes"])]


def _program_ends(document: Any, artifact: Artifact) -> Iterator[str]:
    """Inputs and outputs in their order: types, fixed and dynamic axes, and whether a dynamic one begins at 1."""
    module, ranges = document["graph_module"], document["range_constraints"]
    values = module["graph"]["tensor_values"]
    for word, specs in (("input", artifact.inputs), ("output", artifact.outputs)):
        found = [s[f"user_{word}"]["arg"] for s in module["signature"][f"{word}_specs"] if f"user_{word}" in s]
        names = [argument["as_tensor"]["name"] for argument in found if "as_tensor" in argument]
        if len(names) < len(specs):
            yield f"it has {len(names)} {word}s, promised were {len(specs)}"
            continue
        for name, spec in zip(names, specs, strict=False):
            yield from _program_axes(f"{word} {spec.name!r}", values[name], spec, ranges)


def _program_axes(what: str, value: Any, spec: TensorSpec, ranges: Mapping[str, Any]) -> Iterator[str]:
    code = SCALAR_TYPES.get(value["dtype"], "")
    kind = "bfloat16" if code == "bf16" else np.dtype(code).name if code else "unknown"
    if kind != spec.dtype:
        yield f"{what} is of type {kind}, promised was {spec.dtype}"
    if len(value["sizes"]) != len(spec.shape):
        yield f"{what} has {len(value['sizes'])} axes, promised were {len(spec.shape)}"
        return
    for axis, (size, wanted) in enumerate(zip(value["sizes"], spec.shape, strict=True)):
        fixed = size.get("as_int")
        if isinstance(wanted, str) and fixed is not None:
            yield f"axis {axis} of {what} is fixed at {fixed}, promised was any {wanted}"
        elif isinstance(wanted, int) and fixed is not None and fixed != wanted:
            yield f"axis {axis} of {what} is {fixed}, promised was {wanted}"
        elif isinstance(wanted, str):
            symbol = SYMBOL.match(size["as_expr"]["expr_str"])
            least = ranges.get(symbol["name"], {}).get("min_val") if symbol else None
            if least is not None and least > 1:
                yield f"axis {axis} of {what} begins at {least}, promised was any {wanted}"


def _training_nodes(nodes: Sequence[Any]) -> Iterator[str]:
    for node in nodes:
        operator = node["target"].rsplit("ops.", 1)[-1].split(".")[-2:][0]
        switches = {a["name"]: a["arg"].get("as_bool") for a in node["inputs"]}
        if "dropout" in operator and switches.get("train", switches.get("training")):
            yield f"{operator} is in training mode"
        if "batch_norm" in operator and (switches.get("training") or switches.get("train")):
            yield f"{operator} is in training mode"


def _torchscript(path: Path, artifact: Artifact, told: Mapping[str, str] | None) -> list[str]:
    """From its source: the last word of a dropout, the sixth of a batch norm, says whether it trains."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/code/" not in name or not name.endswith(".py"):
                continue
            for match in TRAINING_CALL.finditer(archive.read(name).decode(errors="replace")):
                words = [word.strip() for word in match["arguments"].split(",")]
                place = 5 if match["call"] == "batch_norm" else -1
                if len(words) > abs(place) - (place < 0) and words[place] == "True":
                    found.append(f"{match['call']} is in training mode")
    return found


def told_of(manifest: Any) -> dict[str, str]:
    """What the metadata of an ONNX file of this bundle must say."""
    own = metadata_of(manifest.model, manifest.task, manifest.labels, manifest.preprocess)
    return own | symbols_of(manifest.inputs)
