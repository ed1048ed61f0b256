"""Plots of sweeps, and latency against batch of an interleaved run, as inline SVG in the style of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve_bench.latency.stats import Interval, Quantile
from serve_bench.reports import _plots
from serve_bench.reports._plots import INK, WIDE, drawn, ticks
from serve_bench.reports._plots import plain as no_mathematics
from serve_bench.reports._sweep_text import AXES
from serve_bench.reports._sweeps import SweepRow, SweepTable
from serve_bench.reports.summary import Summary

Look = Mapping[str, tuple[str, str]]
"""Colour and mark by label."""
MOST_BEYOND = 3.0
"""How far a bar of an interval may stretch a plot beyond its points: three replicates may give one over decades."""
HALF, HEIGHT = 4.6, 3.1
"""Inches of a plot that has another beside it."""
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
"""Of the first, second, … batch size in one plot."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One backend along an axis."""

    label: str
    batch: int
    points: tuple[tuple[float, float, float, float], ...]
    """x, y and the bounds of y."""


def looks(summary: Summary) -> dict[str, tuple[str, str]]:
    """Of every label: those of the interleaved run as its own plots have them, then those of sweeps alone."""
    swept = (row.label for sweep in summary.sweeps for row in sweep.rows)
    return _plots.looks_of([*(row.subject.label for row in summary.rows), *swept])


def caption(sweep: SweepTable) -> str:
    """What the marks, bars and dashes of a sweep's plots are."""
    if sweep.axis == "precision":
        return "Ratio to the float32 form, with 95 % intervals over replicates."
    bounds = {
        "threads": "Bars: 95 % intervals over replicates, cut at the edge of the plot; those of one place stand beside "
        "one another. ",
        "processes": "",
    }.get(sweep.axis, "Bars: 99 % bounds of the median. ")
    batches = sorted({row.batch for row in sweep.rows})
    if sweep.axis == "batch" or len(batches) < 2:
        return f"{bounds}Both axes log."
    names = ("Solid", "dashed", "dotted", "dash-dotted")
    said = ", ".join(f"{name}: batch {batch}" for name, batch in zip(names, batches, strict=False))
    return f"{said}. {bounds}Both axes log."


def plots(sweep: SweepTable, look: Look) -> list[str]:
    """Two plots of a batch sweep, one of any other; none where nothing was measured at two places."""
    if sweep.axis == "precision":
        return _bars(sweep, look)
    x = AXES[sweep.axis]
    latency = Axes(x=x, y="latency (p50)", y_text=_time_text)
    rate = Axes(x=x, y="samples a second", y_text=_rate_text)
    if sweep.axis == "batch":
        return [
            *_plot(f"Samples a second against {x}", _lines(sweep, _rates), look, rate, size=(HALF, HEIGHT)),
            *_plot(f"Median latency against {x}", _lines(sweep, _latencies), look, latency, size=(HALF, HEIGHT)),
        ]
    if sweep.axis == "length":
        return _plot(f"Median latency against {x}", _lines(sweep, _latencies), look, latency)
    if sweep.axis == "processes":
        return _plot(f"Samples a second in all against {x}", _lines(sweep, _throughput), look, rate)
    y = f"times as fast as {sweep.compared.removeprefix('against ')}"
    times = Axes(x=x, y=y, y_text=_times_text, beside=True)
    return _plot(f"Times as fast {sweep.compared}", _lines(sweep, _ratio), look, times)


def latency_of_run(summary: Summary) -> str:
    """Median latency against batch size with its 99 % bounds, of the interleaved run; "" without two batch sizes."""
    rows = [row for row in summary.rows if row.boundary == "host" and "p50" in row.quantiles]
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        found.setdefault(row.subject.label, []).append((row.batch, *row.quantiles["p50"]))
    lines = [Line(label=name, batch=0, points=tuple(sorted(points))) for name, points in found.items()]
    axes = Axes(x="batch size", y="latency (p50)", y_text=_time_text)
    return "".join(_plot("Median latency against batch size", lines, looks(summary), axes, size=(WIDE, 2.8)))


# ── what is drawn of a row ────────────────────────────────────────────────────────────────────────────────────────────

Bounds = tuple[float, float, float]


def _latencies(row: SweepRow) -> Bounds | None:
    return row.p50 and (row.p50.value, row.p50.low, row.p50.high)


def _rates(row: SweepRow) -> Bounds | None:
    return None if row.p50 is None else _rate_of(row.p50, row.batch)


def _rate_of(p50: Quantile, batch: int) -> Bounds:
    return batch * 1e9 / p50.value, batch * 1e9 / p50.high, batch * 1e9 / p50.low


def _throughput(row: SweepRow) -> Bounds | None:
    return (row.throughput,) * 3 if row.throughput else None


def _ratio(row: SweepRow) -> Bounds | None:
    if row.error:
        return None
    return (row.ratio.value, row.ratio.low, row.ratio.high) if row.ratio else (1.0, 1.0, 1.0)


