"""The reproduction table as text cells, markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from export.bundle.files import write_atomic
from export.bundle.types import to_json
from pipeline.reproduction import Deployed, Ours, Row

TITLE = "Published figures and ours"
HEADINGS = (
    "model",
    "variant",
    "figure",
    "published",
    "ours, published recipe",
    "reproduced",
    "ours, fast",
    "reaches it",
    "training: published",
    "fast",
    "share",
    "this folder's",
    "exported forms",
    "fastest at batch 1",
)
BRIEF = ("model", "published", "ours", "fast", "this one", "forms", "fastest at batch 1")
"""Headings of the terminal's table, which is 80 columns wide at least."""
FIGURES = {
    "test_accuracy": "accuracy, higher is better",
    "test_mse": "mean squared error, lower is better",
    "train_loss": "sum of squares, lower is better",
}
LEGEND = (
    "Ours: mean ± standard deviation over seeds (their number). Reproduced: inside the 95 % interval of the test set "
    "joined with the spread over seeds. Reaches it: the mean of fast is at least the best that the document saw; where "
    "that gives no figure, the best run of its recipe, in brackets. Training: median wall time; share: that of fast in "
    "that of published. This folder's: the one training whose bundle lies here (* on other data than the model's). A "
    "figure that was not run is left blank. The other figures are those kept in results/zoo.jsonl, joined by this "
    "folder's where its seed is new, and recipe and data are theirs."
)


def label(row: Row) -> str:
    """ "mlp1 width=5000"."""
    return " ".join(filter(None, [row.id, row.variant]))


def cells(row: Row) -> list[str]:
    """One text for each heading; empty for what was not run."""
    ours, fast = row.recipes.get("published"), row.recipes.get("fast")
    return [
        row.id,
        row.variant,
        FIGURES.get(row.metric, row.metric),
        _published(row),
        _ours(ours, row.metric),
        yes_or_no(row.reproduced),
        _ours(fast, row.metric),
        yes_or_no(row.reached),
        _seconds(ours),
        _seconds(fast),
        f"{row.wall:.2f}" if row.wall is not None else "",
        _own(row),
        ("no bundle" if row.deployed.reason else row.deployed.verdict) if row.deployed else "",
        _best(row.deployed),
    ]


def _own(row: Row) -> str:
    """The figure of the training whose bundle lies here; a star where it was on other data than the model's own."""
    if row.deployed is None or row.deployed.figure is None:
        return ""
    return number(row.deployed.figure, row.metric) + ("*" if row.deployed.data else "")


def yes_or_no(said: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[said]


def _published(row: Row) -> str:
    if row.published is None:
        return f"(ours: {number(row.standard, row.metric)})" if row.standard is not None else ""
    best = row.published.best
    more = f" (best {number(best, row.metric)})" if best is not None else ""
    return number(row.published.figure, row.metric) + more


def brief(row: Row, *, narrow: bool = False) -> list[str]:
    """One text for each heading of BRIEF; `narrow` leaves out what stands in brackets and puts parameters below."""
    full = dict(zip(HEADINGS, cells(row), strict=True))
    figures = [full["published"], full["ours, published recipe"], full["ours, fast"]]
    if narrow:
        figures = [figures[0].partition(" (")[0], *(text.partition(" ±")[0].partition(" (")[0] for text in figures[1:])]
    name = "\n  ".join([row.id, *row.variant.split()]) if narrow else label(row)
    return [name, *figures, full["this folder's"], full["exported forms"], full["fastest at batch 1"]]


def remarks(row: Row) -> list[str]:
    """What the cells have no room for: by how much a figure is missed and why, why there is no bundle."""
    found = []
    if row.reproduced is False:
        found.append(f"not reproduced: {row.words}")
    if row.reached is False:
        why = row.published.differs if row.published else ""
        found.append(f"fast stays below the published figure{': ' if why else ''}{why}")
    if row.deployed and row.deployed.data:
        found.append(row.deployed.data)
    if row.deployed and row.deployed.reason:
        found.append(f"no bundle: {row.deployed.reason}")
    return found


def all_remarks(rows: Sequence[Row]) -> Iterator[str]:
    """Each remark once, with the rows that it is about."""
    about: dict[str, list[str]] = {}
    for row in rows:
        for remark in remarks(row):
            about.setdefault(remark, []).append(label(row))
    yield from (f"{', '.join(labels)}: {remark}" for remark, labels in about.items())


def runs_of(rows: Sequence[Row]) -> str:
    """When and on what the figures of training were made; empty without any."""
    ours = [one for row in rows for one in row.recipes.values()]
    dates, machines = ({v for one in ours for v in getattr(one, name)} for name in ("dates", "machines"))
    if not dates:
        return ""
    when = min(dates) if len(dates) == 1 else f"{min(dates)} to {max(dates)}"
    return f"Runs of {when}, on {' and on '.join(sorted(machines))}."


def by_source(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their document, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.source, []).append(row)
    return found


def number(value: float, metric: str) -> str:
    """ "97.60 %" for an accuracy, else four digits."""
    return f"{100 * value:.2f} %" if "accuracy" in metric else f"{value:.4g}"


def _ours(ours: Ours | None, metric: str) -> str:
    if ours is None:
        return ""
    spread = f" ± {number(ours.spread, metric)}" if ours.spread is not None else ""
    return f"{number(ours.mean, metric)}{spread} ({len(ours.figures)})"


def _seconds(ours: Ours | None) -> str:
    if ours is None:
        return ""
    return f"{ours.seconds:,.0f} s" if ours.seconds >= 100 else f"{ours.seconds:.3g} s"


def _best(deployed: Deployed | None) -> str:
    if deployed is None or deployed.ratio is None:
        return ""
    return f"{deployed.backend} {deployed.ratio:.2f}×"


def shown(rows: Sequence[Row]) -> list[int]:
    """Numbers of the columns that any row has something in."""
    body = [cells(row) for row in rows]
    return [i for i in range(len(HEADINGS)) if any(line[i] for line in body)]


def markdown(rows: Sequence[Row]) -> str:
    """A table for each document, and below it what is to be said of its rows."""
    parts = [f"# {TITLE}", "", *filter(None, [runs_of(rows)]), "", LEGEND, ""]
    columns = shown(rows)
    for source, some in by_source(rows).items():
        parts += [f"## {source}", ""]
        parts += ["| " + " | ".join(HEADINGS[i] for i in columns) + " |", "|" + " --- |" * len(columns)]
        for line in map(cells, some):
            parts.append("| " + " | ".join(line[i].replace("|", "\\|") for i in columns) + " |")
        parts += ["", *(f"- {remark}" for remark in all_remarks(some)), ""]
    return "\n".join(parts)


def write(rows: Sequence[Row], out: Path) -> Mapping[str, Path]:
    """`reproduction.md`, `.json` and `.html` in `out`, each whole or not at all."""
    from pipeline.reproduction_html import page

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
