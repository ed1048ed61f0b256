"""The zoo on stdout: every model and variant, and their published figures beside ours."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pipeline.table import console, print_json, table

if TYPE_CHECKING:
    from export.bundle.types import ModelSpec, Published

WIDE_TABLE = 120
"""Columns that a row of the reproduction table needs in one line."""


def print_models(*, as_json: bool) -> None:
    """Every model and variant: its data set, parameters, published figure and source."""
    from export.registry import entries
    from pipeline.variants import range_of, source_of, variants

    models = entries("pipeline.models").values()
    specs = [variant for model in models for variant in variants(model)]
    if as_json:
        print_json([_described(spec) for spec in specs])
        return
    sources = list(dict.fromkeys(map(source_of, specs)))
    rows = [
        (
            spec.id,
            spec.variant,
            spec.dataset,
            ", ".join(parameter.name for parameter in spec.parameters),
            _published(spec.published),
            f"[{sources.index(source_of(spec)) + 1}]",
        )
        for spec in specs
    ]
    columns = [(name, "left") for name in ("model", "variant", "data", "parameters", "published", "source")]
    table("", columns, rows)
    for spec in specs:
        if spec.published and spec.published.note:
            print(f"{' '.join(filter(None, [spec.id, spec.variant]))}: {spec.published.note}")
    print("\n".join(["", *(f"[{i}] {source}" for i, source in enumerate(sources, 1)), ""]))
    told = [
        (model.id, f"{p.name}={p.default}", f"{p.help}; {range_of(p)}") for model in models for p in model.parameters
    ]
    table("Parameters", [(name, "left") for name in ("model", "--set", "is")], told)


def _published(published: Published | None) -> str:
    if published is None:
        return ""
    return f"{published.figure:.2%}" if "accuracy" in published.metric else f"{published.figure:.4g}"


def _described(spec: ModelSpec) -> dict[str, Any]:
    """A model for machines: everything but its functions."""
    functions = ("build", "graph", "step", "variants")
    plain = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in functions}
    return {"variant": spec.variant} | plain


def print_reproduction(outcome: Any, *, as_json: bool) -> None:
    """Published figures beside ours, why where they differ, and where the reports lie."""
    from pipeline.reproduction_page import BRIEF, LEGEND, all_remarks, brief, runs_of

    if as_json:
        print_json({"models": outcome.finished, "rows": outcome.rows})
        return
    columns = [(heading, "left" if i in (0, len(BRIEF) - 1) else "right") for i, heading in enumerate(BRIEF)]
    narrow = console().width < WIDE_TABLE
    table("", columns, [brief(row, narrow=narrow) for row in outcome.rows])
    for line in filter(None, [*all_remarks(outcome.rows), runs_of(outcome.rows), LEGEND]):
        print(line)
    print(f"\nreport   {outcome.reports['html']}")
