"""Rows from records whose figures are derived by hand."""

import mmap
from dataclasses import replace

import pytest
from report_records import CELLS, FALLING, HALF, ONNX, PROGRAM, FakeBundle, manifest, measurement, verification, whole

from serve_bench.equivalence.records import worst_probe
from serve_bench.latency.stats import Interval
from serve_bench.reports import _facts, _headline, _tables
from serve_bench.reports._facts import measuring_facts
from serve_bench.reports.summary import summarise


def test_the_figures_of_a_row():
    eager, onnx, half = summarise(whole()).rows
    assert (eager.subject.label, eager.word, eager.ratio) == ("eager", "baseline", None)
    # eleven runs of 100 and eleven of 110 ns: the median lies between, the 99 % bounds on either side
    assert onnx.quantiles["p50"] == (105, 100, 110)
    assert onnx.throughput == pytest.approx(1e9 / 105)
    assert set(onnx.quantiles) == {"p50"}
    # 200/100 and 220/110: twice as fast in both replicates
    assert onnx.ratio == pytest.approx((2, 2, 2))
    assert onnx.word == "faster"
    assert half.ratio == pytest.approx((1, 1, 1))
    assert half.word == "indistinguishable"
    assert {r.delta for r in (eager, onnx, half)} == {0.01}
    assert onnx.cold == {"open_ns": 1e6, "first_run_ns": 2e6}


def test_the_error_of_a_row_is_the_one_nearest_its_band_over_all_probes():
    onnx = summarise(whole()).rows[1].subject
    # 1e-7 of 2e-7 comes nearer than the test set's 2e-7 of 8e-7
    assert (onnx.probe, onnx.verdict) == ("gaussian", "same")
    assert (onnx.error, onnx.band) == pytest.approx((1e-7, 2e-7))
    near = verification(ONNX, "onnxruntime-cpu", 7e-7, 8e-7)
    onnx = summarise(whole(verification=[near])).rows[1].subject
    assert (onnx.probe, onnx.error, onnx.band) == ("test", 7e-7, 8e-7)


def test_a_failed_probe_is_worse_than_any_that_passed():
    passed, failed = verification(ONNX, "onnxruntime-cpu", 0, 8e-7).probes
    assert worst_probe([passed, replace(failed, band=0, passed=False)]).probe == "test"
    assert worst_probe([]) is None


def test_the_precision_and_the_answers_of_a_row():
    onnx = summarise(whole()).rows[1].subject
    assert (onnx.precision_asked, onnx.precision_found) == ("float32", "float32")
    assert (onnx.decisions, onnx.disagreements) == (100, 0)


def test_the_first_sentence():
    summary = summarise(whole())
    assert summary.headline == "onnxruntime-cpu is 2.00× [2.00, 2.00] as fast as eager at batch 1."
    assert summary.verdict == "All 3 verified forms are the same model: as close to float64 as their bands ask."


def test_the_first_sentence_names_both_ends_of_the_batches():
    def run(batch, onnx):
        return [
            measurement(PROGRAM, "eager", batch, [[200] * 11] * 2),
            measurement(ONNX, "onnxruntime-cpu", batch, [[onnx] * 11] * 2),
        ]

    records = [replace(r, facts=r.facts | {"cells": 4}) for r in run(1, 50) + run(8, 100)]
    assert summarise(whole(measurement=records)).headline == (
        "onnxruntime-cpu is 4.00× [4.00, 4.00] as fast as eager at batch 1 and 2.00× [2.00, 2.00] as fast as "
        "eager at batch 8."
    )
    slow = [replace(r, facts=r.facts | {"cells": 4}) for r in run(1, 50) + run(8, 400)]
    assert summarise(whole(measurement=slow)).headline.endswith(
        "batch 1. No backend is faster than eager at batch 8: the nearest, onnxruntime-cpu, runs at 0.500× "
        "[0.500, 0.500]."
    )


def test_the_first_sentence_names_the_plain_form_where_a_narrower_one_cannot_be_told_from_it():
    def headline(plain):
        forms = ((PROGRAM, "eager", [500] * 3), (ONNX, "onnxruntime-cpu", plain), (HALF, "onnxruntime-cpu", [100] * 3))
        records = [measurement(of, backend, 1, [[ns] * 11 for ns in by]) for of, backend, by in forms]
        return summarise(whole(measurement=records)).headline

    assert headline([104, 104, 105]).startswith("onnxruntime-cpu float16 is 5.00×")
    assert headline([98, 102, 106]).startswith("onnxruntime-cpu is ")


