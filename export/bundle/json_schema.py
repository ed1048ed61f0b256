"""JSON Schema (2020-12) of what `encoding.to_json` makes of a dataclass, with the docstrings of its fields."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "string", type(None): "null"}


def schema_of(title: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties: name → type, or a JSON Schema as it is."""
    definitions: dict[str, Any] = {}
    made = {n: k if isinstance(k, dict) else _of(k, definitions) for n, k in properties.items()}
    return {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": made,
        "required": list(made),
        "$defs": dict(sorted(definitions.items())),
    }


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _object_of(kind, kind._fields, kind._fields, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(argument, definitions) for argument in arguments]}
    if origin in (tuple, list):
        return {"type": "array", "items": _of(arguments[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    return {}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    without = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    return _object_of(kind, [f.name for f in fields(kind)], without, definitions)


def _object_of(
    kind: type, names: Sequence[str], required: Sequence[str], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Of a dataclass, and of a named tuple that is written as an object."""
    types_of, words = typing.get_type_hints(kind), _words(kind)
    properties = {}
    for name in names:
        made = _of(types_of[name], definitions)
        properties[name] = made | ({"description": words[name]} if name in words else {})
    first = (inspect.getdoc(kind) or "").splitlines()[:1]
    return {
        "type": "object",
        "description": " ".join(first),
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


@cache
def _words(kind: type) -> dict[str, str]:
    """The string below each field."""
    body = ast.parse(inspect.getsource(kind).lstrip()).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        told = after.value if isinstance(after, ast.Expr) else None
        if isinstance(told, ast.Constant) and isinstance(told.value, str):
            found[statement.target.id] = " ".join(told.value.split())
    return found
