"""Changed answers, explained and not, by construction."""

import numpy as np

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