def test_the_first_sentence_is_true_of_every_backend():
    eager, plain, half = summarise(whole()).rows
    wild, steady = (Interval(3.1, 0.8, 12), "indistinguishable"), (Interval(3.0, 2.9, 3.1), "faster")
    same, slow = (Interval(1.0, 0.99, 1.01), "indistinguishable"), (Interval(0.5, 0.4, 0.6), "slower")

    def headline(one, other):
        rows = (
            replace(row, ratio=ratio, word=word) for row, (ratio, word) in zip((plain, half), (one, other), strict=True)
        )
        return _headline.headline([eager, *rows])

    assert headline(wild, steady).startswith("onnxruntime-cpu float16 is 3.00× [2.90, 3.10] as fast as eager")
    assert headline(same, slow) == (
        "No backend is faster than eager at batch 1: the nearest, onnxruntime-cpu, runs at 1.00× [0.990, 1.01] and "
        "cannot be told from it."
    )
    assert headline(same, same).startswith("No backend can be told from eager at batch 1: the nearest, ")
    assert headline(slow, slow) == (
        "No backend is faster than eager at batch 1: the nearest, onnxruntime-cpu, runs at 0.500× [0.400, 0.600]."
    )


def test_deltas_are_of_a_device():
    """The CPU's forms vary by 20 %, a GPU's not at all."""
    forms = [(PROGRAM, "eager", "cpu"), (ONNX, "onnxruntime-cpu", "cpu")]
    noisy = [
        measurement(of, backend, 1, [[100] * 11, [120 + 20 * i] * 11], device=device)
        for i, (of, backend, device) in enumerate(forms)
    ]
    gpu = [
        measurement(PROGRAM, "eager", 1, [[100] * 11] * 2, device="cuda"),
        measurement(ONNX, "onnxruntime-cuda", 1, [[50] * 11] * 2, device="cuda"),
    ]
    records = [replace(r, facts=r.facts | {"cells": 4}) for r in (*noisy, *gpu)]
    summary = summarise(whole(measurement=records))
    assert summary.deltas["batch 1, host, cuda"] == 0.01
    assert summary.deltas["batch 1, host"] > 0.05
    assert {r.word for r in summary.rows if r.subject.backend == "onnxruntime-cuda"} == {"faster"}
    assert " on cpu, 1.0 % on cuda" in _tables.title(summary, 1, "host")


def test_a_verdict_with_other_threads_is_not_this_runs():
    first = whole().records
    other = verification(ONNX, "onnxruntime-cpu", 1e-3, 8e-7, settings={"asked": {"threads": 4}})
    summary = summarise(whole(verification=[*first["verification"], other]))
    assert [s.verdict for s in summary.subjects] == ["same"] * 3


def test_the_latest_verdict_and_the_latest_whole_run_count():
    first = whole().records
    later = [replace(r, run="run2", latencies_ns=tuple(2 * x for x in r.latencies_ns)) for r in first["measurement"]]
    cut = [replace(first["measurement"][0], run="run3")]
    again = verification(ONNX, "onnxruntime-cpu", 1e-3, 8e-7)
    elsewhere = verification(HALF, "onnxruntime-cpu", 1.0, 2e-3, environment="env2")
    bundle = whole(
        measurement=[*first["measurement"], *later, *cut], verification=[*first["verification"], again, elsewhere]
    )
    summary = summarise(bundle)
    assert summary.run == "run2"
    assert summary.rows[0].quantiles["p50"].value == 420
    assert [s.verdict for s in summary.subjects] == ["same", "not the same", "same"]
    assert summary.verdict == "1 of 3 verified forms are not the same model: onnxruntime-cpu."


