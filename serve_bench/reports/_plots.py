"""Three plots as inline SVG: latency's distribution, throughput, error with its band. Same input, same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serve_bench.latency import stats
from serve_bench.reports.summary import Row, Subject, Summary

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#3c9bd6", "#6b7280"),
    *("#7b4fa3", "#5d8a00", "#b03060"),
)
"""Okabe and Ito's palette for colour-blind readers, yellow darkened for a light page, black lightened for a dark one,
and three more where a bundle has many forms: marks tell those apart too."""
MARKS = ("o", "s", "^", "D", "v", "P", "h", "<", ">", "p")
"""Not the cross: that is a form which failed."""
OWN_LOOK = (
    *("eager", "compiled", "torchscript", "onnxruntime-cpu", "onnxruntime-cpu float16", "openvino"),
    *("openvino float16", "aotinductor", "onnxruntime-cpu int8", "openvino int8"),
)
"""Labels that have the colour and mark of their place here."""
INK, GRID = "#333a44", "#dfe3e8"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pipeline",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}
MOST_POINTS = 120
"""Of an ECDF's line: a thousand latencies are drawn through their quantiles."""

WIDE = 4.6
"""Inches of a plot that has its caption beside it: on a phone of 360 pixels its text is still 10 pixels high."""
ECDF_CAPTION = (
    "Share of each form's runs that took at most this long; time on a log axis, which ends a tenth above p99.9 of all "
    "runs in the plot: slower ones are not drawn."
)
ECDF_SIZES = {1: (WIDE, 2.8), 2: (4.6, 2.5), 3: (3.6, 2.3)}
"""By number of panels; beyond, they stand four in a row."""


