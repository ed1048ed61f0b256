"""The user's own model: `FILE.py:factory` with safetensors weights, or a `.pt2`, and inputs in an .npz.

Both run the user's code, as `python FILE.py` would; neither is ever opened unasked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export._own_factory import forward_parameters, module_from_factory
from export.bundle.errors import DataError, ExportError, UnknownName, UsageError
from export.bundle.types import DatasetFacts, ModelSpec, TensorSpec, TrainedModel
from export.formats._base import Arrays
from export.formats._write import words_of
from export.npz import read_npz
from export.program import flatten_signature, load_program, module_of, resized, tensors, with_forward

EXAMPLE_SAMPLES = 8
"""Samples that a dynamic model is traced and checked with."""
NARROWED = {"float64": "float32", "float16": "float32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}
"""Stored types that a float32 model does not take, and what they become."""


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """What the command line named, ready for `export.run`."""

    trained: TrainedModel
    arrays: Arrays
    """Every sample of the .npz, by input name."""
    example: Arrays
    """What the formats are traced with: the first samples where the batch is dynamic, else all of `arrays`."""
    program: Path | None
    """The user's `.pt2`, where it is one."""


def load_own(
    target: str, *, inputs: Path, weights: Path | None = None, dynamic: Sequence[str] = (), name: str | None = None
) -> OwnModel:
    """The model that `target` ("FILE.py:factory" or "model.pt2") names, with specs found by running it on `inputs`.

    `dynamic` may hold "batch": axis 0 of every input. A `.pt2` has its own dynamic axes. Raises UsageError, DataError,
    TrainingError (weights of another model) or ExportError, each with what to do.
    """
    for axis in dynamic:
        if axis != "batch":
            raise UnknownName("dynamic axis", axis, ["batch"])
    stored = read_inputs(inputs)
    if target.endswith(".pt2"):
        if weights is not None:
            raise UsageError(f"--weights {weights}: a .pt2 holds its weights; leave --weights out")
        return _own_program(Path(target), stored, inputs, bool(dynamic), name)
    module, _, facts = module_from_factory(target, weights)
    arrays = bound(stored, *forward_parameters(module), inputs)
    if dynamic:
        _check_batch(arrays, inputs)
    specs = tuple(
        TensorSpec(name=n, dtype=str(a.dtype), shape=("batch", *a.shape[1:]) if dynamic else a.shape)
        for n, a in arrays.items()
    )
    example = _example(arrays, specs)
    outputs, nested = output_specs(module, specs, example, target)
    if nested:
        module = with_forward(module, lambda forward, *values: _flat(forward(*values)))
    trained = _trained(name or Path(target.rpartition(":")[0]).stem, module, specs, outputs, arrays, facts)
    return OwnModel(trained=trained, arrays=arrays, example=example, program=None)


def _own_program(path: Path, stored: Arrays, inputs: Path, dynamic: bool, name: str | None) -> OwnModel:
    program = load_program(path)
    flatten_signature(program)
    placeholders = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
    names = list(program.graph_signature.user_inputs)
    arrays = bound(stored, names, len(names), inputs)
    specs = _program_specs(arrays, [placeholders[n] for n in names], inputs)
    if dynamic and not any("batch" in spec.shape for spec in specs):
        raise UsageError(f"--dynamic batch: {path} was exported with a fixed batch; export it with a dynamic axis 0")
    example, module = _example(arrays, specs), module_of(program)
    outputs, _ = output_specs(module, specs, example, str(path))
    facts = {"weights": str(path.name), "program": hashlib.sha256(path.read_bytes()).hexdigest()}
    trained = _trained(name or path.stem, module, specs, outputs, arrays, facts)
    return OwnModel(trained=trained, arrays=arrays, example=example, program=path)


def _program_specs(arrays: Arrays, values: Sequence[Any], inputs: Path) -> tuple[TensorSpec, ...]:
    """Specs from the program's own sizes; the symbol of an axis 0 is called `batch` wherever it stands."""
    symbols: dict[str, str] = {}
    for name, value in zip(arrays, values, strict=True):
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                symbols.setdefault(str(size), "batch" if axis == 0 else f"{name}_{axis}")
    specs = []
    for (name, array), value in zip(arrays.items(), values, strict=True):
        shape = tuple(s if isinstance(s, int) else symbols[str(s)] for s in value.shape)
        dtype = str(value.dtype).removeprefix("torch.")
        fits = len(shape) == array.ndim and all(
            a == b for a, b in zip(shape, array.shape, strict=True) if isinstance(a, int)
        )
        if not fits or dtype != str(array.dtype):
            raise DataError(f"{inputs}: {name!r} is {array.dtype} {array.shape}; the program takes {dtype} {shape}")
        specs.append(TensorSpec(name=name, dtype=dtype, shape=shape))
    return tuple(specs)


def read_inputs(path: Path) -> dict[str, Any]:
    """The arrays of an .npz in their order, none of them pickled; raises DataError."""
    arrays: dict[str, Any] = read_npz(path)
    if not arrays:
        raise DataError(f"{path}: holds no array; save inputs with numpy.savez(path, name=array)")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.size == 0:
            raise DataError(f"{path}: {name!r} is {array.dtype} {array.shape}; a non-empty array of numbers is needed")
        arrays[name] = np.ascontiguousarray(array.astype(NARROWED.get(str(array.dtype), array.dtype), copy=False))
    return arrays


