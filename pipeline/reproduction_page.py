"""The reproduction table as text cells, markdown, JSON and an HTML page with a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from export.bundle.files import write_atomic
from export.bundle.types import to_json
from pipeline.reproduction import Deployed, Ours, Row

HEADINGS = (
    "model",
    "variant",
    "published",
    "ours, published recipe",
    "reproduced",
    "ours, fast",
    "reaches it",
    "training: published",
    "fast",
    "share",
    "exported forms",
    "fastest at batch 1",
)
BRIEF = ("model", "published", "ours", "fast", "share", "forms", "fastest at batch 1")
"""Headings of the terminal's table, which is 80 columns wide at least."""
LEGEND = (
    "Ours: mean ± standard deviation over seeds (their number). Reproduced: inside the 95 % interval of the test set "
    "joined with the spread over seeds. Reaches it: the mean of fast is at least the best that the document saw; where "
    "that gives no figure, the best run of its recipe, in brackets. Training: median wall time. A figure that was not "
    "run is left blank. Figures of training are those kept in results/zoo.jsonl, joined by this run's where its seed "
    "is new, and recipe and data are theirs."
)


def cells(row: Row) -> list[str]:
    """One text for each heading; empty for what was not run."""
    ours, fast = row.recipes.get("published"), row.recipes.get("fast")
    reproduced = {True: "yes", False: f"no: {row.words}", None: ""}[row.reproduced]
    return [
        row.id,
        row.variant,
        _published(row),
        _ours(ours, row.metric),
        reproduced,
        _ours(fast, row.metric),
        {True: "yes", False: "no", None: ""}[row.reached],
        _seconds(ours),
        _seconds(fast),
        f"{row.wall:.2f}" if row.wall is not None else "",
        row.deployed.reason or row.deployed.verdict if row.deployed else "",
        _best(row.deployed),
    ]


def _published(row: Row) -> str:
    if row.published is None:
        return f"(ours: {_number(row.standard, row.metric)})" if row.standard is not None else ""
    best = row.published.best
    more = f" (best {_number(best, row.metric)})" if best is not None else ""
    return _number(row.published.figure, row.metric) + more


def brief(row: Row) -> list[str]:
    """One text for each heading of BRIEF."""
    full = dict(zip(HEADINGS, cells(row), strict=True))
    absent = bool(row.deployed and row.deployed.reason)
    return [
        " ".join(filter(None, [row.id, row.variant])),
        full["published"],
        full["ours, published recipe"],
        full["ours, fast"],
        full["share"],
        "no bundle" if absent else full["exported forms"],
        full["fastest at batch 1"],
    ]


def remarks(row: Row) -> list[str]:
    """What BRIEF has no room for: by how much a figure is missed and why, and why there is no bundle."""
    found = []
    if row.reproduced is False:
        found.append(f"not reproduced: {row.words}")
    if row.reached is False:
        why = row.published.differs if row.published else ""
        found.append(f"fast stays below the published figure{': ' if why else ''}{why}")
    if row.deployed and row.deployed.reason:
        found.append(f"no bundle: {row.deployed.reason}")
    return found


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.2f} %" if "accuracy" in metric else f"{value:.4g}"


def _ours(ours: Ours | None, metric: str) -> str:
    if ours is None:
        return ""
    spread = f" ± {_number(ours.spread, metric)}" if ours.spread is not None else ""
    return f"{_number(ours.mean, metric)}{spread} ({len(ours.figures)})"


def _seconds(ours: Ours | None) -> str:
    return f"{ours.seconds:.3g} s" if ours else ""


def _best(deployed: Deployed | None) -> str:
    if deployed is None or deployed.ratio is None:
        return ""
    return f"{deployed.backend} {deployed.ratio:.2f}×"


def markdown(rows: Sequence[Row]) -> str:
    """Only the columns that any row has something in."""
    body = [cells(row) for row in rows]
    shown = [i for i in range(len(HEADINGS)) if any(line[i] for line in body)]
    lines = ["| " + " | ".join(HEADINGS[i] for i in shown) + " |", "|" + " --- |" * len(shown)]
    lines += ["| " + " | ".join(line[i].replace("|", "\\|") for i in shown) + " |" for line in body]
    return "\n".join([*lines, "", LEGEND, ""])


def page(rows: Sequence[Row]) -> str:
    """One HTML page that needs nothing else."""
    style = resources.files("serve_bench.reports").joinpath("report.css").read_text()
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in HEADINGS)
    body = "".join(_line(row) for row in rows)
    picture = _picture(rows)
    caption = "Accuracy: published against ours; on the line both are equal."
    figure = f"<figure>{picture}<figcaption>{caption}</figcaption></figure>" if picture else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Published figures and ours</title><style>{style}</style></head><body><main>"
        f"<header><h1>Published figures and ours</h1><p>{escape(LEGEND)}</p></header>{figure}"
        '<div class="scroll" tabindex="0" role="region" aria-label="Every variant"><table>'
        f"<caption>Every variant</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        "</main></body></html>\n"
    )


def _line(row: Row) -> str:
    first, *rest = cells(row)
    return f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(c)}</td>" for c in rest) + "</tr>"


def _picture(rows: Sequence[Row]) -> str:
    """Published accuracy against ours by either recipe, as an SVG; "" where no row has both."""
    from serve_bench.reports._plots import COLOURS, INK, drawn

    points = {
        name: [
            (100 * row.published.figure, 100 * row.recipes[name].mean)
            for row in rows
            if row.published and "accuracy" in row.metric and name in row.recipes
        ]
        for name in ("published", "fast")
    }
    everything = [value for pairs in points.values() for pair in pairs for value in pair]
    if not everything:
        return ""

    def draw(axis: Any) -> None:
        low, high = min(everything) - 2, 100
        axis.plot([low, high], [low, high], color=INK, linewidth=0.8)
        for (name, pairs), colour, mark in zip(points.items(), COLOURS, "os", strict=False):
            if pairs:
                axis.plot(*zip(*pairs, strict=True), mark, color=colour, label=f"{name} recipe", alpha=0.8)
        axis.set_xlabel("published, %")
        axis.set_ylabel("ours, %")
        axis.legend(frameon=False)

    return drawn((7.0, 4.2), "Published accuracy against ours", draw)


def write(rows: Sequence[Row], out: Path) -> Mapping[str, Path]:
    """`reproduction.md`, `.json` and `.html` in `out`, each whole or not at all."""
    texts = {
        "markdown": ("md", markdown(rows)),
        "json": ("json", json.dumps(to_json(list(rows)), indent=1, ensure_ascii=False) + "\n"),
        "html": ("html", page(rows)),
    }
    paths = {}
    for name, (suffix, text) in texts.items():
        paths[name] = out / f"reproduction.{suffix}"
        write_atomic(paths[name], text.encode())
    return paths
