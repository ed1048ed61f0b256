"""Changed answers, explained and not, by construction."""

import numpy as np
import pytest

from serve_bench.equivalence import decisions

TRUTH = np.array([[2.0, 1.0, 0.0], [1.0, 1.0 + 1e-7, 0.0], [0.0, 3.0, 1.0], [0.0, 0.0, 4.0]])


def test_equal_answers_disagree_nowhere():
    assert decisions.disagreements(TRUTH, TRUTH, None, 4.0, 1e-6) == ()


def test_a_near_tie_is_explained_by_an_error_inside_the_band():
    answers = TRUTH.copy()
    answers[1, 0] += 2e-7
    (found,) = decisions.disagreements(answers, TRUTH, np.array([0, 1, 1, 2]), 4.0, 1e-6)
    assert (found.sample, found.answer, found.truth, found.label) == (1, 0, 1, 1)
    assert found.explained
    assert np.isclose(found.margin, 1e-7)
    assert np.isclose(found.bound, 4e-7)


def test_the_same_flip_is_not_explained_by_an_error_outside_the_band():
    answers = TRUTH.copy()
    answers[1, 0] += 2e-3
    (found,) = decisions.disagreements(answers, TRUTH, None, 4.0, 1e-6)
    assert not found.explained
    assert found.label is None


def test_nan_explains_nothing():
    answers = TRUTH.copy()
    answers[2, 0] = np.nan
    (found,) = decisions.disagreements(answers, TRUTH, None, 4.0, 1e-6)
    assert (found.sample, found.answer, found.explained) == (2, 0, False)
    assert np.isfinite(found.bound)


def test_what_is_a_choice():
    assert decisions.decides("classification", np.zeros((5, 3)))
    assert decisions.decides("unlabelled", np.zeros((5, 2)))
    assert not decisions.decides("unlabelled", np.zeros((5, 1)))
    assert not decisions.decides("unlabelled", np.zeros((5, 3, 2)))
    assert not decisions.decides("regression", np.zeros((5, 3)))


def test_accuracy():
    assert decisions.accuracy(TRUTH, np.array([0, 1, 1, 0])) == 0.75


def test_the_exact_test_is_the_binomial_one():
    scipy = pytest.importorskip("scipy.stats")
    labels = np.zeros(20, np.int64)
    truth, answers = np.tile([1.0, 0.0], (20, 1)), np.tile([1.0, 0.0], (20, 1))
    answers[:5] = [0.0, 1.0]
    truth[5:6] = [0.0, 1.0]
    lost, gained, p_value = decisions.discordant(answers, truth, labels)
    assert (lost, gained) == (5, 1)
    assert p_value == pytest.approx(scipy.binomtest(1, 6, 0.5).pvalue)
    assert decisions.discordant(truth, truth, labels) == (0, 0, 1.0)


def test_calibration_error_is_the_gap_between_confidence_and_share():
    """Ten answers of confidence 0.8 of which six are right; ten of 0.6 of which six are: (10 · 0.2 + 10 · 0) / 20."""
    scores = np.array([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array(([0] * 6 + [1] * 4) * 2)
    assert decisions.calibration_error(scores, labels) == pytest.approx(0.1)
    assert decisions.calibration_error(np.log(scores), labels) == pytest.approx(0.1)
    assert decisions.calibration_error(scores[:0], labels[:0]) == 0.0


def test_a_share_that_falls_has_an_interval_even_where_nothing_changed():
    # Agresti and Min: (b + ½, c + ½, n + 2); 12 lost and 4 gained of 100.
    drop, low, high = decisions.share_change(12, 4, 100)
    assert drop == 0.08
    middle, half = 8 / 102, 1.96 * np.sqrt(17 - 64 / 102) / 102
    assert (low, high) == pytest.approx((middle - half, middle + half))
    drop, low, high = decisions.share_change(0, 0, 100)
    assert drop == 0
    assert low == -high < 0


def test_the_fall_of_r2_is_that_of_the_squares_over_the_variance():
    targets = np.array([[0.0], [1.0], [2.0], [3.0]])
    before, after = targets.copy(), targets + np.array([[0.5], [0.0], [0.0], [0.5]])
    drop, low, high = decisions.squares_change(before, after, targets)
    assert drop == pytest.approx(0.125 / 1.25)
    worse = np.array([0.25, 0, 0, 0.25]) / 1.25
    assert high - drop == pytest.approx(1.96 * worse.std(ddof=1) / 2)
    assert low == pytest.approx(2 * drop - high)
    assert decisions.squares_change(before, after, np.ones((4, 1))) is None
