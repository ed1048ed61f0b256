import numpy as np
import pytest

from export.bundle.types import Preprocess, TensorSpec
from serve_bench.equivalence.probes import cut_by_length, model_ready, synthetic

IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 2, 2), low=-0.5, high=2.5)
TOKENS = TensorSpec(name="tokens", dtype="int64", shape=("batch", "time"))
BOUNDED = TensorSpec(name="tokens", dtype="int64", shape=("batch", "time"), low=1, high=9)


def test_preprocessing_rounds_to_float32_after_each_step():
    stored = np.arange(256, dtype=np.uint8).reshape(256, 1)
    found = model_ready(stored, Preprocess(scale=1 / 255, mean=0.1307, std=0.3081), "float32")
    f = np.float32
    expected = [[(f(x) * f(1 / 255) - f(0.1307)) / f(0.3081)] for x in range(256)]
    assert found.dtype == np.float32
    assert found.tobytes() == np.array(expected, np.float32).tobytes()


def test_integers_are_never_scaled():
    found = model_ready(np.array([3, 4], np.int32), Preprocess(scale=0.5, mean=1.0), "int64")
    assert found.dtype == np.int64
    assert list(found) == [3, 4]


def images():
    return np.random.default_rng(1).normal(1.0, 0.5, (64, 1, 2, 2)).astype(np.float32)


def test_probes_of_a_documented_range():
    found, skipped = synthetic([IMAGE], {"image": images()}, {"image": 0}, seed=3)
    assert skipped == {}
    assert {name: probe["image"].shape for name, probe in found.items()} == {
        "gaussian": (256, 1, 2, 2),
        "uniform": (256, 1, 2, 2),
        "constant": (7, 1, 2, 2),
    }
    assert all(probe["image"].dtype == np.float32 for probe in found.values())
    assert found["constant"]["image"][:4, 0, 0, 0].tolist() == [0.0, 1.0, -0.5, 2.5]
    tiny = found["constant"]["image"][4:, 0, 0, 0]
    assert (np.abs(tiny) > 0).all()
    assert (np.abs(tiny) < np.finfo(np.float32).smallest_normal).all()
    assert found["uniform"]["image"].min() >= -0.5
    assert found["uniform"]["image"].max() <= 2.5
    gaussian = found["gaussian"]["image"]
    assert abs(gaussian.mean() - 1.0) < 0.1
    assert abs(gaussian.std() - 0.5) < 0.05


def test_the_seed_decides():
    first, again, other = (synthetic([IMAGE], {"image": images()}, {"image": 0}, seed=s)[0] for s in (1, 1, 2))
    assert np.array_equal(first["gaussian"]["image"], again["gaussian"]["image"])
    assert not np.array_equal(first["gaussian"]["image"], other["gaussian"]["image"])


def test_integers_without_a_documented_range_are_not_made_up():
    found, skipped = synthetic([TOKENS], {"tokens": np.ones((8, 5), np.int64)}, {"tokens": 0}, seed=0)
    assert found == {}
    assert set(skipped) == {"gaussian", "uniform", "constant"}
    assert "'tokens' is not documented" in skipped["gaussian"]


def test_integers_are_drawn_inside_their_range():
    found, skipped = synthetic([BOUNDED], {"tokens": np.ones((8, 5), np.int64)}, {"tokens": 0}, seed=0)
    assert set(found) == {"uniform", "constant"}
    assert "integer" in skipped["gaussian"]
    drawn = found["uniform"]["tokens"]
    assert drawn.dtype == np.int64
    assert set(np.unique(drawn)) == set(range(1, 10))
    assert found["constant"]["tokens"][:, 0].tolist() == [1, 1, 1, 9]


def test_samples_may_lie_along_another_axis():
    spec = TensorSpec(name="s", dtype="float32", shape=("time", "batch", 3))
    found, skipped = synthetic([spec], {"s": np.ones((7, 8, 3), np.float32)}, {"s": 1}, seed=0)
    assert found["gaussian"]["s"].shape == (7, 256, 3)
    assert list(skipped) == ["uniform"]
    assert found["constant"]["s"].shape == (7, 7, 3)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_real_inputs_without_spread_still_give_a_spread(value):
    spec = TensorSpec(name="s", dtype="float32", shape=("batch", 3))
    found, _ = synthetic([spec], {"s": np.full((8, 3), value, np.float32)}, {"s": 0}, seed=0)
    assert abs(found["gaussian"]["s"].std() - 1.0) < 0.1


SEQUENCE = (
    TensorSpec(name="tokens", dtype="int64", shape=("batch", "length"), low=0, high=9),
    TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1, high=64),
)
SEQUENCES = {"tokens": np.ones((8, 5), np.int64), "lengths": np.full(8, 3)}
AXES = {"tokens": 0, "lengths": 0}


def test_every_documented_length_is_asked_padded_with_what_is_no_constant():
    found, _ = synthetic(SEQUENCE, SEQUENCES, AXES, seed=0, ranges={"length": (1, 64)})
    tokens, lengths = (found["lengths"][name] for name in ("tokens", "lengths"))
    assert tokens.shape == (256, 64)
    assert lengths.tolist() == [n for n in range(1, 65) for _ in range(4)]
    assert set(np.unique(tokens[:4, 1:])) == set(range(10))  # behind the end of the samples of length 1
    assert "lengths" not in synthetic(SEQUENCE, SEQUENCES, AXES, seed=0)[0]


def test_lengths_reach_no_further_than_the_sequences_of_a_probe():
    found, _ = synthetic(SEQUENCE, SEQUENCES, AXES, seed=0)
    assert found["uniform"]["tokens"].shape == (256, 5)
    assert set(np.unique(found["uniform"]["lengths"])) == {1, 2, 3, 4, 5}
    assert found["constant"]["lengths"].tolist() == [1, 1, 1, 5]


def test_cut_sequences_hold_their_own_elements_and_no_more():
    arrays = {"tokens": np.arange(12).reshape(4, 3), "lengths": np.array([1, 1, 2, 3])}
    pieces = list(cut_by_length(arrays, AXES, {"tokens": 1}))
    assert [p["tokens"].tolist() for p in pieces] == [[[0], [3]], [[6, 7]], [[9, 10, 11]]]
    assert [p["lengths"].tolist() for p in pieces] == [[1, 1], [2], [3]]
