"""Records as JSON values and back: `to_json`, `from_json`. What does not fit is named by its path."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

Json = Any
T = TypeVar("T")


def to_json(value: Any) -> Json:
    """Plain JSON values of a record: callables are left out, "nan", "inf" and "-inf" are strings (JSON has none)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {k: to_json(v) for k, v in pairs if not callable(v)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, PurePosixPath):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [to_json(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, (bool, int, float, str)):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def from_json(kind: type[T], value: Json) -> T:
    """The record of type `kind` that `to_json` turned into `value`; raises ValueError where it does not fit."""
    return typing.cast(T, _read(kind, value, kind.__name__))


def part_from_json(kind: type[T], value: Mapping[str, Json]) -> T:
    """The same of an object that may have other fields too."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return from_json(kind, {name: v for name, v in value.items() if name in known})


def _read(kind: Any, value: Json, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_record(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where}: a list was expected, not {type(value).__name__}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            if set(map(type, value)) <= {arguments[0]}.intersection((int, str)):
                return tuple(value)  # thousands of latencies
            return tuple(_read(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        return tuple(value)
    if origin in (types.UnionType, typing.Union):
        for option in arguments:
            try:
                return _read(option, value, where)
            except ValueError:
                continue
        raise ValueError(f"{where}: {value!r} fits none of its types")
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}")
        return value
    if kind in (int, float, str, bool):
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        whole = isinstance(value, int) and not isinstance(value, bool)
        if kind is float and (whole or value in ("nan", "inf", "-inf")):
            try:
                return float(value)
            except OverflowError as error:
                raise ValueError(f"{where}: {error}") from error
        if not fits:
            raise ValueError(f"{where}: {kind.__name__} was expected, not {value!r}")
    if kind is type(None) and value is not None:
        raise ValueError(f"{where}: null was expected")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: an object was expected, not {value!r}")
        for name, v in value.items():
            _read(arguments[1], v, f"{where}[{name!r}]")
    return value


def _read_record(kind: Any, value: Json, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: an object was expected, not {type(value).__name__}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}
    unknown = set(value) - set(known)
    if unknown:
        raise ValueError(f"{where}: unknown field {sorted(unknown)[0]!r}")
    missing = [
        name
        for name, f in known.items()
        if name not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: field {missing[0]!r} is missing")
    return kind(**{name: _read(hints[name], v, f"{where}.{name}") for name, v in value.items()})
