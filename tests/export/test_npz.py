"""What is read from an .npz, and the one line that is said of anything else."""

import zipfile

import numpy as np
import pytest

from export.bundle.errors import DataError
from export.npz import read_npz


def test_arrays_come_in_their_order(tmp_path):
    np.savez(tmp_path / "x.npz", b=np.arange(3), a=np.float32(2))
    found = read_npz(tmp_path / "x.npz")
    assert list(found) == ["b", "a"]
    assert found["b"].tolist() == [0, 1, 2]


def bare(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", b"")


def damaged(path):
    np.savez(path, x=np.arange(100))
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (None, "no such file"),
        (lambda p: p.write_text("import torch"), "is not a whole .npz"),
        (lambda p: p.write_bytes(b""), "is not a whole .npz"),
        (bare, "holds one bare array"),
        (archive, "is not an .npz: it holds model/data.pkl"),
        (lambda p: np.savez(p, x=np.array([{}], dtype=object)), "a pickle perhaps"),
        (damaged, "is damaged"),
    ],
)
def test_anything_else_is_one_line_of_our_own_that_says_how_to_save(tmp_path, write, said):
    path = tmp_path / "x.npz"
    if write:
        write(path)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    text = str(caught.value)
    assert said in text
    assert text.endswith("; save it with numpy.savez(path, name=array)")
    assert "allow_pickle" not in text
