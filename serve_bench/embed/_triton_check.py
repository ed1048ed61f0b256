"""Holds a model repository to Triton's schema and to the files in it, as the server would when it loads them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import DataError
from serve_bench.embed._triton_config import CONFIG, DTYPES, VERSION, WARMUP, read_config, schema
from serve_bench.embed._triton_models import BACKENDS, ENGINE_FACTS, FILES, profile_limit

NUMBERED = re.compile(r"[A-Za-z]+__(\d+)")
"""What LibTorch's backend takes for a name: the place stands behind two underscores."""
Port = tuple[str, list[int]]
"""Type ("TYPE_FP32") and shape with the batch, -1 for any size."""


def check_repository(folder: Path) -> list[str]:
    """A sentence for everything in the repository that a server would stumble over; none where it is sound.

    Raises BackendUnavailable where Triton's schema is not installed.
    """
    schema()
    models = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if not models:
        return [f"{folder}: holds no model"]
    return [sentence for model in models for sentence in _model(model)]


def _model(folder: Path) -> Iterator[str]:
    path = folder / CONFIG
    try:
        config = read_config(path)
    except DataError as error:
        yield str(error)
        return
    for sentence in (*_names(folder, config), *_batching(config), *_labels(folder, config), *_warmups(folder, config)):
        yield f"{path}: {sentence}"
    for sentence in _contents(folder, config):
        yield f"{path}: {sentence}"


def _names(folder: Path, config: Any) -> Iterator[str]:
    if config.name != folder.name:
        yield f"name is {config.name!r}, the folder's is {folder.name!r}"
    if config.platform not in FILES:
        yield f"platform {config.platform!r} is none of {', '.join(FILES)}"
    elif config.backend != BACKENDS[config.platform]:
        yield f"backend {config.backend!r} does not serve {config.platform}"
    for word, ports in (("input", config.input), ("output", config.output)):
        if not ports:
            yield f"has no {word}"
        for port in ports:
            if not port.dims or any(n == 0 or n < -1 for n in port.dims):
                yield f"{word} {port.name!r} has dims {list(port.dims)}; each is -1 or at least 1"


def _batching(config: Any) -> Iterator[str]:
    most = config.max_batch_size
    if most < 1:
        yield f"max_batch_size is {most}; batches of at least 1 are needed"
    for size in config.dynamic_batching.preferred_batch_size:
        if not 1 <= size <= most:
            yield f"preferred_batch_size {size} is not within max_batch_size {most}"
    kinds = schema().ModelInstanceGroup.Kind
    for group in config.instance_group:
        kind = kinds.Name(group.kind)
        if config.platform == "tensorrt_plan" and kind != "KIND_GPU":
            yield f"an engine cannot run as {kind}"


def _labels(folder: Path, config: Any) -> Iterator[str]:
    for port in config.output:
        if not port.label_filename:
            continue
        path = folder / port.label_filename
        if not path.is_file():
            yield f"label_filename {port.label_filename!r} is not there"
            continue
        count = len(path.read_text(encoding="utf-8").split("\n")) - 1
        if count != port.dims[-1]:
            yield f"{port.label_filename} has {count} labels, output {port.name!r} {port.dims[-1]} classes"


def _warmups(folder: Path, config: Any) -> Iterator[str]:
    types = schema().DataType
    sizes = {name: np.dtype(kind).itemsize for kind, name in DTYPES.items()}
    ports = {port.name: port for port in config.input}
    for warmup in config.model_warmup:
        if not 1 <= warmup.batch_size <= max(config.max_batch_size, 1):
            yield f"warm-up {warmup.name!r} has batch {warmup.batch_size}, max_batch_size is {config.max_batch_size}"
        if set(warmup.inputs) != set(ports):
            yield f"warm-up {warmup.name!r} gives {sorted(warmup.inputs)}, the model takes {sorted(ports)}"
            continue
        for name, entry in warmup.inputs.items():
            port, dims = ports[name], list(entry.dims)
            if entry.data_type != port.data_type or not _fits(dims, list(port.dims)):
                yield f"warm-up {warmup.name!r}: {name!r} is {dims} of {types.Name(entry.data_type)}, not as the input"
                continue
            path = folder / WARMUP / entry.input_data_file
            wanted = math.prod(dims) * sizes.get(types.Name(entry.data_type), 0)
            found = path.stat().st_size if entry.input_data_file and path.is_file() else None
            if found != wanted:
                has = "is not there" if found is None else f"has {found} bytes"
                yield f"{WARMUP}/{entry.input_data_file} {has}; a sample of {name!r} has {wanted}"


