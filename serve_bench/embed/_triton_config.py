"""config.pbtxt: written through Triton's own schema and read back through it.

The fields' meaning is that of the message ModelConfig in NVIDIA's model_config.proto, which the package tritonclient
brings.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BackendUnavailable, DataError
from export.bundle.types import TensorSpec
from serve_bench.embed._triton_models import (
    BACKENDS,
    ENGINE_FACTS,
    FILES,
    LARGEST_BATCH,
    Served,
    as_asked,
    dims_of,
    is_number,
)

CONFIG, LABELS, WARMUP, VERSION = "config.pbtxt", "labels.txt", "warmup", "1"
DTYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}
PREFERRED = (8, LARGEST_BATCH)
"""Batches that are sent off without waiting for more, where the model's limit allows them."""
QUEUE_DELAY_US = 500
"""Longest time in microseconds that a request waits for others to join its batch."""


def missing_schema() -> str | None:
    """Why configurations cannot be written here, with the remedy; None where they can."""
    wanted = ("tritonclient", "grpc", "google.protobuf")
    try:
        absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError as error:
        absent = [str(error.name)]
    if absent:
        return f"{absent[0]} is not installed, which brings Triton's schema: pip install '.[triton]' in the clone"
    return None


def schema() -> Any:
    """The module of Triton's messages; raises BackendUnavailable where it is not installed."""
    if reason := missing_schema():
        raise BackendUnavailable(f"triton: {reason}")
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2


def config_of(model: Served) -> Any:
    """The ModelConfig of one model. Its first axis is the batch and stands in no `dims`."""
    messages = schema()
    config = messages.ModelConfig(
        name=model.name,
        platform=model.platform,
        backend=BACKENDS[model.platform],
        default_model_filename=FILES[model.platform],
        max_batch_size=model.most,
    )
    config.version_policy.latest.num_versions = 1
    for specs, ports in ((model.inputs, config.input), (model.outputs, config.output)):
        for spec in specs:
            _port(ports.add(), spec)
    if model.labels:
        config.output[0].label_filename = LABELS
    config.instance_group.add(count=1, kind=messages.ModelInstanceGroup.Kind.Value(model.kind))
    config.dynamic_batching.preferred_batch_size.extend(n for n in preferred(model.most))
    config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    for batch in sorted({1, model.most}):
        _warmup(config.model_warmup.add(name=f"golden sample, batch {batch}", batch_size=batch), model)
    return config


def preferred(most: int) -> list[int]:
    return sorted({min(n, most) for n in PREFERRED})


def _port(port: Any, spec: TensorSpec) -> None:
    port.name = spec.name
    port.data_type = _dtype(spec)
    port.dims.extend(dims_of(spec))
    if is_number(spec):
        port.reshape.SetInParent()


def _dtype(spec: TensorSpec) -> int:
    if spec.dtype not in DTYPES:
        raise DataError(f"triton: {spec.name} is {spec.dtype}, which Triton has no type for")
    return int(schema().DataType.Value(DTYPES[spec.dtype]))


def _warmup(warmup: Any, model: Served) -> None:
    for number, (name, values) in enumerate(as_asked(model.golden, model.inputs).items()):
        entry = warmup.inputs[name]
        entry.data_type = _dtype(model.inputs[number])
        entry.dims.extend(values.shape[1:])
        entry.input_data_file = warmup_file(number)


def warmup_file(number: int) -> str:
    return f"input{number}.bin"


def write_model(model: Served, repository: Path) -> None:
    """The model's folder: configuration, version 1, labels and warm-up data of one golden sample."""
    from google.protobuf import text_format

    folder = repository / model.name
    (folder / VERSION).mkdir(parents=True)
    (folder / WARMUP).mkdir()
    text = text_format.MessageToString(config_of(model), as_utf8=True)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    shutil.copyfile(model.source, folder / VERSION / FILES[model.platform])
    if model.facts is not None:
        shutil.copyfile(model.facts, folder / ENGINE_FACTS)
    if model.labels:
        (folder / LABELS).write_text("".join(f"{label}\n" for label in model.labels), encoding="utf-8")
    for number, (spec, values) in enumerate(
        zip(model.inputs, as_asked(model.golden, model.inputs).values(), strict=True)
    ):
        kind = np.dtype(spec.dtype).newbyteorder("<")
        data = np.ascontiguousarray(values[0], dtype=kind).tobytes()
        (folder / WARMUP / warmup_file(number)).write_bytes(data)


def read_config(path: Path) -> Any:
    """The ModelConfig at `path`; raises DataError with line and column of what Triton's schema does not know."""
    from google.protobuf import text_format

    messages = schema()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), messages.ModelConfig())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8") from error
    except text_format.ParseError as error:
        said = str(error).partition(" : ")[2] or str(error)
        raise DataError(f"{path}:{error.GetLine()}:{error.GetColumn()}: {said}") from error
