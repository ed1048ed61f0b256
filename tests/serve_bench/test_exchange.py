"""Arrays between processes: bit for bit, numbers only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from export.bundle.errors import BackendFailed
from serve_bench.exchange import read_arrays, write_arrays

NUMBERS = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="="),
    arrays.unsigned_integer_dtypes(endianness="="),
    arrays.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
)


@given(array=arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, min_side=0)), turned=st.booleans())
def test_every_array_of_numbers_comes_back_bit_for_bit(array, turned, tmp_path_factory):
    given = array.T if turned else array
    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    read = read_arrays(write_arrays(path, {"b": given, "a": np.float32([1])}))
    assert read["b"].dtype == given.dtype
    assert read["b"].shape == given.shape
    assert read["b"].tobytes() == np.ascontiguousarray(given).tobytes()
    assert read["a"].tolist() == [1]


@pytest.mark.parametrize("array", [np.array(["x"]), np.array([{"a": 1}], dtype=object), np.array([1j])])
def test_what_is_no_number_is_refused_by_name(array, tmp_path):
    with pytest.raises(BackendFailed, match=r"'x' holds .*, not numbers"):
        write_arrays(tmp_path / "a.safetensors", {"x": array})
    assert not (tmp_path / "a.safetensors").exists()


def test_a_damaged_file_is_one_line(tmp_path):
    path = write_arrays(tmp_path / "a.safetensors", {"x": np.arange(10.0)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackendFailed, match=r"a\.safetensors: its arrays cannot be read"):
        read_arrays(path)
