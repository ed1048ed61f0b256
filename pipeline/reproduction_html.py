"""The reproduction table as an HTML page with a picture: every row's difference from its published figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from pipeline.reproduction import Row
from pipeline.reproduction_page import (
    HEADINGS,
    LEGEND,
    TITLE,
    all_remarks,
    by_source,
    cells,
    label,
    number,
    runs_of,
    shown,
)

BELOW = {
    "model": "variant",
    "published": "figure",
    "ours, published recipe": "reproduced",
    "ours, fast": "reaches it",
    "training: published": "fast",
}
"""Columns that stand in smaller print below another: the table fits its page."""
SAID = {
    ("reproduced", "yes"): "reproduced",
    ("reproduced", "no"): "not reproduced",
    ("reaches it", "yes"): "reaches it",
    ("reaches it", "no"): "does not reach it",
    ("figure", "accuracy, higher is better"): "",
}
CAPTION = (
    "Accuracy, ours less the published figure, in points; the scale is linear within ±1 and logarithmic beyond. Bars: "
    "what a reproduction may differ by. Circles: ours by the published recipe; squares: by fast."
)
LINEAR = 1.0
"""Points on either side of 0 that are drawn to scale."""


def page(rows: Sequence[Row]) -> str:
    """One HTML page that needs nothing else."""
    style = resources.files("serve_bench.reports").joinpath("report.css").read_text()
    picture = _picture(rows)
    figure = f"<figure>{picture}<figcaption>{escape(CAPTION)}</figcaption></figure>" if picture else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{style}</style></head><body><main>"
        f"<header><h1>{TITLE}</h1><p>{escape(_first_sentence(rows))}</p><p>{escape(runs_of(rows))}</p></header>"
        f'{"".join(_tables(rows))}<p class="legend">{escape(LEGEND)}</p>{figure}</main></body></html>\n'
    )


def _first_sentence(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row.reproduced is not None]
    aimed = [row for row in rows if row.reached is not None]
    return (
        f"{sum(bool(row.reproduced) for row in judged)} of {len(judged)} published figures are reproduced by their own "
        f"recipe; fast reaches {sum(bool(row.reached) for row in aimed)} of {len(aimed)}."
    )


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    below = set(BELOW.values())
    columns = [i for i in shown(rows) if HEADINGS[i] not in below]
    head = "".join(f'<th scope="col">{escape(_heading(HEADINGS[i]))}</th>' for i in columns)
    for source, some in by_source(rows).items():
        body = "".join(_line(row, columns) for row in some)
        yield (
            f"<h2>{escape(source)}</h2>"
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(source)}"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
        told = "".join(f"<li>{escape(remark)}</li>" for remark in all_remarks(some))
        yield f'<ul class="legend">{told}</ul>' if told else ""


def _heading(name: str) -> str:
    return {"training: published": "training: published, fast"}.get(name, name)


def _line(row: Row, columns: Sequence[int]) -> str:
    texts = dict(zip(HEADINGS, cells(row), strict=True))

    def cell(heading: str) -> str:
        value, _, bracket = texts[heading].partition(" (")
        inside = bracket.removesuffix(")")
        if inside.isdigit():
            inside += " runs" if inside != "1" else " run"
        other = BELOW.get(heading, "")
        below = SAID.get((other, texts.get(other, "")), texts.get(other, ""))
        small = " · ".join(filter(None, [inside, below]))
        return escape(value) + (f"<small>{escape(small)}</small>" if small else "")

    first, *others = (cell(HEADINGS[i]) for i in columns)
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{text}</td>" for text in others) + "</tr>"


def _picture(rows: Sequence[Row]) -> str:
    """How far ours is from each published accuracy, a line for each row; "" where no row has both."""
    from serve_bench.reports._plots import COLOURS, GRID, INK, drawn, plain

    known = [(row, row.published.figure) for row in rows if row.published and row.recipes and "accuracy" in row.metric]
    if not known:
        return ""

    def draw(axis: Any) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        axis.axvline(0, color=INK, linewidth=0.8)
        for place, (row, figure) in enumerate(known):
            if row.allowed is not None:
                half = 100 * row.allowed
                axis.plot([-half, half], [place, place], color=GRID, linewidth=7, solid_capstyle="butt", zorder=1)
            for name, colour, mark in zip(("published", "fast"), COLOURS, "os", strict=False):
                if name in row.recipes:
                    axis.plot(100 * (row.recipes[name].mean - figure), place, mark, color=colour, markersize=5)
        axis.set_xscale("symlog", linthresh=LINEAR)
        axis.xaxis.set_major_locator(FixedLocator([-30, -10, -3, -1, 0, 1, 3, 10, 30, 100]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
        axis.xaxis.set_minor_locator(NullLocator())
        names = [f"{label(row)}   {number(figure, row.metric)}" for row, figure in known]
        axis.set_yticks(range(len(known)), [plain(name) for name in names])
        axis.set_ylim(len(known) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0, labelsize=8)
        axis.set_xlabel("points above or below the published accuracy")

    return drawn((8.0, 1.0 + 0.2 * len(known)), "Ours against each published accuracy", draw)
