"""The band and the error at numbers worked out by hand."""

import numpy as np
import pytest

from export.bundle.errors import VerdictFailed
from serve_bench.equivalence import bands


@pytest.mark.parametrize(
    ("precision", "reference", "expected"),
    [
        ("float32", 1e-6, 1.6e-5),
        ("float32", 0.0, 16 * 2.0**-24),
        ("float32", None, 2.0**-20),
        ("float16", 1e-3, 2e-3),
        ("float16", 1e-9, 2.0**-10),
        ("tf32", None, 2.0**-10),
        ("bfloat16", 0.01, 0.02),
        ("bfloat16", 0.0, 2.0**-7),
        ("int8", 0.0, 2.0**-8),
        ("int8", 0.01, 0.02),
    ],
)
def test_band(precision, reference, expected):
    assert bands.band(precision, reference) == expected


def test_error_is_the_largest_distance_over_the_scale_of_the_class():
    truth = np.array([[1.0, -2.0], [0.5, 4.0]])
    answers = np.array([[1.0, -2.25], [0.5, 4.125]], np.float32)
    found = bands.error(answers, truth, bands.pooled_scale(truth))
    assert (found.value, found.index, found.answer, found.truth, found.finite) == (0.0625, (0, 1), -2.25, -2.0, True)


def test_the_scale_is_that_of_the_class_not_of_the_sample():
    assert bands.error(np.array([1.5]), np.array([1.0]), 100.0).value == 0.005


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_where_the_truth_is_one_is_infinitely_wrong(bad):
    found = bands.error(np.array([1.0, bad]), np.array([1.0, 2.0]), 2.0)
    assert found.value == np.inf
    assert found.index == (1,)
    assert not found.finite


def test_a_truth_of_zeros_admits_only_zeros():
    assert bands.error(np.zeros(3), np.zeros(3), 0.0).value == 0.0
    assert bands.error(np.full(3, 1e-30), np.zeros(3), 0.0).value == np.inf


def test_other_shapes_are_refused():
    with pytest.raises(VerdictFailed, match=r"shape \[2\] where float64's has \[3\]"):
        bands.error(np.zeros(2), np.zeros(3), 1.0)


def test_a_sum_in_another_order_is_inside_and_one_weight_off_by_a_thousandth_is_outside():
    """A dot product of 512 terms; eager adds it one way, another runtime in blocks of 16."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((400, 512)).astype(np.float32), rng.standard_normal(512).astype(np.float32)
    truth = x.astype(np.float64) @ w.astype(np.float64)
    scale = bands.pooled_scale(truth)
    products = x * w
    eager = np.add.accumulate(products, axis=1)[:, -1]
    blocks = products.reshape(400, 32, 16)
    other = np.add.accumulate(np.add.accumulate(blocks, axis=1)[:, -1], axis=1)[:, -1]
    band = bands.band("float32", bands.error(eager, truth, scale).value)
    assert not np.array_equal(eager, other)
    assert bands.error(other, truth, scale).value <= band
    w[7] *= 1.001
    assert bands.error((x * w).sum(axis=1), truth, scale).value > band


@pytest.mark.parametrize(
    ("asked", "found", "less"),
    [
        ("float32", "float32", False),
        ("float32", "tf32", True),
        ("float32", "bfloat16", True),
        ("float16", "float32", False),
        ("float16", "bfloat16", True),
        ("tf32", "float16", True),
    ],
)
def test_computes_in_less(asked, found, less):
    assert bands.computes_in_less(asked, found) is less