def looks(subjects: Sequence[Subject]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each subject, the same in every plot."""
    return looks_of([s.label for s in subjects])


def looks_of(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each label: those of `OWN_LOOK` have theirs in every report, others what is free, in turn."""
    names = list(dict.fromkeys(labels))
    places = {name: OWN_LOOK.index(name) for name in names if name in OWN_LOOK}
    free = [i for i in range(len(COLOURS)) if i not in places.values()]
    others = [name for name in names if name not in places]
    places |= {name: free[i] if i < len(free) else i for i, name in enumerate(others)}
    return {name: (COLOURS[places[name] % len(COLOURS)], MARKS[places[name] % len(MARKS)]) for name in names}


def _svg(figure: Any, title: str) -> str:
    """The figure as an `<svg>` that scales with the page and is read aloud as `title`."""
    stream = io.StringIO()
    none = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(stream, format="svg", metadata=none, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = text.replace(INK, "var(--ink)").replace(GRID, "var(--line)")
    text = text.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
    return text.replace("<svg", f'<svg role="img" aria-label="{_escaped(title)}"', 1).strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str) -> str:
    """Text in which matplotlib finds no mathematics."""
    return text.replace("$", r"\$")


def drawn(size: tuple[float, float], title: str, draw: Callable[[Any], None]) -> str:
    """One plot of `size` inches as an `<svg>`."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        return _svg(figure, title)


def ticks(low: float, high: float, most: int = 4, least: int = 2) -> list[float]:
    """At most `most` round numbers between two positive ends, about evenly spread on a log axis; at least two.

    The roundest numbers of which there are `least`, where there are any such.
    """
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) >= least:
            return found[:: math.ceil(len(found) / most)]
    return [low, high]


def _log_time_axis(axis: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    from serve_bench.reports._format import unit_of

    def shown(value_ns: float, _: int) -> str:
        unit, size = unit_of(value_ns * (1 + 1e-9))
        return f"{value_ns / size:.3g} {unit}"

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(ticks(*axis.get_xlim())))
    axis.xaxis.set_major_formatter(FuncFormatter(shown))
    axis.xaxis.set_minor_locator(NullLocator())


def ecdf(summary: Summary) -> list[str]:
    """Share of runs at most as slow as x, a plot for each batch; host boundary, log axis; none without latencies."""
    rows = [r for r in summary.rows if r.latencies_ns and r.boundary == "host"]
    look = looks([r.subject for r in summary.rows])
    batches = sorted({r.batch for r in rows})
    size = ECDF_SIZES.get(len(batches), (3.0, 2.2))
    return [_ecdf_of(batch, [r for r in rows if r.batch == batch], look, size) for batch in batches]


def _ecdf_of(batch: int, rows: Sequence[Row], look: Mapping[str, tuple[str, str]], size: tuple[float, float]) -> str:
    def draw(axis: Any) -> None:
        for row in rows:
            axis.step(*_ecdf_points(row), where="post", color=look[row.subject.label][0], linewidth=1.8)
        everything = sorted(x for r in rows for x in r.latencies_ns)
        axis.set_xlim(everything[0] * 0.9, stats.quantile(everything, 0.999) * 1.1)
        axis.set_ylim(0, 1.01)
        axis.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axis.set_title(f"batch {batch} ({_runs([len(row.latencies_ns) for row in rows])})")
        _log_time_axis(axis)

    return drawn(size, f"Distribution of latency at batch {batch}: share of runs at most as slow as x", draw)


def _runs(counts: Sequence[int]) -> str:
    """ "24 to 34 runs"."""
    least, most = min(counts), max(counts)
    return f"{least:,} runs" if least == most else f"{least:,} to {most:,} runs"


def _ecdf_points(row: Row) -> tuple[list[float], list[float]]:
    ordered = sorted(row.latencies_ns)
    count = len(ordered)
    step = max(1, count // MOST_POINTS)
    picked = sorted({*range(0, count, step), count - 1})
    return [float(ordered[i]) for i in picked], [(i + 1) / count for i in picked]


def throughput(summary: Summary) -> str:
    """Samples a second at the median latency against batch size, both axes logarithmic; "" without two batch sizes."""
    rows = [r for r in summary.rows if r.throughput and r.boundary == "host"]
    if len({r.batch for r in rows}) < 2:
        return ""
    look = looks([r.subject for r in summary.rows])
    batches = sorted({r.batch for r in rows})

    def draw(axis: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        for name, (colour, mark) in look.items():
            points = sorted((r.batch, r.throughput or 0.0) for r in rows if r.subject.label == name)
            if points:
                axis.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=5, linewidth=1.6)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(batches, [str(b) for b in batches])
        axis.xaxis.set_minor_locator(NullLocator())
        top, bottom = max(r.throughput or 0.0 for r in rows), min(r.throughput or 1.0 for r in rows)
        axis.set_ylim(bottom / 1.4, top * 1.4)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("batch size")
        axis.set_ylabel("samples a second")

    return drawn((WIDE, 2.8), "Throughput against batch size, in samples a second", draw)


def speedup(summary: Summary) -> list[str]:
    """Ratio to eager with its interval, a plot for each batch and a line in it for each form, all on one log axis.

    The shaded band is [1/(1 + δ), 1 + δ] of the batch: inside it two forms cannot be told apart.
    """
    rows = [r for r in summary.rows if r.ratio and r.boundary == "host"]
    look = looks([r.subject for r in summary.rows])
    ratios = [r.ratio for r in rows if r.ratio]
    ends = min([r.low for r in ratios] + [1.0]) / 1.15, max([r.high for r in ratios] + [1.0]) * 1.15
    batches = sorted({r.batch for r in rows})
    of_batch = [[r for r in rows if r.batch == batch] for batch in batches]
    return [_speedup_of(own, look, ends, titled=len(batches) > 1) for own in of_batch]


def _speedup_of(
    rows: Sequence[Row], look: Mapping[str, tuple[str, str]], ends: tuple[float, float], *, titled: bool
) -> str:
    batch = rows[0].batch

    def draw(axis: Any) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        axis.set_xscale("log")
        axis.set_xlim(*ends)
        for place, row in enumerate(rows):
            _interval(axis, place, row, *look[row.subject.label])
        axis.axvline(1, color=INK, linewidth=0.8, zorder=1)
        axis.set_yticks(range(len(rows)), [plain(row.subject.label) for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(FixedLocator(ticks(*ends, most=6, least=3)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("times as fast as eager")
        if titled:
            axis.set_title(f"batch {batch}")

    height = 0.8 + 0.23 * len(rows) + (0.2 if titled else 0.0)
    return drawn((WIDE, height), f"Times as fast as eager at batch {batch}, with 95 % intervals", draw)


def _interval(axis: Any, place: int, row: Row, colour: str, mark: str) -> None:
    assert row.ratio is not None
    if row.delta is not None:
        edges = [1 / (1 + row.delta), 1 + row.delta]
        axis.plot(edges, [place, place], color=GRID, linewidth=9, solid_capstyle="butt", zorder=1)
    axis.plot([row.ratio.low, row.ratio.high], [place, place], color=colour, linewidth=2, zorder=2)
    axis.plot(row.ratio.value, place, marker=mark, markersize=6, color=colour, zorder=3)


def error(summary: Summary) -> str:
    """Error against float64 as a dot and its band as a tick, on a log axis; "" where nothing was verified."""
    subjects = [s for s in summary.subjects if s.error is not None and s.band is not None]
    if not subjects:
        return ""
    look = looks([r.subject for r in summary.rows] or summary.subjects)
    floor = min(s.error or s.band or 1.0 for s in subjects) / 3

    def draw(axis: Any) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        for place, subject in enumerate(subjects):
            colour, mark = look.get(subject.label, (INK, "o"))
            value, band = max(subject.error or 0.0, floor), subject.band or floor
            failed = subject.verdict == "not the same"
            axis.plot([floor, band], [place, place], color=GRID, linewidth=6, solid_capstyle="butt", zorder=1)
            axis.plot([band, band], [place - 0.32, place + 0.32], color=INK, linewidth=2, zorder=2)
            axis.plot(value, place, marker="X" if failed else mark, markersize=9 if failed else 7, color=colour)
        axis.set_xscale("log")
        axis.set_yticks(range(len(subjects)), [plain(s.label) for s in subjects])
        axis.set_ylim(len(subjects) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(LogLocator(numticks=5))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("error (mark) and band (tick)")

    return drawn((WIDE, 0.8 + 0.3 * len(subjects)), "Error against float64 of each form, with its band", draw)
