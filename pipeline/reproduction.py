"""The reproduction table: every published figure beside ours, and what became of the exported model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.errors import BundleError
from export.bundle.types import ModelSpec, Published
from export.registry import entries
from pipeline import results
from pipeline.variants import source_of, variants

if TYPE_CHECKING:
    from serve_bench.reports.summary import Summary

Z_95 = 1.96
ROUNDING = 0.005
"""Relative; of a figure that is printed with three digits."""
ZERO = (2 * 2.0**-23) ** 2
"""A squared error of two units of float32 in the last place of 1: what is printed as 0."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Runs of one recipe over seeds."""

    figures: tuple[float, ...]
    seconds: float
    """Median wall time of training."""
    dates: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        return statistics.fmean(self.figures)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None for a single one."""
        return statistics.stdev(self.figures) if len(self.figures) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What the bundle of a variant says."""

    verdict: str
    """ "same", "not the same", "not checked", with their counts."""
    backend: str
    """The fastest at batch 1."""
    ratio: float | None
    """How many times as fast as eager it is there."""
    reason: str = ""
    """Why there is no bundle."""
    figure: float | None = None
    """The metric of this very training."""
    data: str = ""
    """Which data it was trained on, where that is not the model's own."""


@dataclass(frozen=True, kw_only=True)
class Row:
    id: str
    variant: str
    metric: str
    published: Published | None
    source: str = ""
    """The document."""
    recipes: Mapping[str, Ours] = field(default_factory=dict)
    """By recipe; without one that was not run."""
    standard: float | None = None
    """What `fast` is to reach: the best that the document saw; without a figure, the best run of its own recipe."""
    reproduced: bool | None = None
    """None where there is no published figure, or no run of the published recipe."""
    allowed: float | None = None
    """Half of the interval that a reproduction is inside of; in the figure's unit."""
    words: str = ""
    """By how much ours differs, and where it is not reproduced, why."""
    reached: bool | None = None
    """Whether the mean of `fast` is at least as good as `standard`."""
    wall: float | None = None
    """Wall time of `fast` as a share of `published`."""
    deployed: Deployed | None = None


def interval(published: Published, ours: Ours, samples: int) -> float:
    """Half of the 95 % interval of the difference between a published figure and the mean of ours.

    An accuracy's standard error is the binomial one of one test set (normal approximation); another figure is known to
    half of its third digit. Joined with it is the spread over seeds, which the author's single run has in full and our
    mean divided by the number of runs.
    """
    seeds = (ours.spread or 0.0) * math.sqrt(1 + 1 / len(ours.figures))
    if "accuracy" in published.metric:
        return Z_95 * math.hypot(seeds, math.sqrt(published.figure * (1 - published.figure) / samples))
    return Z_95 * seeds + max(ROUNDING * abs(published.figure), ZERO)


def judged(published: Published, ours: Ours, samples: int) -> tuple[bool, str]:
    """Whether ours reproduces the published figure, and the difference in words."""
    difference, half = ours.mean - published.figure, interval(published, ours, samples)
    points = "accuracy" in published.metric
    said = f"{100 * difference:+.2f} points, ±{100 * half:.2f}" if points else f"{difference:+.3g}, ±{half:.2g}"
    if abs(difference) <= half:
        return True, f"{said} allowed"
    return False, f"{said} allowed{': ' if published.differs else ''}{published.differs}"


def rows(
    runs: Sequence[results.Run], deployed: Mapping[tuple[str, str], Deployed], ids: Sequence[str] = ()
) -> list[Row]:
    """One row for each variant of the models `ids`, all of the zoo where none is named."""
    found: dict[tuple[str, str, str], list[results.Run]] = {}
    for run in results.latest(runs).values():
        found.setdefault((run.id, run.variant, run.recipe), []).append(run)
    every = [s for m in entries("pipeline.models").values() if not ids or m.id in ids for s in variants(m)]
    return [_row(spec, found, deployed.get((spec.id, spec.variant))) for spec in every]


def _row(
    spec: ModelSpec, found: Mapping[tuple[str, str, str], Sequence[results.Run]], deployed: Deployed | None
) -> Row:
    recipes = {}
    for recipe in spec.recipes:
        runs = found.get((spec.id, spec.variant, recipe.name))
        if runs:
            figures = tuple(run.figure for run in sorted(runs, key=lambda run: run.seed))
            recipes[recipe.name] = Ours(
                figures=figures,
                seconds=statistics.median(run.seconds for run in runs),
                dates=tuple(sorted({run.date for run in runs})),
                machines=tuple(sorted({run.machine for run in runs})),
            )
    reproduced, words, allowed = None, "", None
    if spec.published and "published" in recipes:
        reproduced, words = judged(spec.published, recipes["published"], _samples(spec))
        allowed = interval(spec.published, recipes["published"], _samples(spec))
    metric = results.metric_of(spec)
    standard = _standard(spec.published, metric, recipes.get("published"))
    wall = recipes["fast"].seconds / recipes["published"].seconds if len(recipes) == 2 else None
    return Row(
        id=spec.id,
        variant=spec.variant,
        metric=metric,
        published=spec.published,
        source=source_of(spec),
        recipes=recipes,
        standard=standard,
        reproduced=reproduced,
        allowed=allowed,
        words=words,
        reached=_reached(standard, metric, recipes.get("fast")),
        wall=wall,
        deployed=deployed,
    )


def _standard(published: Published | None, metric: str, ours: Ours | None) -> float | None:
    if published is not None:
        return published.figure if published.best is None else published.best
    if ours is None:
        return None
    return max(ours.figures) if "accuracy" in metric else min(ours.figures)


def _reached(standard: float | None, metric: str, ours: Ours | None) -> bool | None:
    if standard is None or ours is None:
        return None
    return ours.mean >= standard if "accuracy" in metric else ours.mean <= standard


def _samples(spec: ModelSpec) -> int:
    """Of the test set that the document's accuracy was taken on."""
    return {"mnist": 10_000, "digits-8x8": 360, "names": 100}.get(spec.dataset, 1)


def deployed_from_bundle(root: Path, dataset: str, metric: str) -> Deployed:
    """Verdict, fastest backend and figure of the bundle at `root`, from its records; `dataset` is its model's own."""
    from export.bundle.store import Bundle
    from serve_bench.reports.summary import summarise

    try:
        bundle = Bundle.open(root)
        used = bundle.manifest.dataset
        data = "" if used.name == dataset else f"trained on {used.name}, not on {dataset}"
        figure = bundle.manifest.training.metrics.get(metric)
        return replace(_deployed(summarise(bundle)), data=data, figure=figure)
    except BundleError as error:
        return Deployed(verdict="", backend="", ratio=None, reason=str(error))


def _deployed(summary: Summary) -> Deployed:
    verdicts = [subject.verdict for subject in summary.subjects]
    counted = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    first = min((row.batch for row in summary.rows), default=None)
    compared = [row for row in summary.rows if row.batch == first and row.ratio is not None]
    best = max(compared, key=lambda row: row.ratio.value if row.ratio else 0.0, default=None)
    return Deployed(
        verdict=counted,
        backend=best.subject.label if best else "",
        ratio=best.ratio.value if best and best.ratio else None,
    )
