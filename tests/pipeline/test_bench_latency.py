"""The table of `make bench-latency` from trials made by hand, and that what was done is not done again."""

import json

import pytest

from export.bundle.types import to_json
from pipeline import bench_latency
from pipeline.bench_latency import in_calm, kept, order
from pipeline.calm import PROBES, Probe, is_calm, probe, wait
from pipeline.latency_figures import IDLE, RUNS, Done, markdown, rows
from pipeline.latency_trials import Trial
from pipeline.runs_apart import Apart, apart


def trial(name, number, word="indistinguishable", value=1.0, truth=1.0, half=0.01):
    made = Trial(
        kind=name,
        batch=1,
        value=value,
        low=value * (1 - half),
        high=value * (1 + half),
        truth=truth,
        delta=0.01,
        word=word,
    )
    return Done(name=name, number=number, seconds=1.0, value=[to_json(made)], key="k")


def test_every_trial_comes_once_and_kinds_are_mixed():
    found = list(order())
    assert len(set(found)) == len(found) == sum(RUNS.values())
    half = found[: len(found) // 2]
    for name, runs in RUNS.items():
        assert abs(sum(kind == name for kind, _ in half) - runs / 2) <= 1


@pytest.mark.parametrize(("wrong", "held"), [(5, True), (6, False)])
def test_twins_may_be_called_different_in_one_of_twenty(wrong, held):
    done = [trial(IDLE, n, word="faster" if n < wrong else "indistinguishable") for n in range(100)]
    called, covered = rows(done)
    assert called.measured.startswith(f"{wrong} of 100 trials in 100 runs; δ 1.0 %")
    assert (called.held, covered.held, covered.measured) == (held, True, "100 of 100")


def test_an_interval_that_misses_the_truth_does_not_cover():
    done = [trial(IDLE, n, value=1.0 if n < 92 else 1.02) for n in range(100)]
    _, covered = rows(done)
    assert (covered.measured, covered.held) == ("92 of 100", False)


def test_a_planted_slowdown_must_be_found():
    done = [
        trial("delay +5 %", n, word="slower" if n else "indistinguishable", value=0.9524, truth=1 / 1.05)
        for n in range(10)
    ]
    (row,) = rows(done)
    assert row.measured == "slower in 9 of 10; ratio off by 0.00 % at the median"
    assert not row.held


def test_runs_apart_are_held_by_their_worst_cell():
    values = [{"a, 1": 2.0, "b, 1": 3.0}, {"a, 1": 2.02, "b, 1": 3.0}, {"a, 1": 2.0, "b, 1": 3.3, "c, 1": 1.0}]
    found = [{"ratios": v, "machine": {"a loop": ns}} for v, ns in zip(values, (100.0, 101.0, 98.0), strict=True)]
    done = [Done(name="repeat", number=n, seconds=1.0, value=v, key="k") for n, v in enumerate(found)]
    (row,) = rows(done)
    assert "10.0 % at most (b, 1); 1 above 3 %. Meanwhile the machine moved: a loop 2.0 %" in row.measured
    assert not row.held


def run_of(*latencies_ns, loop_ns=1e5):
    """Of two forms, ten replicates 0.1 % apart."""
    cells = [
        [f"form {i}", 1, "host", [[r, ns * (1 + r / 1e3)] for r in range(10)]] for i, ns in enumerate(latencies_ns)
    ]
    conditions = {
        "threads": 1,
        "isolate": False,
        "cores_drawn": True,
        "rewarm_ns": 0,
        "machine_ns": {"a loop": loop_ns},
    }
    return {"conditions": conditions, "cells": cells}


def test_runs_apart_are_compared_as_a_user_would():
    alike = apart([run_of(1e5, 2e5), run_of(1e5, 2e5), run_of(1.01e5, 2e5)])
    assert alike == Apart(different=0, ratios=12, found=12, planted=12)
    # One form took 20 % longer in the third run and the machine did not: both pairs with it call it so, in both orders.
    moved = apart([run_of(1e5, 2e5), run_of(1e5, 2e5), run_of(1.2e5, 2e5)])
    assert (moved.different, moved.ratios) == (4, 12)
    # Where the third run is the base, 15 % more is still less than that was: its two plants are not found.
    assert (moved.found, moved.planted) == (10, 12)


def test_other_clocks_are_held_against_ours():
    done = [
        Done(
            name="agreement",
            number=n,
            seconds=1.0,
            value={
                "ONNX Runtime": {"ours": 31_000.0, "a bare loop": 30_000.0, "x": 29_000.0},
                "eager": {"ours": 250_000.0, "a bare loop": 251_000.0},
            },
            key="k",
        )
        for n in range(3)
    ]
    bare, other, eager = rows(done)
    assert (bare.measured, bare.held) == ("+3.3% over 3 runs (31.0 µs)", True)
    assert not other.held
    assert (eager.name, eager.held) == ("p50 of eager at batch 1 against a bare loop", True)


def test_a_line_that_was_cut_short_and_trials_of_another_machine_are_passed_over(tmp_path):
    path = tmp_path / "latency.jsonl"
    lines = [
        json.dumps(trial(IDLE, 0).__dict__),
        json.dumps(trial(IDLE, 1).__dict__ | {"key": "other"}),
        '{"name": "A/A',
    ]
    path.write_text("\n".join(lines))
    assert [d.number for d in kept(path, "k")] == [0]
    assert kept(tmp_path / "none", "k") == []


def test_a_folder_that_is_no_bundle_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_latency, "WORK", tmp_path / "work" / "latency.jsonl")
    assert bench_latency.main([str(tmp_path / "nothing"), "--results", str(tmp_path / "r.json")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "r.json").exists()


CALM = Probe(loop_ns=(1e5, 1.1e5), copy_ns=(2e5, 2.3e5))
CROWDED = Probe(loop_ns=(1e5, 1.7e5), copy_ns=(2e5, 2.4e5))


def test_a_probe_is_calm_where_it_lies_near_the_best_seen():
    assert is_calm(CALM, [])
    assert not is_calm(CROWDED, [])
    assert not is_calm(Probe(loop_ns=(1e5, 1.1e5), copy_ns=(2e5, 2.5e5)), [])
    # Steady, but always slower than the machine has been: a neighbour that stays.
    steady = Probe(loop_ns=(1.6e5, 1.65e5), copy_ns=(2e5, 2.1e5))
    assert is_calm(steady, [])
    assert not is_calm(steady, [CALM])
    taken = probe(0.01)
    assert 0 < taken.loop_ns[0] <= taken.loop_ns[1]
    assert 0 < taken.copy_ns[0] <= taken.copy_ns[1]


def test_a_trial_waits_for_calm_probes_in_a_row():
    seen, pauses = iter([CALM, CALM, CROWDED, *[CALM] * PROBES, CROWDED]), []
    known = []
    assert wait(known, 1.0, lambda: next(seen), lambda: 0.0, pauses.append) == CALM
    assert len(known) == 3 + PROBES
    assert len(pauses) == 1
    times = iter([0.0, 0.5, 1.5])
    assert wait([], 1.0, lambda: CROWDED, lambda: next(times), pauses.append) is None


def test_trials_count_where_the_host_was_calm_before_and_behind_them():
    hosts = [(CALM, CALM), (CALM, CROWDED), (CROWDED, CALM), ()]
    done = [Done(**trial(IDLE, n).__dict__ | {"host": host}) for n, host in enumerate(hosts)]
    counted = in_calm(done)
    assert [d.number for d in counted] == [0]
    assert "not seen to be calm before, behind or meanwhile: 3." in markdown([], counted, len(done) - len(counted))
    assert "calm" not in markdown([], done)


def test_a_whole_run_counts_where_the_machine_was_calm_meanwhile():
    copies = (100.0, 119.0, 121.0)
    done = [
        Done(name="repeat", number=n, seconds=1.0, value={"machine": {"a copy": ns}}, key="k", host=(CALM, CALM))
        for n, ns in enumerate(copies)
    ]
    assert [d.number for d in in_calm(done)] == [0, 1]
