"""What ends a series, how lengths are cut, which window counts: pure functions, on values written out by hand."""

import numpy as np
import pytest

from export.bundle.errors import UnknownName
from export.bundle.types import TensorSpec
from serve_bench.latency.sweeps._run import sweep_named, sweeps
from serve_bench.latency.sweeps._series import doublings, expected_ns
from serve_bench.latency.sweeps._types import SweepPoint
from serve_bench.latency.sweeps._window import Runs, Window, completed, inside, window_of
from serve_bench.latency.sweeps.batch import stopped_rising
from serve_bench.latency.sweeps.length import longest, of_length, sequence_axis

TEXT = (
    TensorSpec(name="letters", dtype="int64", shape=("batch", "length")),
    TensorSpec(name="lengths", dtype="int64", shape=("batch",), low=1.0, high=64.0),
)
IMAGE = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),)
NAMES = {"letters": np.array([[1, 2, 3, 0], [4, 0, 0, 0]]), "lengths": np.array([3, 1])}


@pytest.mark.parametrize(
    ("throughputs", "stops"),
    [
        ([], False),
        ([100], False),
        ([100, 100], False),
        ([100, 104, 108], True),
        ([100, 104, 110], False),
        ([100, 106, 111], False),
        ([100, 104.9, 110], True),
        ([100, 105, 110], False),
        ([100, 90, 80], True),
        ([100, 200, 400, 401, 390], True),
        ([100, 100, 100, 200, 205], False),
    ],
)
def test_two_doublings_in_a_row_below_five_percent_end_a_batch_sweep(throughputs, stops):
    assert stopped_rising(throughputs) is stops


def test_doublings_end_at_the_limit():
    assert doublings(1, 8) == [1, 2, 4, 8]
    assert doublings(1, 6) == [1, 2, 4, 6]
    assert doublings(1, 6, and_last=False) == [1, 2, 4]
    assert doublings(3, 12) == [3, 6, 12]
    assert doublings(64, 1) == [64]


def test_the_next_step_is_expected_to_grow_as_the_last_did_and_never_to_shrink():
    assert expected_ns([10.0], 2.0) == 20.0
    assert expected_ns([10.0, 30.0], 2.0) == 90.0
    assert expected_ns([10.0, 5.0], 2.0) == 5.0


def test_samples_are_cut_or_repeated_without_their_padding_and_lengths_say_so():
    found = of_length(TEXT, NAMES, 7)
    assert found["letters"].tolist() == [[1, 2, 3, 1, 2, 3, 1], [4] * 7]
    assert found["lengths"].tolist() == [7, 7]
    assert found["letters"].dtype == found["lengths"].dtype == np.int64
    cut = of_length(TEXT, NAMES, 2)
    assert cut["letters"].tolist() == [[1, 2], [4, 4]]
    assert cut["lengths"].tolist() == [2, 2]


def test_a_sequence_on_another_axis_keeps_its_features():
    specs = (
        TensorSpec(name="x", dtype="float32", shape=("time", "batch", 2)),
        TensorSpec(name="state", dtype="float32", shape=("batch", 3)),
    )
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    state = np.ones((2, 3), np.float32)
    assert sequence_axis(specs) == "time"
    assert longest(specs, {"x": x, "state": state}) == 3
    found = of_length(specs, {"x": x, "state": state}, 5)
    assert found["x"].tolist() == x[[0, 1, 2, 0, 1]].tolist()
    assert found["state"] is state


def test_the_longest_is_the_documented_one():
    assert longest(TEXT, NAMES) == 64
    assert sequence_axis(TEXT) == "length"
    assert sequence_axis(IMAGE) is None


def test_only_the_length_sweep_refuses_a_model_without_a_sequence():
    refused = {name: sweep.refuses(IMAGE) for name, sweep in sweeps().items() if sweep.refuses(IMAGE)}
    assert list(refused) == ["length"]
    assert refused["length"] == "this model has no sequence axis: its inputs are image (batch, 1, 28, 28)"
    assert not any(sweep.refuses(TEXT) for sweep in sweeps().values())


def test_an_unknown_sweep_names_the_known_ones():
    with pytest.raises(UnknownName, match=r"did you mean 'batch'.*batch, concurrency, length, precision, threads"):
        sweep_named("batches")


def test_the_window_is_where_all_processes_were_running():
    first = Runs([0, 10, 20, 30], [10, 10, 10, 10])
    second = Runs([5, 17, 29], [12, 12, 12])
    window = window_of(2, [first, second])
    assert window == Window(replicate=2, start_ns=5, end_ns=40)
    assert inside(first, window) == [10, 10, 10]
    assert inside(second, window) == [12, 12]
    assert completed(first, window) == 4
    assert completed(second, window) == 2


def test_there_is_no_window_where_processes_did_not_meet():
    assert window_of(0, [Runs([0], [10]), Runs([10], [5])]) is None
    assert window_of(0, [Runs([0], [10]), Runs([], [])]) is None
    assert window_of(0, []) is None


def point(**changes):
    facts = {
        "sweep": "concurrency",
        "artifact": "onnx",
        "artifact_sha256": "a",
        "backend": "onnxruntime-cpu",
        "device": "cpu",
        "precision": "float32",
        "precision_asked": "float32",
        "boundary": "host",
        "batch": 4,
        "threads": 1,
        "length": None,
        "processes": 1,
        "latencies_ns": (100, 300, 200),
        "replicates": (0, 0, 1),
        "run": "r",
        "started": "",
        "environment": "",
        "ended": "",
    }
    return SweepPoint(**(facts | changes))


def test_a_single_process_is_as_fast_as_its_median():
    assert point().ns_per_sample() == {0: 50, 1: 50}
    assert point().throughput() == 4 * 1e9 / 200
    assert point().counted() == [[100, 300, 200]]
    assert point(latencies_ns=(), replicates=()).throughput() is None


def test_several_processes_are_as_fast_as_what_they_answer_together_in_the_window():
    both = point(
        processes=2,
        latencies_ns=(10, 10, 10, 10, 12, 12, 12),
        replicates=(0,) * 7,
        starts_ns=(0, 10, 20, 30, 5, 17, 29),
        process_of=(0, 0, 0, 0, 1, 1, 1),
        windows=(Window(replicate=0, start_ns=5, end_ns=40),),
    )
    # six runs of four samples ended in 35 ns
    assert both.ns_per_sample() == {0: 35 / 24}
    assert both.throughput() == pytest.approx(24e9 / 35)
    assert both.counted() == [[10, 10, 10], [12, 12]]