def test_a_smaller_run_is_shown_and_the_larger_one_named():
    first = whole().records["measurement"]
    quick = replace(first[0], run="run2", facts=first[0].facts | {"cells": 1})
    summary = summarise(whole(measurement=[*first, quick]))
    assert (summary.run, len(summary.rows)) == ("run2", 1)
    assert dict(summary.measuring)["Also kept"].startswith(
        "run run1 of 2026-01-01T00:00:00+00:00, 2 replicates, 3 rows"
    )
    again = summarise(whole(measurement=[*first, quick], shown=[{"run": "run1", "newest": "run2"}]))
    assert (again.run, len(again.rows)) == ("run1", 3)
    assert "Also kept" not in dict(again.measuring)


def test_a_form_that_failed_and_was_not_measured_is_still_a_subject():
    records = whole().records
    run = [replace(r, facts=r.facts | {"cells": 2}) for r in records["measurement"][:2]]
    failed = [*records["verification"][:2], verification(HALF, "onnxruntime-cpu", 1.0, 2e-3)]
    summary = summarise(whole(measurement=run, verification=failed))
    assert len(summary.rows) == 2
    assert summary.subjects[2].verdict == "not the same"
    assert "sample 3" in summary.subjects[2].reason


def test_what_broke_or_has_no_record_was_not_checked():
    broken = verification(ONNX, "onnxruntime-cpu", 1, 8e-7, probes=(), reason="it died", settings={"broke": True})
    summary = summarise(whole(verification=[broken]))
    assert [(s.verdict, s.reason) for s in summary.subjects[:2]] == [("not checked", ""), ("not checked", "it died")]
    assert summary.verdict == "Nothing was verified yet."


def test_a_wide_delta_and_warm_ups_that_did_not_settle_are_warned_of():
    steady = [replace(r, facts=r.facts | {"unsettled_replicates": 0}) for r in whole().records["measurement"]]
    assert summarise(whole(measurement=steady)).warnings == ()
    late = replace(steady[1], facts=steady[1].facts | {"unsettled_replicates": 1})
    assert summarise(whole(measurement=[steady[0], late, steady[2]])).warnings == ()
    falling = replace(late, latencies_ns=FALLING)
    assert summarise(whole(measurement=[steady[0], falling, steady[2]])).warnings == (
        "Warm-up had not settled at its time limit: onnxruntime-cpu at batch 1 (1 of 2 replicates; +50.0 % [+50.0, "
        "+50.0]). How much longer earlier runs of a replicate took than later ones stands behind each: so much of "
        "these latencies may be warm-up.",
    )
    rising = replace(late, latencies_ns=tuple(FALLING[10::-1] + FALLING[:10:-1]))
    assert summarise(whole(measurement=[steady[0], rising, steady[2]])).warnings == ()
    torn = replace(steady[1], latencies_ns=(100,) * 11 + (200,) * 11)
    summary = summarise(whole(measurement=[steady[0], torn, steady[2]]))
    assert summary.rows[0].delta > 0.1
    (warning,) = summary.warnings
    assert warning.startswith("The machine was not steady: δ is above 10 % (")
    assert " % at batch 1), and" in warning


def test_many_warm_ups_that_did_not_settle_are_the_worst_three_and_a_number():
    (record, *_) = whole().records["measurement"]
    facts = record.facts | {"unsettled_replicates": 2, "cells": 4}
    rows = []
    for batch, factor in enumerate((1.1, 1.4, 1.2, 1.3), start=1):
        latencies = tuple(round(ns * factor) if i % 11 < 5 else ns for i, ns in enumerate([1000] * 22))
        rows.append(replace(record, batch=batch, latencies_ns=latencies, facts=facts))
    (warning,) = summarise(whole(measurement=rows)).warnings
    told = [warning.index(f"at batch {batch} ") for batch in (2, 4, 3)]
    assert told == sorted(told)
    assert "at batch 1 " not in warning
    assert "and 1 more. How" in warning


def test_a_budget_of_the_least_runs_is_warned_of():
    plain = [replace(r, facts=r.facts | {"unsettled_replicates": 0}) for r in whole().records["measurement"]]
    run = [replace(r, facts=r.facts | {"over_budget_s": 1.5, "budget_s": 0.1}) for r in plain]
    (warning,) = summarise(whole(measurement=run)).warnings
    fewest = min(len(r.latencies_ns) for r in run)
    assert warning.startswith(f"The budget of 0.1 s holds no more than the least number of runs ({fewest} of a form)")


