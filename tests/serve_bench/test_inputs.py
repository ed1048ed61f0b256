"""What a file is taken for, and what no model is given."""

import numpy as np
import pytest

from export.bundle.errors import DataError
from export.bundle.types import Preprocess, TensorSpec
from serve_bench.inputs import read_inputs, shaped_like

RANGED = TensorSpec(name="x", dtype="float32", shape=("batch", 2), low=-2.0, high=2.0)
TOKENS = TensorSpec(name="t", dtype="int64", shape=("batch", 3))
HALVED = Preprocess(scale=1 / 255, mean=0.5, std=0.25)


def read(folder, array, spec=RANGED, preprocess=HALVED):
    np.save(folder / "x.npy", array)
    return read_inputs(folder / "x.npy", (spec,), preprocess)


@pytest.mark.parametrize(
    ("array", "preprocess", "said", "ready"),
    [
        # (255 / 255 − 0.5) / 0.25 = 2
        (np.uint8([[0, 255]]), HALVED, "uint8 taken as stored, so (x / 255 − 0.5) / 0.25 is applied", [[-2, 2]]),
        (np.float64([[-2, 2]]), HALVED, "float64 taken as model-ready, so no preprocessing is applied", [[-2, 2]]),
        (np.array([[True, False]]), HALVED, "bool taken as model-ready, so no preprocessing is applied", [[1, 0]]),
        (np.int8([[-1, 2]]), Preprocess(), "int8 taken as it is: this model has no preprocessing", [[-1, 2]]),
    ],
)
def test_integers_are_stored_values_and_others_are_model_ready(tmp_path, array, preprocess, said, ready):
    found = read(tmp_path, array, preprocess=preprocess)
    assert found.read_as.startswith(said)
    assert "range" not in found.read_as
    assert found.arrays["x"].dtype == np.float32
    assert found.arrays["x"].tolist() == ready


def test_values_outside_the_documented_range_are_said(tmp_path):
    found = read(tmp_path, np.float32([[0, 255]]))
    assert found.read_as.endswith("; that gives the model 0 to 255, outside its range of -2 to 2")


def test_stored_test_inputs_are_preprocessed_whatever_their_type(tmp_path):
    np.savez(tmp_path / "golden.npz", **{"test/input/x": np.float32([[255, 0]]), "test/output/y": np.zeros(1)})
    found = read_inputs(tmp_path / "golden.npz", (RANGED,), HALVED)
    assert found.arrays["x"].tolist() == [[2, -2]]
    assert found.read_as.startswith("float32 taken as stored")


def test_only_the_first_input_is_preprocessed(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.uint8([[255, 0]]), t=np.int32([[1, 2, 3]]))
    found = read_inputs(tmp_path / "x.npz", (RANGED, TOKENS), HALVED)
    assert found.arrays["t"].tolist() == [[1, 2, 3]]
    assert found.read_as.endswith("; t: int32, taken as it is")


@pytest.mark.parametrize(
    ("array", "spec", "said"),
    [
        (np.float32([[0, 0], [0, np.nan]]), RANGED, "'x' holds nan in sample 1, which is no finite float32"),
        (np.float32([[-np.inf, 0]]), RANGED, "'x' holds -inf in sample 0, which is no finite float32"),
        (np.float64([[0, 0], [1e300, 0]]), RANGED, r"'x' holds 1e\+300 in sample 1, which is no finite float32"),
        (np.float64([[1, 2, np.nan]]), TOKENS, "'t' holds nan in sample 0, which is no int64"),
        (np.float64([[1, 2.5, 3]]), TOKENS, "'t' holds 2.5 in sample 0, which is no int64"),
        (np.zeros((0, 2), np.float32), RANGED, r"has shape \(0, 2\): it holds no sample"),
        (np.zeros((1, 2), np.complex64), RANGED, "holds complex64, not numbers"),
    ],
)
def test_what_no_model_can_answer_is_one_line(tmp_path, array, spec, said):
    with pytest.raises(DataError, match=said) as caught:
        read(tmp_path, array, spec)
    assert str(caught.value).startswith(f"{tmp_path / 'x.npy'}: ")


def test_an_archive_by_the_name_of_an_array(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2)))
    (tmp_path / "x.npz").rename(tmp_path / "x.npy")
    with pytest.raises(DataError, match=r"is not an \.npy but an archive; name it \.npz"):
        read_inputs(tmp_path / "x.npy", (RANGED,), HALVED)


@pytest.mark.parametrize("shape", [(6, 1, 8, 8), (6, 8, 8), (1, 8, 8), (8, 8)])
def test_lacking_axes_are_added(shape):
    spec = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8))
    assert shaped_like(np.zeros(shape), spec).shape == (shape[0] if len(shape) > 2 else 1, 1, 8, 8)
