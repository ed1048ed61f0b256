"""Where a bundle's weights come from: trained here, from the zoo with given weights, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from export.bundle.environment import gpus, versions
from export.bundle.errors import BackendUnavailable, UsageError
from export.bundle.files import digest_of, sha256_of_file
from export.bundle.store import StageRecord, Training
from export.bundle.types import (
    DatasetFacts,
    ModelSpec,
    Preprocess,
    Recipe,
    TensorSpec,
    TrainedModel,
    from_json,
    to_json,
)
from export.formats._base import Arrays
from export.progress import Progress
from export.registry import entry
from pipeline.options import Options
from pipeline.variants import with_params


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """What truth is computed on."""

    stored: Arrays
    """Inputs by name, as stored (uint8 images)."""
    targets: npt.NDArray[np.generic] | None
    """(N,) classes or (N, …) values; None where they are not known."""


class Origin(Protocol):
    """Gives a TrainedModel, once; and says by a key when it would give another."""

    @property
    def id(self) -> str: ...

    @property
    def data_digest(self) -> str: ...

    @property
    def licence(self) -> str:
        """Of the data; empty where it is not known."""
        ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def program(self) -> Path | None:
        """The user's own `.pt2`, where that is what the model came as."""
        ...

    def key(self) -> str:
        """Digest of everything that decides the weights."""
        ...

    def make(self, checkpoints: Path, progress: Progress) -> TrainedModel: ...

    def restore(self, weights: Path, record: StageRecord) -> TrainedModel:
        """The same model from weights that an earlier run wrote."""
        ...

    def test_set(self) -> TestSet: ...

    def calibration_set(self) -> Arrays:
        """Stored inputs that ranges of values may be taken from: never those of the test set where there are others."""
        ...


def training_of(trained: TrainedModel) -> Training:
    return Training(
        recipe=trained.recipe,
        seed=trained.seed,
        seconds=trained.seconds,
        metrics=trained.metrics,
        history=trained.history,
        facts=trained.facts,
    )


def weights_facts(trained: TrainedModel) -> dict[str, Any]:
    """What the weights stage keeps beside the file, so that nothing has to be trained to know it."""
    return {
        "training": to_json(training_of(trained)),
        "dataset": to_json(trained.dataset),
        "inputs": to_json(trained.spec.inputs),
        "outputs": to_json(trained.spec.outputs),
    }


def trained_from_record(spec: ModelSpec, module: Any, record: StageRecord) -> TrainedModel:
    training = from_json(Training, record.facts["training"])
    return TrainedModel(
        spec=replace(
            spec,
            inputs=tuple(from_json(TensorSpec, s) for s in record.facts["inputs"]),
            outputs=tuple(from_json(TensorSpec, s) for s in record.facts["outputs"]),
        ),
        module=module,
        recipe=training.recipe,
        metrics=training.metrics,
        seconds=training.seconds,
        seed=training.seed,
        dataset=from_json(DatasetFacts, record.facts["dataset"]),
        history=training.history,
        facts=training.facts,
    )


def training_device(asked: str) -> str:
    """ "cpu" or "cuda"; raises BackendUnavailable where CUDA was asked for by name and cannot be had."""
    if asked == "cpu" or (asked == "auto" and not gpus()):
        return "cpu"
    if not gpus():
        raise BackendUnavailable("--device cuda: no NVIDIA GPU found; see `pipeline doctor`, or use --device cpu")
    import torch

    if not torch.cuda.is_available():
        if asked == "auto":
            return "cpu"
        raise BackendUnavailable(
            f"--device cuda: torch {torch.__version__} cannot use the GPU here; install a CUDA build of torch, "
            "or use --device cpu"
        )
    return "cuda"


def recipe_of(spec: ModelSpec, options: Options) -> Recipe:
    known = {recipe.name: recipe for recipe in spec.recipes}
    if options.recipe not in known:
        raise UsageError(f"{spec.id} has no recipe {options.recipe!r}; its recipes are {', '.join(known)}")
    recipe = known[options.recipe]
    return replace(
        recipe,
        epochs=recipe.epochs if options.epochs is None else options.epochs,
        seed=recipe.seed if options.seed is None else options.seed,
    )


def _check_fits(spec: ModelSpec, name: str, stored: Arrays) -> None:
    """Raises UsageError where a data set has not the model's inputs."""
    for tensor in spec.inputs:
        found = np.shape(stored[tensor.name])[1:] if tensor.name in stored else None
        wanted = tensor.shape[1:]
        if found is None or any(w != f for w, f in zip(wanted, found, strict=False) if isinstance(w, int)):
            has = ", ".join(f"{n} {np.shape(v)[1:]}" for n, v in stored.items())
            raise UsageError(f"{spec.id} takes {tensor.name} {wanted}, and {name} has {has}; choose another --dataset")


