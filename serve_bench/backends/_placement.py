"""Where the nodes of an ONNX Runtime session really run."""

from __future__ import annotations

from typing import Any

from export.bundle.errors import BackendFailed, BackendUnavailable

BOOKKEEPING = frozenset(
    ["Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Constant", "ConstantOfShape"]
) | frozenset(["Range", "Reshape", "Equal", "Where", "Expand", "Identity"])
"""Operators that move shapes and indices about; any other has to be of an integer type to count as bookkeeping."""


def check_provider(name: str, session: Any, provider: str, path: str) -> dict[str, Any]:
    """Providers and nodes per provider of an open session.

    Raises BackendUnavailable where the session runs without `provider` (ONNX Runtime falls back without raising), and
    BackendFailed where a node that computes sits elsewhere: then the figure would be another provider's in part.
    """
    providers = list(session.get_providers())
    if provider not in providers:
        raise BackendUnavailable(
            f"{name}: ONNX Runtime did not load {provider} and fell back to {', '.join(providers)}: "
            "see its CUDA and cuDNN requirements, and run `pipeline doctor`"
        )
    nodes = placement(session)
    if nodes is None:
        if provider == "CPUExecutionProvider":
            return {
                "providers": providers,
                "placement": "not recorded by this version; only the CPU provider is loaded",
            }
        raise BackendUnavailable(
            f"{name}: this ONNX Runtime cannot say where nodes run: pip install 'onnxruntime-gpu>=1.31'"
        )
    counts = {p: len(found) for p, found in nodes.items()}
    elsewhere = [node for p, found in nodes.items() if p != provider for node in found]
    strangers = [(n, op) for n, op in elsewhere if op not in BOOKKEEPING]
    if strangers:
        integer = integer_nodes(path)
        strangers = [(n, op) for n, op in strangers if n not in integer]
    if strangers:
        listed = ", ".join(f"{op} {n!r}" for n, op in strangers[:3])
        raise BackendFailed(f"{name}: {len(strangers)} nodes do not run on {provider}: {listed}; no figure is given")
    return {"providers": providers, "placement": counts, "elsewhere": sorted({op for _, op in elsewhere})}


def placement(session: Any) -> dict[str, list[tuple[str, str]]] | None:
    """Provider → (node, operator) pairs; None where this version does not record it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    found: dict[str, list[tuple[str, str]]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend((n.name, n.op_type) for n in part.get_nodes())
    return found


def integer_nodes(path: str) -> set[str]:
    """Names of the nodes all of whose outputs are integers or booleans, by ONNX's own type inference."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    whole = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
    return {n.name for n in graph.node if n.output and all(kinds.get(o) in whole for o in n.output)}
