"""The schema of report.json says what is written, and nothing else is written."""

import json

import pytest

from serve_bench.reports import _schema

jsonschema = pytest.importorskip("jsonschema")


def test_the_schema_beside_the_code_is_that_of_the_types():
    """Where this fails after a change that is meant: python -m serve_bench.reports._schema"""
    assert json.loads(_schema.SCHEMA_FILE.read_text()) == _schema.schema()


def test_the_report_of_a_real_bundle_fits_it(made):
    written = json.loads((made.root / "report.json").read_text())
    validator = jsonschema.Draft202012Validator(_schema.schema())
    validator.check_schema(_schema.schema())
    assert [e.message for e in validator.iter_errors(written)] == []
    row = next(r for r in written["reports"][0]["rows"] if r["ratio"])
    row["ratio"]["high"] = None
    assert [e.message for e in validator.iter_errors(written)]
    del row["ratio"]
    assert "'ratio' is a required property" in [e.message for e in validator.iter_errors(written)]


def test_every_property_says_what_it_is():
    nameless = [
        f"{name}.{key}"
        for name, made in _schema.schema()["$defs"].items()
        for key, value in made["properties"].items()
        if not value.get("description")
    ]
    assert nameless == []


def test_the_records_of_a_section_have_a_type():
    from full_report import cold_starts
    from report_records import whole

    from export.registry import entries
    from serve_bench.reports.summary import summarise

    bundle = whole(cold=cold_starts())
    written = json.loads(entries("serve_bench.reports")["json"].render([summarise(bundle)]))
    validator = jsonschema.Draft202012Validator(_schema.schema())
    assert [e.message for e in validator.iter_errors(written)] == []
    sections = written["reports"][0]["sections"]
    assert [len(start["total_ns"]) for start in sections["cold_start"]] == [3, 3, 3, 0]
    sections["cold_start"][0]["total_ns"] = ["0.95 s"]
    sections["warm_start"] = []
    assert sorted(e.message for e in validator.iter_errors(written)) == [
        "'0.95 s' is not of type 'integer'",
        "Additional properties are not allowed ('warm_start' was unexpected)",
    ]


def test_scenarios_and_sweeps_fit_it_too():
    from report_records import FakeBundle, whole
    from test_scenario_section import record
    from test_sweep_reports import BATCH, CONCURRENCY

    from export.registry import entries
    from serve_bench.reports.summary import summarise

    validator = jsonschema.Draft202012Validator(_schema.schema())
    for bundle in (
        FakeBundle({"scenario": [record("Server"), record("Offline")]}),
        whole(sweep=[*BATCH, *CONCURRENCY]),
    ):
        written = json.loads(entries("serve_bench.reports")["json"].render([summarise(bundle)]))
        assert written["reports"][0]["scenarios"] or written["reports"][0]["sweeps"]
        assert [e.message for e in validator.iter_errors(written)] == []