def bound(stored: Arrays, parameters: Sequence[str], required: int, path: Path) -> dict[str, Any]:
    """The arrays in the order of the model's parameters, of which the first `required` have no default.

    One array, and arrays that numpy.savez named arr_0, arr_1, …, are bound by position. Raises DataError.
    """
    holds = f"it holds {', '.join(stored)}"
    by_position = len(stored) == 1 or all(re.fullmatch(r"arr_\d+", name) for name in stored)
    names = list(parameters[: len(stored)]) if by_position else [p for p in parameters if p in stored]
    unknown = [] if by_position else [name for name in stored if name not in parameters]
    if unknown or len(stored) > len(parameters):
        extra = unknown[0] if unknown else list(stored)[-1]
        raise DataError(f"{path}: the model takes no input {extra!r}; it takes {', '.join(parameters)}; {holds}")
    for position, parameter in enumerate(parameters[: max(required, len(names))]):
        if parameter not in names:
            why = "the model needs" if position < required else "stands before another that is given"
            raise DataError(f"{path}: input {parameter!r}, which {why}, is missing; {holds}")
    if not by_position:
        return {name: stored[name] for name in names}
    own = {n: p if n.startswith("arr_") else n for n, p in zip(stored, names, strict=True)}
    return {own[name]: array for name, array in stored.items()}


def _check_batch(arrays: Arrays, path: Path) -> None:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if None in sizes.values() or len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(f"{path}: --dynamic batch needs one size of axis 0 in every array; they are {listed}")


def _example(arrays: Arrays, specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """At most 8 samples and at least 2: torch.export takes a size of 1 for a constant."""
    samples = next((arrays[s.name].shape[s.shape.index("batch")] for s in specs if "batch" in s.shape), 0)
    return resized(arrays, specs, "batch", min(max(samples, 2), EXAMPLE_SAMPLES))


def output_specs(
    module: Any, specs: Sequence[TensorSpec], example: Arrays, what: str
) -> tuple[tuple[TensorSpec, ...], bool]:
    """Names, types and shapes of the answers, found by running the module; and whether they are nested.

    An axis that follows the batch is called `batch`. Raises ExportError where the module does not run.
    """
    first = _answers(module, specs, example, what)
    samples = next((example[s.name].shape[s.shape.index("batch")] for s in specs if "batch" in s.shape), None)
    second = first
    if samples is not None:
        second = _answers(module, specs, resized(example, specs, "batch", samples + 1), what)
    found = []
    for (name, a), (_, b) in zip(_named(first), _named(second), strict=True):
        shape = tuple(_axis(name, i, m, n, samples) for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)))
        found.append(TensorSpec(name=name, dtype=str(a.dtype).removeprefix("torch."), shape=shape))
    if not found:
        raise ExportError(f"{what}: the model gives no tensor; its forward must return one, a tuple or a dict of them")
    flat = hasattr(first, "shape") or (type(first) is tuple and all(hasattr(v, "shape") for v in first))
    return tuple(found), not flat


def _axis(name: str, axis: int, size: int, larger: int, samples: int | None) -> int | str:
    if size == larger:
        return size
    return "batch" if (size, larger) == (samples, (samples or 0) + 1) else f"{name}_{axis}"


def _answers(module: Any, specs: Sequence[TensorSpec], arrays: Arrays, what: str) -> Any:
    import torch

    try:
        with torch.inference_mode():
            return module(*tensors(arrays, specs))
    except Exception as error:
        shapes = ", ".join(f"{s.name} {arrays[s.name].dtype} {arrays[s.name].shape}" for s in specs)
        raise ExportError(f"{what}: the model does not run on {shapes}: {words_of(error)}") from error


def _named(outputs: Any) -> list[tuple[str, Any]]:
    """Each tensor with its name: `output`; output0, output1_0, … by place; a dict's own keys."""
    import torch
    from torch.utils import _pytree

    found: list[tuple[str, Any]] = []
    for path, leaf in _pytree.tree_flatten_with_path(outputs)[0]:
        if not isinstance(leaf, torch.Tensor):
            continue
        words = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path]
        words = [re.sub(r"\W", "_", word) for word in words]
        found.append(("output" + "_".join(words) if not words or words[0].isdigit() else "_".join(words), leaf))
    return found


def _flat(outputs: Any) -> Any:
    import torch
    from torch.utils import _pytree

    values = tuple(leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor))
    return values[0] if len(values) == 1 else values


def _trained(
    name: str,
    module: Any,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    arrays: Arrays,
    facts: Mapping[str, Any],
) -> TrainedModel:
    digest = hashlib.sha256()
    for key, array in sorted(arrays.items()):
        digest.update(f"{key} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    samples = max((a.shape[0] for a in arrays.values() if a.ndim), default=1)
    return TrainedModel(
        spec=ModelSpec(
            id=re.sub(r"[^\w.-]", "-", name),
            task="unlabelled",
            dataset="user",
            build=lambda: module,
            inputs=inputs,
            outputs=outputs,
            description="The user's own model.",
        ),
        module=module,
        recipe=None,
        metrics={},
        seconds=0.0,
        seed=0,
        dataset=DatasetFacts(
            name="user", digest=digest.hexdigest(), train=0, validation=0, test=samples, note="inputs without labels"
        ),
        facts=dict(facts),
    )
