"""One-file ONNX in int8 by ONNX Runtime's quantiser: static, with QDQ pairs and calibrated ranges, and dynamic.

A dynamic form takes the range of a tensor from the whole batch, so that a sample's answer would depend on who else is
asked: its batch axis is fixed at 1.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.bundle.errors import ExportError
from export.bundle.types import Artifact, Precision, TensorSpec
from export.formats._base import Arrays, Source
from export.formats._write import exporting, parent_content, record
from export.formats.onnx import checked, facts_of, graphs

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights to quantise."""
PASSED = ("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu")
MOVED = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")
STATIC = (*WEIGHTED, *PASSED, *MOVED)
"""Operators whose tensors are quantised; a softmax keeps its answers in float32."""
BATCH = 32
"""Samples that are calibrated at once."""


class OnnxInt8:
    needs: str | None = "onnx"
    precision: Precision = "int8"
    version = 1
    libraries = ("onnx", "onnxruntime", "onnxruntime-gpu")
    options: tuple[str, ...] = ()
    on_request = True
    """Written only where its precision is asked for by name."""
    after_truth = True
    """Written once the truth is there, and kept only where the metric holds."""

    def __init__(self, name: str, filename: str, *, dynamic: bool) -> None:
        self.name, self.filename, self.dynamic = name, filename, dynamic

    def missing(self) -> str | None:
        import importlib.util

        if importlib.util.find_spec("onnxruntime") is None:
            return "onnxruntime is not installed: pip install . in the clone"
        return None

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "onnx")
        with exporting(self.name), _unprompted(), tempfile.TemporaryDirectory(prefix="pipeline-int8-") as folder:
            model, samples = self._quantised(Path(folder), source, parent)
            destination.write_bytes(checked(model))
        specs = source.trained.spec
        written = record(
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
                "quantisation": "dynamic" if self.dynamic else "static",
                "typed": "int8 weights, uint8 activations, float32 at inputs and outputs",
                "calibration": {"samples": samples, "ranges": "least and largest value"} if samples else None,
                "max_metric_drop": source.options.max_metric_drop,
            },
        )
        if not self.dynamic:
            return written
        return replace(written, inputs=_alone(specs.inputs), outputs=_alone(specs.outputs))

    def _quantised(self, folder: Path, source: Source, parent: str) -> tuple[Any, int]:
        import onnx

        given, out = folder / "float.onnx", folder / "int8.onnx"
        before = onnx.load(str(source.files["onnx"][0]))
        del before.graph.value_info[:]  # the quantiser turns weights round and leaves their old shapes there
        onnx.save(before, str(given))
        if not any(node.op_type in WEIGHTED for node in before.graph.node):
            raise ExportError(f"{self.name}: the graph holds no {', '.join(WEIGHTED)} to quantise")
        samples = 0
        if self.dynamic:
            _dynamic(given, out)
        else:
            arrays = source.calibration() if source.calibration else dict(source.example)
            samples = len(next(iter(arrays.values())))
            _static(given, out, arrays)
        model = onnx.load(str(out))
        if not any(node.op_type in ("DequantizeLinear", "MatMulInteger") for node in model.graph.node):
            raise ExportError(f"{self.name}: the quantiser found nothing in this graph that it can quantise")
        _tidy(model, before, parent)
        if self.dynamic:
            for value in (*model.graph.input, *model.graph.output):
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_param == "batch":
                        dim.dim_value = 1
        return model, samples


@contextmanager
def _unprompted() -> Iterator[None]:
    """Without the quantiser's advice to prepare the graph, which our export has done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _static(given: Path, out: Path, arrays: Arrays) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(arrays)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    quantize_static(
        str(given),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(STATIC),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _batches(arrays: Arrays) -> Iterator[dict[str, Any]]:
    total = len(next(iter(arrays.values())))
    for start in range(0, total, BATCH):
        yield {name: values[start : start + BATCH] for name, values in arrays.items()}


def _dynamic(given: Path, out: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(given),
        str(out),
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def _tidy(model: Any, before: Any, parent: str) -> None:
    """The names, words and versions of the file it came from; nothing that the quantiser noted."""
    import onnx

    used = {node.domain for graph in graphs(model.graph) for node in graph.node}
    kept = [i for i in model.opset_import if i.domain in used or i.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.metadata_props[:]
    for item in before.metadata_props:
        model.metadata_props.add(key=item.key, value=parent if item.key == "parent" else item.value)
    model.doc_string, model.graph.name = "", before.graph.name
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    del model.graph.value_info[:]
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))


def _alone(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(replace(s, shape=tuple(1 if axis == "batch" else axis for axis in s.shape)) for s in specs)


ENTRIES = (
    OnnxInt8("onnx-int8", "model.int8.onnx", dynamic=False),
    OnnxInt8("onnx-int8-dynamic", "model.int8-dynamic.onnx", dynamic=True),
)
