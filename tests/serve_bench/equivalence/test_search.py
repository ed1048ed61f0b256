"""The directed search climbs, stays inside the range, and is the same each time."""

import numpy as np

from export.bundle.types import TensorSpec
from serve_bench.equivalence.search import search

X = TensorSpec(name="x", dtype="float32", shape=("batch", 3), low=-1.0, high=1.0)
LETTERS = TensorSpec(name="letters", dtype="int64", shape=("length", "batch"), low=0, high=9)
LENGTHS = TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1, high=5)


def hill(inputs):
    """Largest, 0, at (1, −1, 0.5)."""
    return -np.square(inputs["x"].astype(np.float64) - [1.0, -1.0, 0.5]).sum(1)


def start():
    return {"x": np.random.default_rng(0).uniform(-0.2, 0.2, (8, 3)).astype(np.float32)}


def test_every_member_climbs_towards_the_top_and_stays_in_the_range():
    found, first, last = search(hill, start(), [X], {"x": 0}, seed=1)
    assert (last >= first).all()
    assert last.max() > -1e-3
    assert np.abs(found["x"]).max() <= 1.0
    assert np.allclose(hill(found), last)


def test_the_seed_decides():
    a, b, c = (search(hill, start(), [X], {"x": 0}, seed=s, steps=20)[0]["x"] for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_letters_stay_letters_and_lengths_stay():
    given = {"letters": np.zeros((5, 4), np.int64), "lengths": np.array([1, 2, 3, 5])}
    axes = {"letters": 1, "lengths": 0}

    def largest(inputs):
        return inputs["letters"].sum(axis=0).astype(np.float64)

    found, _, last = search(largest, given, [LETTERS, LENGTHS], axes, seed=0)
    assert found["lengths"].tolist() == [1, 2, 3, 5]
    assert found["letters"].max() == 9
    assert found["letters"].min() >= 0
    assert last.min() > 35


def test_what_is_not_finite_never_wins():
    found, _, last = search(lambda i: np.full(len(i["x"]), np.nan), start(), [X], {"x": 0}, seed=0, steps=3)
    assert np.array_equal(found["x"], start()["x"])
    assert np.isnan(last).all()
