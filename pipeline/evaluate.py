"""How good a module is on a split; and from stored values to what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.bundle.types import ModelSpec
from pipeline.datasets._base import Split
from pipeline.objectives import score_sums

_BATCH = 1000
_DRAWN = 250
"""Most points that are kept of a fit."""


def evaluate(module: Any, split: Split, spec: ModelSpec) -> dict[str, float]:
    """ "accuracy" (a fraction) and mean "loss" of a classifier, "mse" of a regression, in float32."""
    import torch

    training, device = module.training, next(module.parameters()).device
    module.eval()
    sums: dict[str, float] = {}
    with torch.inference_mode():
        for start in range(0, len(split), _BATCH):
            rows = slice(start, start + _BATCH)
            stored = [torch.from_numpy(split.stored[s.name][rows]).to(device) for s in spec.inputs]
            targets = torch.from_numpy(split.targets[rows]).to(device)
            answers = module(*model_inputs(stored, spec))  # (B, …)
            for name, value in score_sums(spec, answers, targets).items():
                sums[name] = sums.get(name, 0.0) + value
    module.train(training)
    return {name: value / len(split) for name, value in sums.items()}


def fit(module: Any, split: Split, spec: ModelSpec) -> dict[str, Any]:
    """ "fit" of a regression from one number to one: [x, target, answer] of samples, by x; else nothing."""
    import torch

    stored = split.stored[spec.inputs[0].name]
    if spec.task != "regression" or len(spec.inputs) > 1 or stored.shape[1:] != (1,) or split.targets.shape[1:] != (1,):
        return {}
    order = stored[:, 0].argsort(kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(_DRAWN, len(order))).astype(np.int64)]
    with torch.inference_mode():
        answers = module(*model_inputs([torch.from_numpy(stored[chosen])], spec)).numpy()
    points = np.concatenate([stored[chosen], split.targets[chosen], answers], 1).astype(np.float64)  # (N, 3)
    return {"fit": [[float(f"{value:.6g}") for value in row] for row in points.tolist()]}


def model_inputs(stored: Sequence[Any], spec: ModelSpec) -> list[Any]:
    """Stored tensors, in the order of the inputs, as the model takes them; only the first is preprocessed."""
    import torch

    step, ready = spec.preprocess, []
    for i, (tensor, value) in enumerate(zip(spec.inputs, stored, strict=True)):
        if not np.issubdtype(np.dtype(tensor.dtype), np.floating):
            ready.append(value.to(getattr(torch, tensor.dtype)))
            continue
        value = value.float()
        ready.append(value if i or step.identity else (value * step.scale - step.mean) / step.std)
    return ready


def torch_from_split(split: Split, names: Sequence[str], device: str) -> tuple[list[Any], Any]:
    """Inputs in the order of `names`, and targets, on `device`."""
    import torch

    stored: Mapping[str, Any] = split.stored
    return [torch.from_numpy(stored[n]).to(device) for n in names], torch.from_numpy(split.targets).to(device)
