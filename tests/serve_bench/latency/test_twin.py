"""The A/A check of a run, from its records."""

from dataclasses import replace

import pytest
from test_records import CELL, SETTINGS, bundle, record

from export.bundle.types import to_json
from serve_bench.latency import twin
from serve_bench.latency.records import matching, whole_runs
from serve_bench.latency.run_facts import MEASUREMENTS


def with_twin(run, medians_ns):
    """A run of two batches, of which the first was timed a second time."""
    told = twin.Twin(
        artifact_sha256=CELL.artifact.sha256,
        backend="onnxruntime-cpu",
        device="cpu",
        batch=1,
        boundary="host",
        medians_ns=medians_ns,
        runs=2,
    )
    made = [record(run, batch, latencies_ns=(100, 200)) for batch in (1, 8)]
    return [replace(r, facts=r.facts | {"twins": [to_json(told)]}) for r in made]


def test_the_ratio_is_paired_by_replicate():
    """100/125 and 200/250 are both 0.8; what replicates have in common is no part of it."""
    (found,) = twin.checks(with_twin("a", {"0": 125.0, "1": 250.0}))
    assert found.ratio.value == pytest.approx(0.8)
    assert (found.ratio.low, found.ratio.high) == pytest.approx((0.8, 0.8))
    assert found.word == "indistinguishable", "the one form beside it took twice as long in one of the replicates"


def test_a_run_without_a_twin_is_not_up_to_date_where_one_is_asked_for():
    plain, twice = [record("a", batch) for batch in (1, 8)], with_twin("b", {"0": 1.0, "1": 2.0})
    asked = SETTINGS | {"twin": True}
    assert matching(bundle(*plain), [CELL], "here", asked) is None
    both = bundle(*twice, *plain)
    assert matching(both, [CELL], "here", asked)[0].run == "b"
    assert matching(both, [CELL], "here", SETTINGS)[0].run == "a"


@pytest.mark.parametrize("medians", [{"0": 0.0}, {"0": float("nan")}, {"x": 1.0}])
def test_a_twin_that_is_no_twin_makes_its_run_unfit(medians):
    kept = bundle(*with_twin("a", medians))
    assert MEASUREMENTS.unfit(kept) == 2
    assert whole_runs(kept) == []