def test_a_machine_that_slowed_down_is_warned_of():
    records = []
    for record, base in zip(whole().records["measurement"], (1000, 400, 700), strict=True):
        latencies = tuple(round(base * 1.05 ** (r / 9)) for r in range(10) for _ in range(12))
        replicates = tuple(r for r in range(10) for _ in range(12))
        facts = record.facts | {"unsettled_replicates": 0, "replicates": 10}
        rounds = (0,) * 120
        made = replace(record, latencies_ns=latencies, replicates=replicates, rounds=rounds, facts=facts)
        records.append(made)
    (warning,) = summarise(whole(measurement=records)).warnings
    assert warning.startswith("The machine slowed down by 5.")
    assert "Mann-Kendall p 5.5e-07" in warning  # 2 of 10! orders


def test_memory_that_every_run_takes_anew_is_told_from_a_mebibyte_on():
    eager, onnx, half = whole().records["measurement"]
    pages = (1 << 20) // mmap.PAGESIZE
    given = [replace(r, facts=r.facts | {"page_faults": pages * n}) for r, n in ((eager, 0.9), (onnx, 0.9), (half, 2))]
    assert dict(summarise(whole(measurement=given)).measuring)["Memory"] == (
        "taken from the system anew in every run, which is part of its time: "
        f"onnxruntime-cpu float16 2.10 MB at batch 1 ({2 * pages:,} page faults)"
    )
    assert "Memory" not in dict(summarise(whole()).measuring)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "one for each session, forked from one that has imported its libraries"),
        ({"facts": {"isolate": True}}, "a new interpreter for each session"),
        ({"device": "cuda"}, "one for each session on the CPU and each family of backends on a GPU, forked"),
    ],
)
def test_which_sessions_share_a_process_is_told(changes, words):
    eager, *others = whole().records["measurement"]
    changed = replace(eager, **{**changes, "facts": {**eager.facts, **changes.get("facts", {})}})
    told = dict(measuring_facts([changed, *others], given=False))["Processes"]
    assert told.startswith(f"made anew for every replicate, {words}")


def test_a_row_without_a_figure_says_why():
    records = whole().records["measurement"]
    broken = replace(records[1], latencies_ns=(), replicates=(), rounds=(), error="out of memory")
    row = summarise(whole(measurement=[records[0], broken, records[2]])).rows[1]
    assert (row.error, row.quantiles, row.ratio, row.word) == ("out of memory", {}, None, "")


def test_without_a_baseline_there_is_no_ratio():
    run = [replace(r, facts=r.facts | {"cells": 2}) for r in whole().records["measurement"][1:]]
    summary = summarise(whole(measurement=run))
    assert {(r.ratio, r.word) for r in summary.rows} == {(None, "")}
    assert summary.headline == "There is no eager baseline in this run: latencies stand alone."


def test_boundaries_and_devices_are_never_mixed():
    base = measurement(PROGRAM, "eager", 1, [[200] * 11] * 2)
    other = measurement(ONNX, "onnxruntime-cpu", 1, [[100] * 11] * 2, boundary="device")
    run = [replace(r, facts=r.facts | {"cells": 2}) for r in (base, other)]
    assert [r.ratio for r in summarise(whole(measurement=run)).rows] == [None, None]


def test_what_is_absent_has_its_reason():
    found = summarise(whole()).absent
    assert [(a.label, a.kind, a.reason) for a in found] == [
        ("torchscript", "not run", "torch is not installed"),
        ("tensorrt sm80", "not built", "no builder"),
    ]


def test_the_facts_name_the_data_that_were_really_used():
    summary = summarise(whole())
    facts = dict(summary.facts)
    assert facts["Data"] == "digits: 1,400 training, 100 validation, 297 test — MNIST is not here"
    assert facts["Test accuracy"] == "99.41 %; published: 99.37 %, by a document"
    assert facts["Training"] == "61 s on cpu, seed 0"
    measuring = dict(summary.measuring)
    assert measuring["Inputs"] == "1,024 real test samples"
    assert measuring["Warm-up"].endswith("3 of 6 ended at their time limit")
    assert summary.environment is not None