class ZooOrigin:
    """A model of the zoo: trained here, or with `weights` that were trained elsewhere."""

    program: Path | None = None

    def __init__(self, model: str, options: Options, progress: Progress, weights: Path | None = None) -> None:
        from pipeline.datasets._base import data_root, drawn_by, resolve

        self.spec: ModelSpec = with_params(entry("pipeline.models", "model", model), options.params)
        self.recipe = recipe_of(self.spec, options)
        self._options, self._weights, self._progress = options, weights, progress
        idle = [p.name for p in self.spec.parameters if p.sets and p.name in options.params]
        if idle and self.recipe.name != "published":
            progress.note(
                f"--set {idle[0]}: is a setting of the published recipe; {self.recipe.name} trains as without it"
            )
        self._root = data_root(options.data_dir)
        self._device = training_device(options.device)
        self._dataset, self._note = resolve(options.dataset, self.spec.dataset, self._root, progress)
        self._dataset = drawn_by(self.recipe.seed, self._dataset)

    @property
    def id(self) -> str:
        return self.spec.name

    @property
    def licence(self) -> str:
        return self._dataset.licence

    @property
    def preprocess(self) -> Preprocess:
        return self.spec.preprocess

    @cached_property
    def data_digest(self) -> str:
        digest = self._dataset.fingerprint(self._root)
        return self.data.facts.digest if digest is None else digest

    @cached_property
    def data(self) -> Any:
        with self._progress.stage(f"data {self._dataset.name}") as bar:
            data = self._dataset.load(self._root, self._progress)
            _check_fits(self.spec, self._dataset.name, data.test.stored)
            facts = data.facts
            bar.advance(1, 1, f"{facts.train:,} train, {facts.validation:,} held out, {facts.test:,} test")
        return data

    def key(self) -> str:
        from pipeline import train

        if self._weights is not None:
            return digest_of(
                {
                    "weights": sha256_of_file(self._weights),
                    "model": self.spec.id,
                    "params": dict(self.spec.params),
                    "data": self.data_digest,
                }
            )
        return digest_of(
            {
                "model": self.spec.id,
                "params": dict(self.spec.params),
                "recipe": to_json(self.recipe),
                "data": self.data_digest,
                "device": self._device,
                "compile": self._options.compile_mode,
                "torch": versions().get("torch", ""),
                "version": train.VERSION,
            }
        )

    def make(self, checkpoints: Path, progress: Progress) -> TrainedModel:
        from pipeline import train

        if self._weights is not None:
            return self._given(self._weights)
        trained = train.train(
            self.spec,
            self.recipe,
            self.data,
            seed=self.recipe.seed,
            device=self._device,
            compile_mode=self._options.compile_mode,
            checkpoints=checkpoints,
            progress=progress,
        )
        return replace(trained, dataset=replace(trained.dataset, note=_joined(self._note, trained.dataset.note)))

    def _given(self, weights: Path) -> TrainedModel:
        from pipeline import train

        module = train.restore(self.spec, weights)
        metrics = train.evaluate(module, self.data.test, self.spec)
        return TrainedModel(
            spec=self.spec,
            module=module,
            recipe=None,
            metrics={f"test_{name}": value for name, value in metrics.items()},
            seconds=0.0,
            seed=0,
            dataset=self.data.facts,
            facts={"weights": weights.name},
        )

    def restore(self, weights: Path, record: StageRecord) -> TrainedModel:
        from pipeline import train

        return trained_from_record(self.spec, train.restore(self.spec, weights), record)

    def test_set(self) -> TestSet:
        test = self.data.test
        return TestSet(stored=test.stored, targets=test.targets)

    def calibration_set(self) -> Arrays:
        stored: Arrays = self.data.train.stored
        return stored


def model_inputs(stored: Arrays, spec: ModelSpec, samples: int) -> Arrays:
    """The first `samples` of each stored input as the model takes them; all of them where the batch is fixed.

    Never one alone where the batch is dynamic: torch.export takes an axis of length 1 for a constant.
    """
    from serve_bench.equivalence.probes import model_ready

    given = {}
    for i, tensor in enumerate(spec.inputs):
        values = np.asarray(stored[tensor.name])
        dynamic = tensor.shape and isinstance(tensor.shape[0], str)
        preprocess = spec.preprocess if i == 0 else Preprocess()
        given[tensor.name] = model_ready(_several(values, samples) if dynamic else values, preprocess, tensor.dtype)
    return given


def _several(values: npt.NDArray[Any], samples: int) -> npt.NDArray[Any]:
    return values[:samples] if len(values) > 1 else np.repeat(values, 2, axis=0)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
