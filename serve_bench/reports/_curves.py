"""Two plots of a training as inline SVG: its learning curve, and data and fit of a regression on one number."""

from __future__ import annotations

from typing import Any

from serve_bench.reports._plots import COLOURS, INK, WIDE, drawn, plain
from serve_bench.reports.summary import Summary

ENTRIES = ()
"""No format itself."""
LEARNING_LEGEND = "Mean training loss of each epoch, on a log axis; accuracy on the samples that were held out, if any."
LOOK = {"training loss": (COLOURS[0], ""), "held-out accuracy": (COLOURS[1], "")}
"""Colour of each line: a key tells it, as text in these colours stands out too little."""
FIT_LEGEND = "Points: the data. Line: the trained model's answer."
_SIZE = (WIDE, 2.8)


def learning(summary: Summary) -> str:
    """Training loss, and held-out accuracy where there is one, by epoch; "" without two epochs."""
    history = summary.history
    if len(history) < 2:
        return ""
    epochs = [record.epoch for record in history]
    losses = [record.loss for record in history]
    held = [(r.epoch, 100 * r.validation_accuracy) for r in history if r.validation_accuracy is not None]

    def draw(axis: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

        axis.plot(epochs, losses, color=LOOK["training loss"][0], linewidth=1.8)
        if min(losses) > 0:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("epoch")
        axis.set_ylabel("training loss")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if held:
            other = axis.twinx()
            other.plot(*zip(*held, strict=True), color=LOOK["held-out accuracy"][0], linewidth=1.8)
            other.set_ylabel("held-out accuracy, %")
            other.grid(False)

    return drawn(_SIZE, "Learning curve: training loss and held-out accuracy by epoch", draw)


def learning_look(summary: Summary) -> dict[str, tuple[str, str]]:
    """Of the lines of `learning`."""
    held = any(record.validation_accuracy is not None for record in summary.history)
    return LOOK if held else {"training loss": LOOK["training loss"]}


def fit(summary: Summary) -> str:
    """Data and answers over the input; "" where the model is no regression from one number to one."""
    if not summary.fit:
        return ""
    xs, targets, answers = zip(*summary.fit, strict=True)

    def draw(axis: Any) -> None:
        axis.plot(xs, targets, linestyle="none", marker="o", markersize=3, alpha=0.5, color=INK)
        axis.plot(xs, answers, color=COLOURS[1], linewidth=1.8)
        axis.set_xlabel(plain(summary.axes[0]))
        axis.set_ylabel(plain(summary.axes[1]))

    return drawn(_SIZE, "Fit: data and answers over the input", draw)
