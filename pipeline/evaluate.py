"""How good a module is on a split; and from stored images to what it takes."""

from __future__ import annotations

from typing import Any

from export.bundle.types import Preprocess
from pipeline.datasets._base import Split

_BATCH = 1000


def evaluate(module: Any, split: Split, preprocess: Preprocess) -> dict[str, float]:
    """`accuracy` (a fraction) and mean `loss` of a module that gives log-probabilities or logits, in float32."""
    import torch
    from torch.nn import functional

    training, device = module.training, next(module.parameters()).device
    module.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(split.labels), _BATCH):
            images = torch.from_numpy(split.stored[start : start + _BATCH]).to(device)
            labels = torch.from_numpy(split.labels[start : start + _BATCH]).to(device)
            answers = module(model_input(images.float(), preprocess))  # (B, classes)
            right += int((answers.argmax(1) == labels).sum())
            loss += float(functional.cross_entropy(answers, labels, reduction="sum"))
    module.train(training)
    return {"accuracy": right / len(split.labels), "loss": loss / len(split.labels)}


def model_input(images: Any, preprocess: Preprocess) -> Any:
    """Stored values as float32 → what the model takes."""
    return (images * preprocess.scale - preprocess.mean) / preprocess.std
