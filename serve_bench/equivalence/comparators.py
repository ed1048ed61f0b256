"""How other tools compare, written as small functions so that the claim beside ours can be checked by anyone.

Each takes what a backend answered and what it is compared with, by output name, (N, …) each, and says whether it
passes. What these tools compare with is another runtime's float32 answer; here it is float64's rounded to float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Answers = Mapping[str, npt.NDArray[np.generic]]
Comparator = Callable[[Answers, Answers], bool]


def _within(answers: Answers, reference: Answers, atol: float) -> bool:
    return all(
        bool((np.abs(answers[n].astype(np.float64) - r.astype(np.float64)) <= atol).all()) for n, r in reference.items()
    )


def _first(answers: Answers) -> Answers:
    return {name: values[:1] for name, values in answers.items()}


def polygraphy(answers: Answers, reference: Answers) -> bool:
    """`polygraphy run --onnxrt --trt` by default: |a − r| ≤ 1e-5 and |a − r| / |r| ≤ 1e-5, where either suffices.

    Source: Polygraphy's `CompareFunc.simple`, whose default `check_error_stat="elemwise"` passes an element that keeps
    the absolute or the relative tolerance, both 1e-5.
    """
    for name, wanted in reference.items():
        a, r = answers[name].astype(np.float64), wanted.astype(np.float64)
        distance = np.abs(a - r)
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = (distance <= 1e-5) | (distance / np.abs(r) <= 1e-5)
        if not bool(kept.all()):
            return False
    return True


def allclose(answers: Answers, reference: Answers) -> bool:
    """`numpy.allclose` at rtol = atol = 1e-3, as in many an export script."""
    return all(np.allclose(answers[n], r.astype(np.float64), rtol=1e-3, atol=1e-3) for n, r in reference.items())


def optimum(answers: Answers, reference: Answers) -> bool:
    """Optimum's validation after an export: one dummy input, |a − r| ≤ atol = 1e-5.

    Source: `optimum.exporters.onnx.validate_model_outputs`, whose default `ATOL_FOR_VALIDATION` is 1e-5.
    """
    return _within(_first(answers), _first(reference), 1e-5)


def torch_onnx(answers: Answers, reference: Answers) -> bool:
    """`torch.onnx.export(…, verify=True)`: warns where the largest absolute difference exceeds 5e-3.

    Source: `torch.onnx._internal.exporter._core`.
    """
    return _within(answers, reference, 5e-3)


def cosine(answers: Answers, reference: Answers) -> bool:
    """Cosine similarity of each sample's whole answer of at least 0.99."""
    for name, wanted in reference.items():
        a = answers[name].reshape(len(wanted), -1).astype(np.float64)
        r = wanted.reshape(len(wanted), -1).astype(np.float64)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(r, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            similar = np.where(lengths > 0, (a * r).sum(1) / lengths, (a == r).all(1))
        if not bool((similar >= 0.99).all()):
            return False
    return True


def top1(answers: Answers, reference: Answers) -> bool:
    """The same argmax for every sample; an answer of one number has no argmax and passes."""
    return all(bool((answers[n].argmax(-1) == r.argmax(-1)).all()) for n, r in reference.items() if r.ndim > 1)


COMPARATORS: Mapping[str, Comparator] = {
    "polygraphy, 1e-5": polygraphy,
    "allclose, 1e-3": allclose,
    "optimum, one input, 1e-5": optimum,
    "torch.onnx, 5e-3": torch_onnx,
    "cosine, 0.99": cosine,
    "top-1": top1,
}
