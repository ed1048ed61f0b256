"""The schema of verification.json says what is written, and nothing else is written."""

import json

import pytest

from serve_bench.equivalence import document

jsonschema = pytest.importorskip("jsonschema")


def test_the_schema_beside_the_code_is_that_of_the_types():
    """Where this fails after a change that is meant: python -m serve_bench.equivalence.document"""
    assert json.loads(document.SCHEMA_FILE.read_text()) == document.schema()


def test_the_document_of_a_real_bundle_fits_it(made):
    written = json.loads((made.root / document.FILE).read_text())
    validator = jsonschema.Draft202012Validator(document.schema())
    validator.check_schema(document.schema())
    assert [e.message for e in validator.iter_errors(written)] == []
    assert written["subject"] == "cnn"
    assert written["passed"] is True
    assert written["verifications"][0]["probes"]
    written["verifications"][0]["tolerance"] = 1e-3
    assert list(validator.iter_errors(written))
    del written["verifications"][0]["tolerance"], written["verifications"][0]["reason"]
    assert "'reason' is a required property" in [e.message for e in validator.iter_errors(written)]


def test_every_field_is_described_or_named_by_its_type():
    for name, definition in document.schema()["$defs"].items():
        assert definition["description"], name
    properties = document.schema()["$defs"]["ProbeResult"]["properties"]
    assert properties["band"] == {"type": "number", "description": "Largest error that passes."}
    assert properties["worst_value"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
