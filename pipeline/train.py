"""The one way to train: data in memory, resumed from its last epoch, the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.bundle.errors import TrainingError
from export.bundle.types import ModelSpec, Recipe, TrainedModel
from export.progress import Progress
from pipeline import checkpoint
from pipeline.datasets._base import Data
from pipeline.evaluate import evaluate, fit
from pipeline.loop import VERSION, Loop

__all__ = ["VERSION", "evaluate", "restore", "train"]


def train(
    spec: ModelSpec,
    recipe: Recipe,
    data: Data,
    *,
    seed: int,
    device: str,
    compile_mode: str,
    checkpoints: Path,
    progress: Progress,
) -> TrainedModel:
    """Trains `spec` by `recipe` on `data.train`; goes on from the last whole epoch in `checkpoints`.

    `device` "cpu" or "cuda"; `compile_mode` "on", "off", or "auto" (on where the device is CUDA). Two runs with
    the same arguments on the same machine give the same bits, interrupted or not. Raises TrainingError where the loss
    is no longer finite, where the compiler fails, or where a checkpoint cannot be written.
    """
    import torch

    with torch.random.fork_rng(devices=[0] if device == "cuda" else []), _same_bits(torch):
        loop = Loop(spec, recipe, data, seed, device)
        compile_seconds = loop.compile(compile_mode, progress)
        path = checkpoints / f"{spec.id}.safetensors"
        resumed = loop.resume(path, progress)
        with progress.stage(f"train {spec.id} ({recipe.name}, {data.facts.name})") as bar:
            keeper = checkpoint.Keeper(path, loop.epochs)
            while len(loop.state.history) < loop.epochs:
                loop.epoch(bar)
                keeper.save(loop.state, loop.module, loop.optimizer)
        module = loop.finished()
    splits = {"test": data.test} | ({"validation": data.validation} if recipe.held_out else {})
    metrics = {f"{n}_{k}": v for n, split in splits.items() for k, v in evaluate(module, split, spec).items()}
    metrics["train_loss"] = loop.state.history[-1].loss
    return TrainedModel(
        spec=spec,
        module=module,
        recipe=recipe,
        metrics=metrics,
        seconds=loop.state.seconds + compile_seconds,
        seed=seed,
        dataset=data.facts,
        history=loop.state.history,
        facts=loop.facts()
        | {"compile_seconds": compile_seconds, "resumed_from_epoch": resumed}
        | fit(module, data.test, spec),
    )


def restore(spec: ModelSpec, weights: Path) -> Any:
    """The module with the weights of a safetensors file: eval mode, CPU, float32. Raises TrainingError."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    with torch.random.fork_rng(devices=[]):
        module = spec.build()
    try:
        tensors = load(weights.read_bytes())
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{weights}: cannot be read as safetensors ({error}); name a whole weights file") from error
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            wants, has = (str(shapes.get(name, "nothing")) for shapes in (wanted, given))
            raise TrainingError(
                f"{weights}: these are not the weights of {spec.id}: {name} is {has} there and {wants} in the model; "
                "name the model they were trained for"
            )
    module.load_state_dict(tensors)
    return module.float().eval()


@contextmanager
def _same_bits(torch: Any) -> Iterator[None]:
    """cuDNN without its random choice of kernels; the CPU's own need no setting."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
