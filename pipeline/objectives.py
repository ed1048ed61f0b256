"""What training minimises, and how good an answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from export.bundle.types import ModelSpec

SMALLEST = 1e-30
"""Below every float32 probability that matters: keeps the logarithm of 0 finite."""


def logits(answers: Any, kind: str) -> Any:
    """Numbers whose softmax the model means, from its answers: "probabilities", "log_probabilities" or "logits"."""
    return answers.float().clamp_min(SMALLEST).log() if kind == "probabilities" else answers.float()


def cross_entropy(answers: Any, targets: Any, kind: str) -> Any:
    """Mean of −log p(target) over the batch; answers (B, classes), targets (B,)."""
    from torch.nn import functional

    return functional.cross_entropy(logits(answers, kind), targets)


def uniform_cross_entropy(answers: Any, targets: Any, kind: str, log_shares: Any) -> Any:
    """Cross entropy of what the answers, which take all classes for equally likely, mean for samples drawn otherwise.

    Those are answers times `exp(log_shares)`, how often each class is drawn (Menon et al. 2021, arXiv:2007.07314).
    """
    from torch.nn import functional

    return functional.cross_entropy(logits(answers, kind) + log_shares, targets)


def double_softmax(answers: Any, targets: Any, kind: str) -> Any:
    """Cross entropy that takes probabilities for logits, as three of the documents do."""
    from torch.nn import functional

    return functional.cross_entropy(answers.float(), targets)


def mean_squares(answers: Any, targets: Any, kind: str) -> Any:
    from torch.nn import functional

    return functional.mse_loss(answers.float(), targets)


def sum_of_squares(answers: Any, targets: Any, kind: str) -> Any:
    return (answers.float() - targets).square().sum()


LOSSES: Mapping[str, Callable[..., Any]] = {
    "cross_entropy": cross_entropy,
    "double_softmax": double_softmax,
    "uniform_cross_entropy": uniform_cross_entropy,
    "mean_squares": mean_squares,
    "sum_of_squares": sum_of_squares,
}


def score_sums(spec: ModelSpec, answers: Any, targets: Any) -> dict[str, float]:
    """Sums over a batch of what is averaged over a data set: "accuracy" and "loss", or "mse"."""
    from torch.nn import functional

    if spec.task == "regression":
        return {"mse": float((answers.double() - targets).square().sum()) / max(1, answers[0].numel())}
    kind = spec.outputs[0].name
    loss = functional.cross_entropy(logits(answers, kind), targets, reduction="sum")
    return {"accuracy": float((answers.argmax(1) == targets).sum()), "loss": float(loss)}