def test_inputs_that_a_user_gave_are_no_data_set():
    bundle = whole()
    data = replace(bundle.manifest.dataset, name="user", train=0, validation=0, test=16, note="inputs without labels")
    bundle.manifest = manifest(dataset=data, training=replace(bundle.manifest.training, metrics={}))
    summary = summarise(bundle)
    assert dict(summary.facts)["Data"] == "16 samples given by the user — inputs without labels"
    assert dict(summary.measuring)["Inputs"] == "1,024 given samples"


def test_what_a_tail_would_take_is_told():
    """Two replicates of 11 runs of 1 ms and of 2 ms: p90 wants 64, that is 32 in each of two replicates."""
    rows = [measurement(of, b, 8, [[ns] * 11] * 2) for (of, b), ns in zip(CELLS[:2], (10**6, 2 * 10**6), strict=True)]
    # Four visits a replicate begin with 10 ms untimed, 5 runs of 2 ms. Time is shared out equally: the other form has
    # as long. Replicates take 1.15 times what their runs do.
    needed = 1.15 * 2 * 2 * (32 + 4 * 5) * 2e-3
    p90, p99 = _facts.tails(rows).split("; ")
    assert p90 == (
        f"p90 asks for 64 runs of each form, and one has only 22 at batch 8 (--batch 8 --budget {1.05 * needed:.2g})"
    )
    assert p99.startswith("p99 asks for 662 runs of each form, and one has only 22 at batch 8 (--batch 8 --budget ")
    adaptive = [replace(r, facts=r.facts | {"precision_of_ratio": 0.02}) for r in rows]
    assert f"--budget {1.05 * needed / 0.6:.2g})" in _facts.tails(adaptive)
    assert _facts.tails([measurement(PROGRAM, "eager", 1, [[100] * 662])]) == ""


def test_the_command_repeats_the_run():
    assert summarise(whole()).command == (
        "pipeline bench artifacts/cnn --batch 1 --budget 15 --replicates 2 --precision-of-ratio 0 --threads 1 "
        "--no-peak --seed 7 --backend eager --backend onnxruntime-cpu --precision float32 --precision float16 "
        "--device cpu"
    )


def test_a_bundle_without_records_is_summarised():
    summary = summarise(FakeBundle())
    assert summary.rows == ()
    assert summary.headline == "Nothing was measured yet."
    assert summary.verdict == "Nothing was verified yet."
    assert summary.command == "pipeline bench artifacts/cnn"
    assert len(CELLS) == 3


def test_what_is_damaged_or_missing_is_told_above_the_figures():
    bundle = whole()
    bundle.damaged = lambda: ["measurement.jsonl line 3", "m.jsonl line 1", "m.jsonl line 2", "m.jsonl line 4"]
    bundle.missing_files = lambda: ["model.onnx"]
    damaged, missing = summarise(bundle).warnings[-2:]
    assert "measurement.jsonl line 3, m.jsonl line 1, m.jsonl line 2 and 1 more" in damaged
    assert missing.startswith("Missing from the payload: model.onnx.")


def test_a_form_that_was_timed_twice_is_told_and_warned_of_where_it_differs_from_itself():
    def shown(medians_ns):
        told = {
            "artifact_sha256": PROGRAM.sha256,
            "backend": "eager",
            "device": "cpu",
            "batch": 1,
            "boundary": "host",
            "medians_ns": medians_ns,
            "runs": 22,
        }
        return summarise(
            whole(measurement=[replace(r, facts=r.facts | {"twins": [told]}) for r in whole().records["measurement"]])
        )

    same, other = shown({"0": 200.0, "1": 220.0}), shown({"0": 250.0, "1": 275.0})
    said = "eager, timed twice under two names, against itself: 1.00× [1.00, 1.00] at batch 1 (indistinguishable)"
    assert dict(same.measuring)["A/A check"] == said
    assert not [w for w in same.warnings if "itself" in w]
    assert dict(other.measuring)["A/A check"].endswith("0.800× [0.800, 0.800] at batch 1 (slower)")
    (warned,) = [w for w in other.warnings if "different from itself" in w]
    assert "eager 0.800× [0.800, 0.800] at batch 1" in warned
    assert " --twin " in other.command
    assert "A/A check" not in dict(summarise(whole()).measuring)
