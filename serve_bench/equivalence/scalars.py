"""Numbers that a `.pt2` keeps in its graph, not in its tensors: an epsilon, a stride, a mode. Nothing is executed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_bench.equivalence.stored import program_module

CASTS = ("_assert_tensor_metadata.default", "to.dtype", "_to_copy.default")
"""What typing a program adds."""
KINDS = ("as_float", "as_int", "as_bool", "as_floats", "as_ints", "as_bools", "as_string")
Node = tuple[str, str, tuple[tuple[str, Any], ...]]
"""Operator, name of the node, and its scalar arguments by name."""


def differences(program: Path, artifact: Path) -> list[str]:
    """A sentence for each scalar of `artifact` that is not that of `program`, both `.pt2`.

    Nodes are held against each other in their order, casts left out. Where the operators themselves differ, as where a
    network chooses them by its type, nothing is said: only the numbers speak. Raises KeyError, ValueError, TypeError
    where a graph cannot be read.
    """
    expected, found = (list(nodes(path)) for path in (program, artifact))
    if [kind for kind, _, _ in expected] != [kind for kind, _, _ in found]:
        return []
    said = []
    for (_, _, right), (kind, name, own) in zip(expected, found, strict=True):
        wanted = dict(right)
        said += [
            f"{name}: {argument} of {kind} is {value}, where the model's is {wanted.get(argument)}"
            for argument, value in own
            if wanted.get(argument) != value
        ]
    return said


def nodes(path: Path) -> Iterator[Node]:
    """Of the graph and, behind the node that holds them, of the graphs inside it."""
    yield from _of(program_module(path)["graph"])


def _of(graph: Any) -> Iterator[Node]:
    for node in graph["nodes"]:
        kind = node["target"].rsplit("ops.", 1)[-1]
        if kind.endswith(CASTS):
            continue
        scalars = []
        for i, given in enumerate(node["inputs"]):
            for form, value in given["arg"].items():
                if form in KINDS:
                    scalars.append((given["name"] or f"argument {i}", value))
        yield kind, str(node.get("name") or kind), tuple(scalars)
        for given in node["inputs"]:
            inner = given["arg"].get("as_graph")
            if inner:
                yield from _of(inner["graph"])