def _fits(found: list[int], wanted: list[int]) -> bool:
    return len(found) == len(wanted) and all(b in (-1, a) and a > 0 for a, b in zip(found, wanted, strict=True))


def _contents(folder: Path, config: Any) -> Iterator[str]:
    versions = [p for p in folder.iterdir() if p.is_dir() and p.name.isdecimal()]
    if [p.name for p in versions] != [VERSION]:
        yield f"versions are {sorted(p.name for p in versions)}, not {VERSION} alone"
        return
    path = versions[0] / (config.default_model_filename or FILES.get(config.platform, ""))
    if not path.is_file() or path.stat().st_size == 0:
        yield f"{VERSION}/{path.name} is not there or empty"
    elif config.platform == "onnxruntime_onnx":
        yield from _against(config, *_onnx_ports(path))
    elif config.platform == "tensorrt_plan":
        yield from _plan(folder / ENGINE_FACTS, config)
    elif config.platform == "pytorch_libtorch":
        yield from _numbers(config)


def ports_of(ports: Any) -> dict[str, Port]:
    """By name, as the backend sees them: reshaped, the batch in front."""
    types = schema().DataType
    return {
        p.name: (types.Name(p.data_type), [-1, *(p.reshape.shape if p.HasField("reshape") else p.dims)]) for p in ports
    }


def _against(config: Any, inputs: dict[str, Port], outputs: dict[str, Port]) -> Iterator[str]:
    """Names, types and shapes of the configuration against those of the model itself."""
    for word, told, found in (("input", config.input, inputs), ("output", config.output, outputs)):
        ours = ports_of(told)
        if ours.keys() != found.keys():
            yield f"its {word}s are {sorted(ours)}, the model's {sorted(found)}"
            continue
        for name, port in ours.items():
            if port != found[name]:
                yield f"{word} {name!r} is {port[1]} of {port[0]}, in the model {found[name][1]} of {found[name][0]}"


def _onnx_ports(path: Path) -> tuple[dict[str, Port], dict[str, Port]]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return _ports(graph.input), _ports(graph.output)


def _ports(values: Any) -> dict[str, Port]:
    import onnx

    found = {}
    for value in values:
        tensor = value.type.tensor_type
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        found[value.name] = (DTYPES.get(kind, kind), [d.dim_value or -1 for d in tensor.shape.dim])
    return found


def _plan(path: Path, config: Any) -> Iterator[str]:
    """An engine cannot be read without TensorRT and a GPU: what it was built as speaks for it."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        ends = [
            {
                s["name"]: (DTYPES[s["dtype"]], [n if isinstance(n, int) else -1 for n in s["shape"]])
                for s in facts[word]
            }
            for word in ("inputs", "outputs")
        ]
        limit, flavour = profile_limit(facts), facts["flavour"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{path.name} is missing or damaged ({type(error).__name__})"
        return
    yield from _against(config, ends[0], ends[1])
    if flavour != "tensorrt":
        yield f"the engine was built by {flavour}, not by TensorRT"
    if config.max_batch_size > limit:
        yield f"max_batch_size {config.max_batch_size} is beyond the engine's profile, which ends at {limit}"


def _numbers(config: Any) -> Iterator[str]:
    for word, ports in (("input", config.input), ("output", config.output)):
        found = [NUMBERED.fullmatch(p.name) for p in ports]
        if [int(m[1]) if m else -1 for m in found] != list(range(len(ports))):
            yield f"{word}s are {[p.name for p in ports]}; LibTorch's backend wants NAME__0, NAME__1, … in this order"