def _lines(sweep: SweepTable, value: Callable[[SweepRow], Bounds | None]) -> list[Line]:
    found: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {}
    for row in sweep.rows:
        y = value(row)
        if y is not None:
            key = (row.label, 0 if sweep.axis == "batch" else row.batch)
            found.setdefault(key, []).append((float(getattr(row, sweep.axis)), *y))
    return [Line(label=label, batch=batch, points=tuple(points)) for (label, batch), points in found.items()]


# ── drawing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Names of both axes, and how a value of y is written."""

    x: str
    y: str
    y_text: Callable[[float], str]
    beside: bool = False
    """Lines stand beside one another at every place, so that no bar hides another."""


def _time_text(value_ns: float) -> str:
    from serve_bench.reports._format import unit_of

    unit, size = unit_of(value_ns * (1 + 1e-9))
    return f"{value_ns / size:.3g} {unit}"


def _rate_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _times_text(value: float) -> str:
    return f"{value:g}×"


def _plot(
    title: str, lines: Sequence[Line], look: Look, axes: Axes, size: tuple[float, float] = (WIDE, HEIGHT)
) -> list[str]:
    """One plot with both axes logarithmic, a line a backend, with the bounds of each point; none for one place of x."""
    places = sorted({x for line in lines for x, *_ in line.points})
    if len(places) < 2:
        return []
    batches = sorted({line.batch for line in lines})

    def draw(axis: Any) -> None:
        for number, line in enumerate(lines):
            colour, mark = look[line.label]
            xs, ys, lows, highs = zip(*line.points, strict=True)
            xs = tuple(x * _aside(number, len(lines)) for x in xs) if axes.beside else xs
            dash = DASHES[batches.index(line.batch) % len(DASHES)]
            axis.plot(xs, ys, color=colour, marker=mark, markersize=4.5, linewidth=1.5, linestyle=dash)
            axis.vlines(xs, lows, highs, color=colour, linewidth=1)
        _log_axes(axis, places, *_ends(lines), axes)

    return [drawn(size, title, draw)]


def _aside(number: int, count: int) -> float:
    """Factor on x of one of `count` lines, on an axis of doublings: a fifth of a doubling to either side at most."""
    return float(2 ** (0.4 * (number - (count - 1) / 2) / max(count - 1, 1)))


def _ends(lines: Sequence[Line]) -> tuple[float, float]:
    """Of y: those of the bounds, where these do not leave the points by more than `MOST_BEYOND` times."""
    points = [point for line in lines for point in line.points]
    least, most = min(y for _, y, _, _ in points), max(y for _, y, _, _ in points)
    low, high = min(low for _, _, low, _ in points), max(high for _, _, _, high in points)
    return max(low, least / MOST_BEYOND), min(high, most * MOST_BEYOND)


def _log_axes(axis: Any, places: Sequence[float], low: float, high: float, axes: Axes) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    shown = [place for i, place in enumerate(reversed(places)) if len(places) <= 8 or i % 2 == 0][::-1]
    axis.set_xticks(shown, [f"{place:g}" for place in shown])
    axis.xaxis.set_minor_locator(NullLocator())
    bottom, top = low / 1.25, high * 1.25
    axis.set_ylim(bottom, top)
    axis.yaxis.set_major_locator(FixedLocator(ticks(bottom, top, most=6, least=3)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: axes.y_text(value)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(axes.x)
    axis.set_ylabel(axes.y)


def _bars(sweep: SweepTable, look: Look) -> list[str]:
    """Ratio to float32 with its interval, a line for each form and batch, on a log axis."""
    rows = [(row, row.ratio) for row in sweep.rows if row.ratio is not None]
    if not rows:
        return []

    def draw(axis: Any) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        left = min(1.0, *(ratio.low for _, ratio in rows)) / 1.15
        right = max(1.0, *(ratio.high for _, ratio in rows)) * 1.15
        axis.set_xscale("log")
        axis.set_xlim(left, right)
        for place, (row, ratio) in enumerate(rows):
            _bar(axis, place, ratio, *look[row.label])
        axis.axvline(1, color=INK, linewidth=0.8, zorder=1)
        axis.set_yticks(range(len(rows)), [no_mathematics(f"{row.label}, batch {row.batch}") for row, _ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(FixedLocator(ticks(left, right, most=6, least=3)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _times_text(value)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("times as fast as float32")

    return [drawn((WIDE, 0.8 + 0.26 * len(rows)), "Times as fast as float32 on the same backend", draw)]


def _bar(axis: Any, place: int, ratio: Interval, colour: str, mark: str) -> None:
    axis.plot([ratio.low, ratio.high], [place, place], color=colour, linewidth=2, zorder=2)
    axis.plot(ratio.value, place, marker=mark, markersize=6, color=colour, zorder=3)
