"""One-file ONNX in float32 and in typed float16, both made from model.pt2 and holding nothing of the machine."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from export.bundle.errors import ExportError
from export.bundle.types import Artifact, Precision, Preprocess, TensorSpec, to_json
from export.formats._base import Source
from export.formats._write import exporting, parent_content, record, words_of
from export.formats.exported_program import typed_program
from export.program import load_program

NEWEST_OPSET = 24


class Onnx:
    needs: str | None = "exported_program"
    version = 2
    libraries = ("torch", "onnx", "onnxscript")
    options: tuple[str, ...] = ("opset",)

    def __init__(self, name: str, precision: Precision, filename: str) -> None:
        self.name, self.precision, self.filename = name, precision, filename

    def missing(self) -> str | None:
        return missing_exporter()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "exported_program")
        path = source.files["exported_program"][0]
        with exporting(self.name):
            half = self.precision == "float16"
            program = typed_program(path, source, "float16") if half else load_program(path)
            model = model_from_program(program, source, parent)
            destination.write_bytes(checked(model))
        return record(
            source,
            destination,
            form="onnx",
            path=self.filename,
            started=started,
            parent=parent,
            precision=self.precision,
            libraries=self.libraries,
            facts={
                **facts_of(model),
                "opset_asked": source.options.opset,
                "typed": "float16 inside, float32 at inputs and outputs" if half else "float32",
            },
        )


def missing_exporter() -> str | None:
    """Why no ONNX can be written here."""
    import importlib.util

    if importlib.util.find_spec("onnxscript") is None:
        return "onnxscript is not installed: pip install '.[train]' in the clone"
    return None


def model_from_program(program: Any, source: Source, parent: str) -> Any:
    """The ModelProto at the lowest opset, from `options.opset` on, that the graph can be written in."""
    spec = source.trained.spec
    names = {"input_names": [i.name for i in spec.inputs], "output_names": [o.name for o in spec.outputs]}
    model = _at_lowest_opset(program, source.options.opset, names)
    _strip(model)
    _name_axes(model, spec.inputs, spec.outputs)
    _describe(model, source, parent)
    return model


def _at_lowest_opset(program: Any, lowest: int, names: dict[str, list[str]]) -> Any:
    """Tries opsets upwards; torch itself keeps a higher one in silence where it cannot go down, so it is read back."""
    import torch

    first: Exception | None = None
    for opset in range(lowest, NEWEST_OPSET + 1):
        try:
            made = torch.onnx.export(program, (), dynamo=True, verbose=False, opset_version=opset, **names)
            return made.model_proto
        except Exception as error:
            first = first or error
            if not _is_about_opset(error):
                break
    assert first is not None
    raise ExportError(f"onnx: {words_of(first)}") from first


def _is_about_opset(error: BaseException) -> bool:
    return "opset" in words_of(error).lower()


def facts_of(model: Any) -> dict[str, Any]:
    """What an artifact promises of its graph."""
    return {
        "opset": opset_of(model),
        "ir_version": model.ir_version,
        "nodes": len(model.graph.node),
        "operators": sorted({node.op_type for graph in graphs(model.graph) for node in graph.node}),
    }


def opset_of(model: Any) -> int:
    """The version of the one operator set that the model imports; raises ExportError where it needs another's."""
    foreign = sorted({i.domain for i in model.opset_import} - {"", "ai.onnx"})
    if foreign or model.functions:
        raise ExportError(
            f"onnx: the graph needs operators of {', '.join(foreign) or 'local functions'}, not ONNX's own"
        )
    return int(next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx")))


def graphs(graph: Any) -> Iterator[Any]:
    """An ONNX graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from graphs(inner)


def _strip(model: Any) -> None:
    """Takes out what the exporter noted: stack traces, paths, class names, example names."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in graphs(model.graph):
        graph.doc_string = ""
        for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            item.doc_string = ""
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
    model.graph.name = "main"


def _name_axes(model: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Dynamic axes get the names of the specs, in every place where torch's symbols (`s77`) stand."""
    names: dict[str, str] = {}
    for spec, value in zip((*inputs, *outputs), (*model.graph.input, *model.graph.output), strict=True):
        for axis, dim in zip(spec.shape, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(axis, str) and dim.dim_param:
                names.setdefault(dim.dim_param, axis)
    symbols = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in names) or r"(?!)")
    for graph in graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = symbols.sub(lambda m: names[m.group()], dim.dim_param)


def _describe(model: Any, source: Source, parent: str) -> None:
    """Sets what a reader needs, as metadata_props, and the lowest IR version that the opset allows."""
    import onnx

    spec = source.trained.spec
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    own = metadata_of(spec.id, spec.task, spec.labels, spec.preprocess)
    made = {"version": "1", "opset": str(opset_of(model)), "parent": parent}
    facts = own | made | symbols_of(spec.inputs)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)


def metadata_of(model: str, task: str, labels: Sequence[str], preprocess: Preprocess) -> dict[str, str]:
    """What an ONNX file says of its model; the verdict holds the file to it, and to `symbols_of`."""
    return {
        "model": model,
        "task": task,
        "labels": json.dumps(labels, ensure_ascii=False),
        "preprocess": json.dumps(to_json(preprocess), sort_keys=True),
    }


def symbols_of(inputs: Sequence[TensorSpec]) -> dict[str, str]:
    return {f"symbols of {s.name}": s.symbols for s in inputs if s.symbols}


def checked(model: Any) -> bytes:
    """The model's bytes, the same for the same weights, after onnx.checker has read them."""
    import onnx

    if any(t.data_location == onnx.TensorProto.EXTERNAL for g in graphs(model.graph) for t in g.initializer):
        raise ExportError("onnx: a weight lies outside the file; the model must be one file (below 2 GB)")
    try:
        data: bytes = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(data, full_check=True)
    except Exception as error:
        raise ExportError(f"onnx: the checker refuses the model ({words_of(error)})") from error
    return data


ENTRIES = (
    Onnx("onnx", "float32", "model.onnx"),
    Onnx("onnx-fp16", "float16", "model.fp16.onnx"),
)
