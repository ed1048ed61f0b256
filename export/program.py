"""Reading `model.pt2`, the one graph that everything else is made from. Opening one runs what is in it: trust first.

An `ExportedProgram` file holds a graph as JSON whose symbolic sizes are evaluated as Python, and may hold pickles.
"""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import ExportError
from export.bundle.files import canonical_json, digest_of
from export.bundle.types import LENGTH, LENGTHS, ModelSpec, TensorSpec

SOURCE_METADATA = ("stack_trace", "source_fn_stack", "from_node", "original_aten")


def load_program(path: Path) -> Any:
    """The ExportedProgram in `path`, always a fresh copy: `.double()` and `.half()` change one in place."""
    import torch

    try:
        return torch.export.load(io.BytesIO(path.read_bytes()))
    except FileNotFoundError as error:
        raise ExportError(f"{path}: no such file; name a program that torch.export.save wrote") from error
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{path}: is not a program that torch.export.save wrote ({words[0]})") from error


def module_of(program: Any) -> Any:
    """The program as a torch module, in the arithmetic of its file, without run-time guards."""
    guarded = "check_guards" in inspect.signature(program.module).parameters
    module = program.module(check_guards=False) if guarded else program.module()
    module._forward_pre_hooks.clear()
    module._forward_pre_hooks_with_kwargs.clear()
    return module


def traceable_module(path: Path) -> Any:
    """The program in `path` as a module for torch.jit.trace: sizes are asked of tensors and stay dynamic."""
    import torch

    program = load_program(path)
    flatten_signature(program)
    module = module_of(program)
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif isinstance(node.target, torch._ops.OpOverload) and _takes_size(node):
            name = node.target._schema.name.rpartition("::")[2]
            node.target = getattr(torch, name, None) or getattr(torch.Tensor, name, node.target)
    module.recompile()
    return module


def _takes_size(node: Any) -> bool:
    """Whether the operator is given a dynamic size, which tracing follows through torch's own functions alone."""
    import torch

    return any(isinstance(i.meta.get("val"), torch.SymInt) for i in node.all_input_nodes)


def module_in(path: Path, dtype: str) -> Any:
    """The program in `path` as a fresh torch module that computes in `dtype` ("float64", "float16", "bfloat16").

    Weights, constants and the float32 that the graph itself names (the initial state of an LSTM is made inside it) are
    all of `dtype`; the module takes and gives floating-point tensors of `dtype`, in the order of its inputs.
    """
    import torch

    target = getattr(torch, dtype)
    program = load_program(path)
    flatten_signature(program)
    module = module_of(program).to(target)
    for graph_module in [m for m in module.modules() if isinstance(m, torch.fx.GraphModule)]:
        for node in graph_module.graph.nodes:
            node.args = _retyped(node.args, torch.float32, target)
            node.kwargs = _retyped(node.kwargs, torch.float32, target)
            if node.op == "get_attr":
                _retype_constant(graph_module, str(node.target), target)
        graph_module.recompile()
    return module


def _retyped(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_retyped(v, old, new) for v in value)
    if isinstance(value, Mapping):
        return {k: _retyped(v, old, new) for k, v in value.items()}
    return new if value is old else value


def _retype_constant(graph_module: Any, name: str, dtype: Any) -> None:
    import torch

    owner_name, _, attribute = name.rpartition(".")
    owner = graph_module.get_submodule(owner_name)
    value = getattr(owner, attribute, None)
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        setattr(owner, attribute, value.to(dtype))


def cast_at_ends(module: Any, dtype: str) -> None:
    """Lets a module of `module_in(path, dtype)` take and give float32: a cast after each input, one before each output.

    The casts are nodes of its graph, so that the names of weights stay.
    """
    import torch

    cast, inner, graph = torch.ops.aten.to.dtype, getattr(torch, dtype), module.graph
    for node in [n for n in graph.nodes if n.op == "placeholder"]:
        if node.meta["val"].dtype == torch.float32:
            users = list(node.users)
            with graph.inserting_after(node):
                narrow = graph.call_function(cast, (node, inner))
            for user in users:
                user.replace_input_with(node, narrow)
    output = next(n for n in graph.nodes if n.op == "output")
    with graph.inserting_before(output):
        output.args = torch.fx.map_arg(
            output.args, lambda n: graph.call_function(cast, (n, torch.float32)) if _is_float(n) else n
        )
    module.recompile()


