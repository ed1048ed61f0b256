"""When a run has seen enough: by the width of its intervals or by its budget, and it says which."""

import itertools
import math

import pytest
from latency_fakes import FakeCell, artifact

from serve_bench.latency import enough
from serve_bench.latency.stats import t_quantile
from serve_bench.latency.subject import Subject, Taken

EAGER, ONNX = FakeCell(artifact("exported_program"), "eager"), FakeCell(artifact("onnx"), "onnxruntime-cpu")


def subject(cell, batch=1):
    return Subject(cell=cell, artifact=cell.artifact, family="f", preload=(), batch=batch, boundary="host")


def taken(*latencies, error=""):
    return Taken(latencies_ns=list(latencies), replicates=list(range(len(latencies))), error=error)


def test_the_width_is_that_of_the_t_interval_of_the_log_ratio():
    logs = [math.log(2), math.log(2.1), math.log(1.9)]
    found = enough.width(
        [subject(EAGER), subject(ONNX)],
        [taken(*(1e6 * math.exp(d) for d in logs)), taken(1e6, 1e6, 1e6)],
        0.02,
    )
    mean = sum(logs) / 3
    deviation = math.sqrt(sum((d - mean) ** 2 for d in logs) / 2)
    half = t_quantile(0.975, 2) * deviation / math.sqrt(3)
    assert found.widest == pytest.approx(math.expm1(half), rel=1e-9)
    assert (found.of, found.wider, found.ratios) == (1, 1, 1)
    assert found.unfinished == (0, 1)


def test_a_batch_whose_ratios_are_all_narrow_is_finished():
    rows = [subject(cell, batch) for batch in (1, 8) for cell in (EAGER, ONNX)]
    found = enough.width(rows, [taken(2, 2), taken(1, 1), taken(2, 2), taken(1, 2)], 0.02)
    assert found.unfinished == (2, 3)
    assert enough.width(rows, [taken(2, 2), taken(1, 1)] * 2, 0.02).unfinished == ()


def test_only_rows_with_an_eager_one_of_their_batch_count():
    rows = [subject(EAGER, 1), subject(ONNX, 1), subject(ONNX, 8)]
    found = enough.width(rows, [taken(2, 2), taken(1, 1), taken(1, 9)], 0.02)
    assert (found.widest, found.wider, found.ratios) == (0.0, 0, 1)
    assert enough.width(rows[1:], [taken(1, 1), taken(1, 9)], 0.02) is None
    assert enough.width(rows, [taken(error="no"), taken(1, 1), taken(1, 9)], 0.02) is None


def test_the_replicates_asked_for_share_three_fifths_and_further_ones_the_rest():
    def shares(spent_of, set_up_s=0.0):
        spent = 0.0
        for number in itertools.count():
            share = enough.share_s(15.0, spent, number, 10, set_up_s, adaptive=True)
            if not share:
                return
            yield share
            spent += spent_of(share) + (set_up_s if number >= 10 else 0.0)

    assert list(shares(lambda s: s)) == pytest.approx([0.9] * 16)
    assert len(list(shares(lambda s: s, set_up_s=1.5))) == 12
    assert len(list(shares(lambda _: 0.0))) == 100
    assert enough.share_s(15.0, 9.0, 10, 10, 0.5, 0.25, adaptive=True) == pytest.approx(0.9 / 4)
    assert enough.share_s(15.0, 14.3, 10, 10, 0.5, 0.25, adaptive=True) == 0.0
    whole = [enough.share_s(15.0, 1.5 * n, n, 10, adaptive=False) for n in range(11)]
    assert whole == pytest.approx([1.5] * 10 + [0.0])


def test_set_up_beyond_a_third_of_the_budget_leaves_less_for_further_replicates():
    def spent(first, **further):
        return enough.spent_s(18.0, first + 3.0, first, 30.0, **further)

    assert spent(10.0, further=True) == spent(2.0, further=True) == 18.0 + 3.0
    assert spent(14.0, further=True) == 18.0 + 3.0 + 4.0
    assert spent(14.0, further=False) == 18.0 + 3.0, "the first ones share what was meant for them"


def test_ten_seconds_of_set_up_are_free_whatever_the_budget():
    assert enough.spent_s(2.0, 9.0, 9.0, 5.0, further=True) == 2.0
    assert enough.spent_s(2.0, 12.0, 12.0, 5.0, further=True) == 2.0 + 2.0


def test_what_replicates_take_beyond_their_share_is_planned_for():
    assert enough.pace(0.0, 0.0) == enough.USUAL_PACE
    assert enough.pace(6.0, 4.0) == 1.5
    assert enough.pace(3.0, 4.0) == 1.0


def test_a_replicate_has_as_many_runs_as_those_before_it_where_the_budget_allows():
    # 30 s less 21 s spent leave 4.5 s for each of two
    assert enough.fits(4.9, 30.0, 21.0, 8, 10)
    assert not enough.fits(5.0, 30.0, 21.0, 8, 10)
    assert enough.fits(5.0, 30.0, 30.0, 10, 10), "a further one was asked for its share already"


def test_a_slow_replicate_is_made_up_for_by_further_ones_and_not_by_the_next():
    assert enough.share_s(30.0, 9.0, 2, 10, adaptive=True) == pytest.approx(1.8)
    assert enough.share_s(30.0, 28.0, 8, 10, adaptive=True) == pytest.approx(1.0)
    assert enough.share_s(30.0, 9.0, 2, 10, adaptive=False) == pytest.approx(21 / 8)


def test_a_run_says_what_ended_it():
    narrow, wide = enough.Width(0.01, 1, 0, 3), enough.Width(0.05, 1, 2, 3)
    assert enough.ended(narrow, 0.02, "x", 10, 10)["ended_by"] == "precision"
    assert enough.ended(wide, 0.02, "x", 100, 10)["ended_by"] == "most"
    assert enough.ended(wide, 0.02, "x", 99, 10) == {
        "ended_by": "budget",
        "wider_ratios": 2,
        "ratios": 3,
        "widest_ratio": 0.05,
        "widest_cell": "x",
    }
    assert enough.ended(None, 0.02, "", 10, 10) == {"ended_by": "replicates"}


def test_a_further_replicate_is_begun_only_where_its_least_runs_fit():
    def share(took_s):
        return enough.share_s(15.0, 12.0, 10, 10, 0.5, 1.0, took_s, adaptive=True)

    assert share(0.0) == share(2.5) == pytest.approx(0.9), "2.5 s are left"
    assert share(2.6) == 0.0


def test_what_has_a_ratio_is_a_group_with_eager_and_another():
    assert enough.comparable([subject(EAGER), subject(ONNX)])
    assert not enough.comparable([subject(ONNX), subject(ONNX, 8)])
    assert not enough.comparable([subject(EAGER), subject(EAGER)])
    assert not enough.comparable([subject(EAGER, 1), subject(ONNX, 8)])
    assert not enough.comparable([])
