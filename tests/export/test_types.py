"""Records become JSON and come back the same; what does not fit is named."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.bundle.encoding import part_from_json
from export.bundle.types import EpochRecord, Measurement, ProbeResult, Recipe, TensorSpec, from_json, to_json

EPOCH = st.builds(
    EpochRecord,
    epoch=st.integers(1, 10_000),
    loss=st.floats(allow_nan=False),
    validation_accuracy=st.none() | st.floats(0, 1),
    seconds=st.floats(0, 1e6),
    learning_rate=st.floats(0, 10),
)


@given(EPOCH)
def test_a_record_comes_back_the_same(record):
    assert from_json(EpochRecord, json.loads(json.dumps(to_json(record), allow_nan=False))) == record


def test_nan_is_kept_through_json():
    probe = ProbeResult(
        probe="test", output="y", samples=1, error=math.nan, reference=1e-7, band=8e-7, ratio=math.inf, passed=False
    )
    back = from_json(ProbeResult, json.loads(json.dumps(to_json(probe), allow_nan=False)))
    assert math.isnan(back.error)
    assert back.ratio == math.inf


def test_numpy_values_become_plain():
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 2), low=np.float64(0.5))
    shape = {"name": "x", "dtype": "float32", "shape": ["batch", 2]}
    assert to_json(spec) == shape | {"low": 0.5, "high": None, "symbols": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "ten"}, r"Recipe\.epochs: int was expected, not 'ten'"),
        ({"epochs": True}, r"Recipe\.epochs: int was expected"),
        ({"precision": "float8"}, r"Recipe\.precision: 'float8' is none of"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"options": []}, r"Recipe\.options: an object was expected"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    good = to_json(Recipe(name="fast", epochs=1, batch_size=2, optimizer="sgd", learning_rate=1))
    with pytest.raises(ValueError, match=message):
        from_json(Recipe, good | change)


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="Measurement: field 'artifact' is missing"):
        from_json(Measurement, {})


def test_what_a_mapping_holds_is_looked_at_and_left_as_it_is():
    facts = {"name": "fast", "epochs": 1, "batch_size": 2, "optimizer": "sgd", "learning_rate": 0.1}
    assert from_json(Recipe, facts | {"options": {"momentum": 1}}).options == {"momentum": 1}
    with pytest.raises(ValueError, match=r"Recipe\.options\['momentum'\]: "):
        from_json(Recipe, facts | {"options": {"momentum": [1]}})


def test_a_number_that_is_too_large_does_not_fit():
    values = {"epoch": 1, "loss": 10**400, "validation_accuracy": None, "seconds": 1.0, "learning_rate": 1.0}
    with pytest.raises(ValueError, match=r"EpochRecord\.loss: int too large"):
        from_json(EpochRecord, values)


@pytest.mark.parametrize("values", [[1, True], [1, 2.0], [1, "2"], [1, None]])
def test_a_column_of_numbers_is_looked_at_one_by_one(values):
    with pytest.raises(ValueError, match=r"tuple\[1\]: "):
        from_json(tuple[int, ...], values)


def test_a_part_of_an_object_is_read_past_fields_that_are_not_known():
    values = {"epoch": 1, "loss": 0.5, "validation_accuracy": None, "seconds": 1.0, "learning_rate": 1.0}
    assert part_from_json(EpochRecord, values | {"later": 1}) == from_json(EpochRecord, values)
    with pytest.raises(ValueError, match="field 'epoch' is missing"):
        part_from_json(EpochRecord, {"later": 1})
