"""The tables on stdout, from records made by hand."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from export.bundle.errors import BundleCorrupt, VerdictFailed
from pipeline.table import print_comparison, print_outcome, print_outcomes, table
from pipeline.verdict_table import print_verifications
from tests.serve_bench.reports.report_records import HALF, ONNX, PROGRAM, manifest, measurement, verification, whole


def outcome(capsys, bundle) -> list[str]:
    print_outcome(SimpleNamespace(bundle=bundle, reports={"html": "report.html"}, sections=()))
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_batches_stand_apart_each_under_its_heading(capsys):
    run = [
        measurement(of, backend, batch, [[200] * 11] * 2, facts=whole().records["measurement"][0].facts | {"cells": 4})
        for batch in (1, 8)
        for of, backend in ((PROGRAM, "eager"), (ONNX, "onnxruntime-cpu"))
    ]
    lines = outcome(capsys, whole(measurement=run))
    first, second = lines.index("Batch 1 · δ 1.0 %"), lines.index("Batch 8 · δ 1.0 %")
    assert [line.split(" ")[0] for line in lines[first + 1 : second]] == ["eager", "onnxruntime-cpu", ""]
    assert lines[lines.index("Not measured") + 1].startswith("onnxruntime-cpu float16")


def test_one_wording_and_one_error_in_both_tables(capsys):
    verdicts = [
        verification(PROGRAM, "eager", 1e-7, 8e-7),
        verification(ONNX, "onnxruntime-cpu", 1e-3, 8e-7),
        verification(
            HALF, "onnxruntime-cpu", 0, 2e-3, probes=(), reason="it died", passed=False, settings={"broke": 1}
        ),
    ]
    shown = "\n".join(outcome(capsys, whole(verification=verdicts)))
    print_verifications(SimpleNamespace(verifications=verdicts, missing=[]), "cnn", as_json=False)
    verified = capsys.readouterr().out
    for text in (shown, verified):
        assert "error against float64 (band)" in text
        assert "1.0e-07 (2.0e-07)" in text
        assert "1.0e-03 (8.0e-07)" in text
        assert "not the same: probe" in text
        assert "not checked: it died" in text


def test_a_ratio_that_is_no_quotient_of_what_is_shown_says_so(capsys):
    lines = outcome(capsys, whole())
    assert any("not the quotient of the p50s" in line for line in lines)
    assert not any("quotient" in line for line in outcome(capsys, whole(measurement=[])))


def test_a_row_without_a_figure_gives_its_reason_below(capsys):
    run = [replace(r, facts=r.facts | {"cells": 2}) for r in whole().records["measurement"][:2]]
    broken = replace(run[1], latencies_ns=(), replicates=(), rounds=(), error="out of memory")
    lines = outcome(capsys, whole(measurement=[run[0], broken]))
    assert "onnxruntime-cpu at batch 1: not measured: out of memory" in lines


def test_absences_of_one_reason_are_one_line(capsys):
    missing = [SimpleNamespace(label=label, reason="no GPU [here]") for label in ("a cuda", "b cuda")]
    print_verifications(SimpleNamespace(verifications=[], missing=missing), "cnn", as_json=False)
    assert capsys.readouterr().out.endswith("not run: a cuda, b cuda\n         no GPU [here]\n")


def test_brackets_are_no_markup_in_titles_headings_and_cells(capsys):
    """The names of folders stand in a title: `b[/x]` closes a tag that was never opened, `[old]` is one itself."""
    found = SimpleNamespace(base="b[/x]/base.json", new="a[old]/cnn", rows=[], only_base={}, only_new={}, notes=())
    print_comparison(found, gate=None, as_json=False)
    assert "a[old]/cnn against b[/x]/base.json" in capsys.readouterr().out
    table("[bold]", [("one [/a]", "left"), ("two [b]", "right")], [("[red]", ":smile:")])
    lines = capsys.readouterr().out.split("\n")
    assert [line.split() for line in lines if line.strip(" ─")] == [
        ["[bold]"],
        ["one", "[/a]", "two", "[b]"],
        ["[red]", ":smile:"],
    ]


def finished(model, failure=None):
    """What `bench` leaves of a bundle of this model."""

    def raise_for_failures():
        if failure:
            raise failure

    bundle = replace(whole(), manifest=manifest(model=model))
    return SimpleNamespace(
        bundle=bundle, reports={"html": "report.html"}, sections=(), raise_for_failures=raise_for_failures
    )


def stopped(*outcomes):
    """The outcomes, and then one that cannot be had."""
    yield from outcomes
    raise BundleCorrupt("c: is damaged")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_verdict_stops_no_bundle_after_it_and_the_first_is_raised(capsys, as_json):
    made = [finished("a"), finished("b", VerdictFailed("b failed")), finished("c", VerdictFailed("c failed"))]
    with pytest.raises(VerdictFailed, match="b failed"):
        print_outcomes(made, as_json=as_json)
    assert shown(capsys, as_json) == ["a", "b", "c"]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_finished_is_printed_where_a_later_one_stops(capsys, as_json):
    with pytest.raises(BundleCorrupt, match="c: is damaged"):
        print_outcomes(stopped(finished("a"), finished("b", VerdictFailed("b failed"))), as_json=as_json)
    assert shown(capsys, as_json) == ["a", "b"]


def test_where_the_first_stops_nothing_is_printed(capsys):
    with pytest.raises(BundleCorrupt):
        print_outcomes(stopped(), as_json=True)
    assert capsys.readouterr().out == ""


def shown(capsys, as_json):
    """The models in what was printed."""
    text = capsys.readouterr().out
    if as_json:
        return [report["model"] for report in json.loads(text)["reports"]]
    return [line.strip() for line in text.splitlines() if line.strip() in ("a", "b", "c")]
