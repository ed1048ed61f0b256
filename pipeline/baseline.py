"""The document's own training loop, and ours beside it: what the training figures of `make bench` are ratios of."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from export.bundle.errors import DataError
from export.bundle.types import ModelSpec
from export.progress import Silent
from pipeline.datasets._base import Data
from pipeline.datasets.mnist import Mnist
from pipeline.loop import Loop
from pipeline.variants import with_params

_BATCH = 64


def document_epoch_seconds(spec: ModelSpec, root: Path, batches: int | None = None) -> float:
    """Seconds of one epoch over MNIST's 60,000 images: torchvision's data set, `DataLoader`, batch 64, eager, SGD.

    With `batches`, only so many are run and the time is scaled up. Raises DataError where MNIST is not under `root`.
    """
    import torch
    from torch.nn import functional
    from torchvision import datasets, transforms

    source = Mnist().folder(root)
    if Mnist().fingerprint(root) is None:
        raise DataError(f"{source}: MNIST is not there whole; `pipeline train cnn --dataset mnist` fetches it")
    steps = [transforms.ToTensor(), transforms.Normalize((spec.preprocess.mean,), (spec.preprocess.std,))]
    with tempfile.TemporaryDirectory() as folder:
        # torchvision unpacks beside the archives; the user's folder is left as it is
        shutil.copytree(source, Path(folder, "MNIST", "raw"))
        images = datasets.MNIST(folder, train=True, download=True, transform=transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, _BATCH, shuffle=True)
    module = spec.build().train()
    optimizer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
    wanted = min(batches or len(loader), len(loader))
    started = time.perf_counter()
    for _, (image, label) in zip(range(wanted), loader, strict=False):
        optimizer.zero_grad()
        functional.nll_loss(module(image), label).backward()
        optimizer.step()
    return (time.perf_counter() - started) * len(loader) / wanted


def fast_epoch_seconds(spec: ModelSpec, data: Data, batches: int | None = None) -> float:
    """Seconds of one epoch of the `fast` recipe on the CPU, scaled up where only `batches` are run."""
    recipe = next(recipe for recipe in spec.recipes if recipe.name == "fast")
    loop = Loop(with_params(spec, {}), replace(recipe, epochs=1), data, 0, "cpu")
    whole, loop.steps = loop.steps, min(batches or loop.steps, loop.steps)
    with Silent().stage("") as bar:
        loop.epoch(bar)
    return loop.state.history[-1].seconds * whole / loop.steps
