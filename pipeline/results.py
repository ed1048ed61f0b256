"""Figures of training runs, one JSON line each in `results/zoo.jsonl`: what came out, never what should have."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from export.bundle.environment import environment
from export.bundle.errors import DataError
from export.bundle.files import digest_of
from export.bundle.store import Manifest, Training
from export.bundle.types import Environment, ModelSpec, Recipe, TrainedModel, from_json, to_json
from pipeline.loop import VERSION

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "zoo.jsonl"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    id: str
    variant: str
    """ModelSpec.variant: empty for the default."""
    recipe: str
    seed: int
    metric: str
    """Key of TrainedModel.metrics: "test_accuracy"."""
    figure: float
    metrics: Mapping[str, float]
    seconds: float
    """Wall time of training."""
    epochs: int
    content: str
    """Digest of recipe, parameters and data: a recipe that was changed is run again."""
    commit: str
    machine: str
    torch: str
    date: str
    """UTC."""

    @property
    def key(self) -> tuple[str, str, str, int]:
        return self.id, self.variant, self.recipe, self.seed


def metric_of(spec: ModelSpec) -> str:
    """What a model's figure is: that of its published figure, else the task's own."""
    if spec.published is not None:
        return spec.published.metric
    return "test_mse" if spec.task == "regression" else "test_accuracy"


def run_of(trained: TrainedModel, recipe: Recipe, content: str) -> Run:
    """A run that has just been made."""
    training = Training(
        recipe=recipe, seed=trained.seed, seconds=trained.seconds, metrics=trained.metrics, history=trained.history
    )
    return _run(trained.spec, training, environment(), datetime.now(UTC), content, _commit())


def content_of(spec: ModelSpec, recipe: Recipe, digest: str) -> str:
    """Digest of everything that decides a figure but the seed; `digest` is the data set's."""
    plain = to_json(replace(recipe, seed=0, notes=""))
    return digest_of([spec.id, spec.params, plain, digest, VERSION])[:16]


def run_of_bundle(spec: ModelSpec, manifest: Manifest) -> Run | None:
    """The training that a bundle came from; None where it was not by a recipe of the model's own, on its own data."""
    training = manifest.training
    if training.recipe is None or manifest.dataset.name != spec.dataset or metric_of(spec) not in training.metrics:
        return None
    content = content_of(spec, training.recipe, manifest.dataset.digest)
    if content not in [content_of(spec, recipe, manifest.dataset.digest) for recipe in spec.recipes]:
        return None
    return _run(spec, training, manifest.environment, datetime.fromisoformat(manifest.created), content, "")


def _run(spec: ModelSpec, training: Training, where: Environment, made: datetime, content: str, commit: str) -> Run:
    metric = metric_of(spec)
    gpu = where.gpus[0]["name"] if where.gpus else "no GPU"
    return Run(
        id=spec.id,
        variant=spec.variant,
        recipe=training.recipe.name if training.recipe else "",
        seed=training.seed,
        metric=metric,
        figure=training.metrics[metric],
        metrics=training.metrics,
        seconds=round(training.seconds, 3),
        epochs=len(training.history),
        content=content,
        commit=commit,
        machine=f"{where.cores} × {where.cpu}, {gpu}",
        torch=where.versions.get("torch", ""),
        date=made.date().isoformat(),
    )


def read(path: Path = RESULTS) -> list[Run]:
    """Every run in the file; none where there is no file. Raises DataError for a line that is none."""
    if not path.is_file():
        return []
    runs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            runs.append(from_json(Run, json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}, line {number}: is no run ({error}); delete the line and run it again") from error
    return runs


def append(run: Run, path: Path = RESULTS) -> None:
    """Adds one line, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(to_json(run), sort_keys=True).encode() + b"\n"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line)
        os.fsync(file)
    finally:
        os.close(file)


def latest(runs: Iterable[Run]) -> dict[tuple[str, str, str, int], Run]:
    """The last run of each key."""
    return {run.key: run for run in runs}


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
