"""Faults of what an operator is set to: the epsilon of a norm, training mode. In ONNX files and in model.pt2."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serve_bench.equivalence.faults._base import Fault, Subject, chosen, model_of
from serve_bench.equivalence.stored import archive_prefix, edit_onnx

FACTOR = 100.0
"""An epsilon of 1e-5 becomes 1e-3, as some frameworks have it by default."""
Found = Iterator[tuple[str, str, Callable[[Any], None]]]
"""Kind, what is done in words, and the edit, of a ModelProto or a list of nodes."""


def _of_onnx(model: Any) -> Found:
    def edit(index: int, model: Any) -> None:
        for attribute in model.graph.node[index].attribute:
            if attribute.name == "epsilon":
                attribute.f *= FACTOR

    for i, node in enumerate(model.graph.node):
        if any(a.name == "epsilon" and a.f > 0 for a in node.attribute):
            yield "wrong epsilon", f"{node.name}: epsilon × {FACTOR:g}", partial(edit, i)


def _of_program(nodes: list[Any]) -> Found:
    def widen(index: int, place: int, nodes: list[Any]) -> None:
        argument = nodes[index]["inputs"][place]["arg"]
        argument["as_float"] *= FACTOR

    def train(index: int, place: int, nodes: list[Any]) -> None:
        nodes[index]["inputs"][place]["arg"] = {"as_bool": True}

    for i, node in enumerate(nodes):
        operator = node["target"].rsplit("ops.", 1)[-1]
        for place, argument in enumerate(node["inputs"]):
            name, value = argument["name"], argument["arg"]
            if name == "eps" and value.get("as_float", 0.0) > 0:
                yield "wrong epsilon", f"{node['name']}: epsilon × {FACTOR:g}", partial(widen, i, place)
            if name in ("train", "training") and value.get("as_bool") is False:
                kind = "dropout in training mode" if "dropout" in operator else "batch norm in training mode"
                yield kind, f"{node['name']} trains", partial(train, i, place)


def _nodes_of(archive: zipfile.ZipFile) -> tuple[str, Any]:
    name = f"{archive_prefix(archive, '/archive_format')}/models/model.json"
    return name, json.loads(archive.read(name))


def _edit_program(path: Path, edit: Callable[[list[Any]], None], destination: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entry, document = _nodes_of(archive)
        edit(document["graph_module"]["graph"]["nodes"])
        with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as copy:
            for info in archive.infolist():
                own = json.dumps(document).encode() if info.filename == entry else archive.read(info)
                copy.writestr(info.filename, own)


@dataclass(frozen=True)
class Settings:
    name: str = "settings"

    def faults(self, subject: Subject) -> Iterator[Fault]:
        found, write = self._found(subject)
        for kind in dict.fromkeys(kind for kind, _, _ in found):
            of_kind = [(words, edit) for other, words, edit in found if other == kind]
            for words, edit in chosen(of_kind, subject):
                yield Fault(kind=kind, name=words, write=partial(write, subject.path, edit))

    def _found(self, subject: Subject) -> tuple[list[tuple[str, str, Callable[[Any], None]]], Callable[..., None]]:
        model = model_of(subject)
        if model is not None:
            return list(_of_onnx(model)), edit_onnx
        if subject.artifact.format == "exported_program":
            with zipfile.ZipFile(subject.path) as archive:
                return list(_of_program(_nodes_of(archive)[1]["graph_module"]["graph"]["nodes"])), _edit_program
        return [], edit_onnx


ENTRIES = (Settings(),)
"""TorchScript keeps its settings in code."""