def _is_float(node: Any) -> bool:
    value = node.meta.get("val")
    return hasattr(value, "dtype") and bool(value.dtype.is_floating_point)


def leaves(outputs: Any) -> list[Any]:
    """The tensors of a module's answer in the order of its output specs, however lists and mappings nest them."""
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [leaf for item in outputs for leaf in leaves(item)]
    return [outputs] if hasattr(outputs, "is_floating_point") else []


def with_forward(module: Any, around: Callable[..., Any]) -> Any:
    """`module` itself, whose call is now `around(its own forward, *inputs)`; the names of its weights stay."""
    own = type(module)

    def forward(self: Any, *inputs: Any) -> Any:
        return around(lambda *values: own.forward(self, *values), *inputs)

    forward.__signature__ = inspect.signature(own.forward)  # type: ignore[attr-defined]
    module.__class__ = type(own.__name__, (own,), {"forward": forward, "__module__": own.__module__})
    return module


def tensors(arrays: Mapping[str, Any], specs: Sequence[TensorSpec]) -> tuple[Any, ...]:
    """Arrays by name as torch tensors in the order of `specs`; they own their memory."""
    import torch

    return tuple(torch.from_numpy(np.array(arrays[spec.name], copy=True)) for spec in specs)


def resized(arrays: Mapping[str, Any], specs: Sequence[TensorSpec], axis: str, size: int) -> dict[str, Any]:
    """The same arrays with every dynamic axis named `axis` repeated or cut to `size`; lengths follow."""
    sized = dict(arrays)
    for spec in specs:
        for position, name in enumerate(spec.shape):
            if name == axis:
                index = np.arange(size) % sized[spec.name].shape[position]
                sized[spec.name] = np.take(sized[spec.name], index, axis=position)
                if axis == LENGTH and LENGTHS in sized:
                    scaled = arrays[LENGTHS] * size // arrays[spec.name].shape[position]
                    sized[LENGTHS] = scaled.clip(1, size).astype(arrays[LENGTHS].dtype)
    return sized


def sizes_to_try(spec: ModelSpec, sizes: Sequence[int]) -> list[tuple[str, int]]:
    """Each dynamic axis with each of `sizes`, and with the largest of its documented range."""
    found = [(axis, size) for axis in dynamic_axes(spec.inputs) for size in sizes]
    return found + [(axis, ends[1]) for axis, ends in spec.axes.items()]


def dynamic_axes(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Names of the dynamic axes, in the order in which they first stand."""
    return tuple(dict.fromkeys(name for spec in specs for name in spec.shape if isinstance(name, str)))


def dynamic_shapes(specs: Sequence[TensorSpec]) -> tuple[dict[int, Any], ...]:
    """For torch.export: one `Dim` for each name, down to size 1 (`Dim.AUTO` would stop at 2)."""
    import torch

    dims = {name: torch.export.Dim(name, min=1) for name in dynamic_axes(specs)}
    return tuple({i: dims[n] for i, n in enumerate(spec.shape) if isinstance(n, str)} for spec in specs)


def flatten_signature(program: Any) -> None:
    """Makes the program take its tensors one by one and give them as one flat tuple; the graph itself is so already."""
    from torch.utils import _pytree

    signature = program.module_call_graph[0].signature
    inputs = len(program.graph_signature.user_inputs)
    outputs = len(program.graph_signature.user_outputs)
    signature.in_spec = _pytree.tree_structure((tuple(range(inputs)), {}))
    signature.out_spec = _pytree.tree_structure(0 if outputs == 1 else tuple(range(outputs)))


def strip_sources(program: Any) -> None:
    """Takes source paths and stack traces out of every node; which module a node came from stays."""
    import torch

    for module in [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]:
        for node in module.graph.nodes:
            for key in SOURCE_METADATA:
                node.meta.pop(key, None)


def content_of_program(program: Any) -> str:
    """Digest of what the program computes: code, signature, ranges of its sizes, and every weight's bytes."""
    import torch

    stored = {**program.state_dict, **program.constants}
    weights = {
        name: [str(value.dtype), list(value.shape), hashlib.sha256(_raw(value)).hexdigest()]
        for name, value in sorted(stored.items())
        if isinstance(value, torch.Tensor)
    }
    code = [m.code for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    ranges = sorted(f"{r.lower}..{r.upper}" for r in program.range_constraints.values())
    return digest_of([code, str(program.graph_signature), ranges, canonical_json(weights).decode()])


def _raw(tensor: Any) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else b""
