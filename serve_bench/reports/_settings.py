"""The settings that each form was timed with, as its session stated them, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_bench.reports._types import Summary

TITLE = "Settings of each backend"
HEADINGS = ("form", "settings")


def rows(summary: Summary) -> list[tuple[str, str]]:
    """Form and settings of the interleaved run, a row a form: all its batches and boundaries share a session."""
    found: dict[str, str] = {}
    for row in summary.rows:
        if row.settings:
            found.setdefault(row.subject.label, text(row.settings))
    return list(found.items())


def text(settings: Mapping[str, Any]) -> str:
    """ "threads = 1; mode = op by op; shape guards = no": threads first, the rest as the record has it."""
    ordered = sorted(settings.items(), key=lambda item: "threads" not in item[0])
    return "; ".join(f"{name.replace('_', ' ')} = {_value(value)}" for name, value in ordered)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_inner(own)}" for name, own in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inner, value)) or "none"
    return f"{value}"


def _inner(value: Any) -> str:
    """What stands within another value, in brackets where it has parts itself."""
    return f"({_value(value)})" if isinstance(value, Mapping | list | tuple) else _value(value)
