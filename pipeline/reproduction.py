"""The reproduction table: every published figure beside ours, and what became of the exported model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from export.bundle.errors import BundleError
from export.bundle.types import ModelSpec, Published
from export.registry import entries
from pipeline import results
from pipeline.variants import variants

if TYPE_CHECKING:
    from serve_bench.reports.summary import Summary

Z_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Runs of one recipe over seeds."""

    figures: tuple[float, ...]
    seconds: float
    """Median wall time of training."""

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


@dataclass(frozen=True, kw_only=True)
class Row:
    id: str
    variant: str
    metric: str
    published: Published | None
    recipes: Mapping[str, Ours] = field(default_factory=dict)
    """By recipe; without one that was not run."""
    reproduced: bool | None = None
    """None where there is no published figure, or no run of the published recipe."""
    words: str = ""
    """By how much not."""
    reached: bool | None = None
    """Whether the mean of `fast` is at least as good as the best that the document saw."""
    wall: float | None = None
    """Wall time of `fast` as a share of `published`."""
    deployed: Deployed | None = None


def interval(published: float, samples: int, spread: float | None, runs: int) -> float:
    """Half of the 95 % interval of the difference between a published accuracy and the mean of ours.

    The binomial standard error of one test set (normal approximation), joined with the spread over seeds, which the
    author's single run has in full and our mean divided by the number of runs.
    """
    binomial = published * (1 - published) / samples
    seeds = (spread or 0.0) ** 2 * (1 + 1 / runs)
    return Z_95 * math.sqrt(binomial + seeds)


def judged(published: Published, ours: Ours, samples: int) -> tuple[bool, str]:
    """Whether ours reproduces the published figure, and the difference in words."""
    difference = ours.mean - published.figure
    if "accuracy" in published.metric:
        half = interval(published.figure, samples, ours.spread, len(ours.figures))
        return abs(difference) <= half, f"{100 * difference:+.2f} points, ±{100 * half:.2f} allowed"
    half = Z_95 * (ours.spread or 0.0) * math.sqrt(1 + 1 / len(ours.figures)) + 0.005 * abs(published.figure)
    return abs(difference) <= half, f"{difference:+.3g}, ±{half:.2g} allowed"


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
            recipes[recipe.name] = Ours(figures=figures, seconds=statistics.median(run.seconds for run in runs))
    reproduced, words = None, ""
    if spec.published and "published" in recipes:
        reproduced, words = judged(spec.published, recipes["published"], _samples(spec))
    wall = recipes["fast"].seconds / recipes["published"].seconds if len(recipes) == 2 else None
    return Row(
        id=spec.id,
        variant=spec.variant,
        metric=results.metric_of(spec),
        published=spec.published,
        recipes=recipes,
        reproduced=reproduced,
        words=words,
        reached=_reached(spec.published, recipes.get("fast")),
        wall=wall,
        deployed=deployed,
    )


def _reached(published: Published | None, ours: Ours | None) -> bool | None:
    if published is None or ours is None:
        return None
    wanted = published.figure if published.best is None else published.best
    return ours.mean >= wanted if "accuracy" in published.metric else ours.mean <= wanted


def _samples(spec: ModelSpec) -> int:
    """Of the test set that the document's accuracy was taken on."""
    return {"mnist": 10_000, "digits-8x8": 360, "names": 100}.get(spec.dataset, 1)


def deployed_from_bundle(root: Path) -> Deployed:
    """Verdict and fastest backend of the bundle at `root`, from its records."""
    from export.bundle.store import Bundle
    from serve_bench.reports.summary import summarise

    try:
        return _deployed(summarise(Bundle.open(root)))
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
