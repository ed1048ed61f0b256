"""`make bench-zoo`: trains every variant of the zoo by both recipes, in pieces, each run written down once.

What has been run with the same recipe, parameters and data is not run again; a run that the time is over for goes on
from its last epoch the next time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from export.bundle.files import locked, write_atomic
from export.bundle.types import ModelSpec, Recipe
from export.progress import Bar, Silent
from export.registry import entries, entry
from pipeline import results
from pipeline.datasets._base import Data, Redrawn, data_root, drawn_by
from pipeline.reproduction import rows
from pipeline.reproduction_page import markdown
from pipeline.results import Run
from pipeline.variants import variants

WORK = results.RESULTS.parent / ".work"
QUICK_S = 60.0
SEEDS = {"quick": 5, "fast": 3, "published": 1}
"""Runs of one variant: five of those under a minute, else three of `fast` and one of `published`."""
DRAWS = 10
"""Runs of `fast` where each seed draws other held-out samples: so few of them say little."""
LONG = frozenset({"cnn", "cnn-single", "convnet4"})
"""Their published runs come last, with those of the widest networks."""


class OutOfTime(Exception):
    pass


@dataclass(frozen=True, kw_only=True)
class Job:
    spec: ModelSpec
    recipe: Recipe
    seed: int

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.spec.id, self.spec.variant, self.recipe.name, self.seed

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.spec.id, self.spec.variant, self.recipe.name, f"seed {self.seed}"]))

    def content(self, digest: str) -> str:
        return results.content_of(self.spec, self.recipe, digest)


class Deadline(Silent):
    """Silent progress that stops the work when the time is over."""

    def __init__(self, end: float) -> None:
        self._end = end

    @contextmanager
    def stage(self, title: str) -> Iterator[Bar]:
        yield _Watch(self._end)


class _Watch:
    def __init__(self, end: float) -> None:
        self._end = end

    def advance(self, done: float, total: float | None = None, note: str = "") -> None:
        if time.monotonic() > self._end:
            raise OutOfTime


def jobs(done: Sequence[Run]) -> Iterator[Job]:
    """Every run that is wanted, in order: a first seed of each before further seeds, the long ones last."""
    first = {run.key[:3]: run.seconds for run in done if run.seed == 0}
    every = [
        (spec, recipe)
        for model in entries("pipeline.models").values()
        for spec in variants(model)
        for recipe in spec.recipes
    ]
    wanted = []
    for spec, recipe in every:
        count = seeds(spec, recipe, first.get((spec.id, spec.variant, recipe.name), 0.0))
        wanted += [Job(spec=spec, recipe=recipe, seed=seed) for seed in range(count)]
    yield from sorted(wanted, key=lambda job: (_is_long(job), job.seed))


def seeds(spec: ModelSpec, recipe: Recipe, first_s: float) -> int:
    """How many runs are wanted of one whose first took `first_s`."""
    if recipe.name == "fast" and _redrawn(spec.dataset):
        return DRAWS
    return SEEDS["quick"] if first_s < QUICK_S else SEEDS[recipe.name]


def _is_long(job: Job) -> bool:
    wide = float(job.spec.params.get("width", 0)) >= 50_000
    return wide or (job.recipe.name == "published" and job.spec.id in LONG)


def load(name: str, seed: int) -> Data:
    """The data set, kept; the seed counts where it draws the held-out samples."""
    return _loaded(name, seed if _redrawn(name) else 0)


def _redrawn(dataset: str) -> bool:
    return isinstance(entry("pipeline.datasets", "dataset", dataset), Redrawn)


@lru_cache(maxsize=8)
def _loaded(name: str, seed: int) -> Data:
    return drawn_by(seed, entry("pipeline.datasets", "dataset", name)).load(data_root(None), Silent())


def run(job: Job, end: float) -> Run:
    """Trains it, or raises OutOfTime with the checkpoint of its last epoch kept."""
    from pipeline.train import train

    data = load(job.spec.dataset, job.seed)
    folder = WORK / "-".join([job.spec.name, job.recipe.name, str(job.seed)])
    trained = train(
        job.spec,
        job.recipe,
        data,
        seed=job.seed,
        device="cpu",
        compile_mode="off",
        checkpoints=folder,
        progress=Deadline(end),
    )
    shutil.rmtree(folder, ignore_errors=True)
    return results.run_of(trained, job.recipe, job.content(data.facts.digest))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is missing until the minutes are over and writes the table anew; exit status 0 either way.

    Raises BundleBusy where another is at work: two would be in each other's seconds.
    """
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_zoo", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--results", type=Path, default=results.RESULTS)
    parser.add_argument("ids", nargs="*", help="only these models")
    chosen = parser.parse_args(arguments)
    with locked(WORK):
        _all(chosen)
    return 0


def _all(chosen: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * chosen.minutes
    left = 0
    runs = results.read(chosen.results)
    done = results.latest(runs)
    first = {key[:3]: run.seconds for key, run in done.items() if key[3] == 0}
    for job in jobs(runs):
        if chosen.ids and job.spec.id not in chosen.ids:
            continue
        if job.seed >= seeds(job.spec, job.recipe, first.get(job.key[:3], 0.0)):
            continue
        found = done.get(job.key)
        if found is not None and found.content == job.content(load(job.spec.dataset, job.seed).facts.digest):
            continue
        if time.monotonic() > end:
            left += 1
            continue
        try:
            made = run(job, end)
        except OutOfTime:
            left += 1
            print(f"… {job.name}: the time is over; it goes on from its last epoch", file=sys.stderr)
            continue
        results.append(made, chosen.results)
        if job.seed == 0:
            first[job.key[:3]] = made.seconds
        print(f"✓ {job.name}: {made.metric} {made.figure:.4f}, {made.seconds:.1f} s", file=sys.stderr, flush=True)
    print(f"{left} runs are left" if left else "every run is there", file=sys.stderr)
    write_atomic(chosen.results.with_suffix(".md"), markdown(rows(results.read(chosen.results), {})).encode())


if __name__ == "__main__":
    sys.exit(main())
