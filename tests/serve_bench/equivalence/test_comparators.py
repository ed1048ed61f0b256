"""How other tools compare: each passes and fails where its source says."""

import numpy as np
import pytest

from serve_bench.equivalence.comparators import COMPARATORS, allclose, cosine, optimum, polygraphy, top1, torch_onnx


def pair(answers, reference):
    return {"y": np.array(answers, np.float32)}, {"y": np.array(reference, np.float32)}


@pytest.mark.parametrize(
    ("compare", "just_inside", "just_outside"),
    [
        (polygraphy, ([[1e-6, 1.000009]], [[9e-6, 1.0]]), ([[0.0]], [[1.2e-5]])),
        (allclose, ([[1.0019]], [[1.0]]), ([[1.003]], [[1.0]])),
        (optimum, ([[0.5]], [[0.500009]]), ([[0.5]], [[0.50002]])),
        (torch_onnx, ([[0.004]], [[0.0]]), ([[0.0051]], [[0.0]])),
        (cosine, ([[1.0, 0.1]], [[1.0, 0.0]]), ([[1.0, 0.2]], [[1.0, 0.0]])),
        (top1, ([[0.4, 0.6]], [[0.1, 0.9]]), ([[0.6, 0.4]], [[0.1, 0.9]])),
    ],
)
def test_each_passes_inside_its_tolerance_and_fails_outside(compare, just_inside, just_outside):
    assert compare(*pair(*just_inside))
    assert not compare(*pair(*just_outside))


def test_polygraphy_takes_either_tolerance_and_optimum_one_sample():
    far_but_relatively_near = pair([[1000.005]], [[1000.0]])
    assert polygraphy(*far_but_relatively_near)
    assert not optimum(*far_but_relatively_near)
    assert optimum(*pair([[1.0], [7.0]], [[1.0], [1.0]]))


def test_zeros_are_alike_and_nothing_divides_by_them():
    for name, compare in COMPARATORS.items():
        assert compare(*pair([[0.0, 0.0]], [[0.0, 0.0]])), name
