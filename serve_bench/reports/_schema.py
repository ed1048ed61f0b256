"""The schema of report.json, made from the types that a report is made of: `python -m serve_bench.reports._schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.bundle.json_schema import schema_of
from serve_bench.latency.scenarios._record import ScenarioRecord
from serve_bench.latency.stats import Interval, Quantile
from serve_bench.reports._sections import RECORDS
from serve_bench.reports.json import SCHEMA
from serve_bench.reports.summary import Summary

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def schema() -> dict[str, Any]:
    """JSON Schema of the document; it stands in report.schema.json."""
    found = schema_of(
        "report.json",
        {
            "schema": {"const": SCHEMA, "description": "Version of this schema; raised when a property changes."},
            "reports": tuple[Summary, ...],
        },
    )
    definitions = found["$defs"]
    report = definitions["Summary"]["properties"]
    for name in ("facts", "measuring"):
        report[name] = TEXTS | {"description": report[name]["description"]}
    report["sections"] = _sections(definitions)
    definitions["Row"]["properties"]["subject"] = {"type": "string", "description": "Subject.label."}
    row, record = definitions.pop("ScenarioRow"), schema_of("", {"record": ScenarioRecord})["$defs"]["ScenarioRecord"]
    del row["properties"]["record"]
    record["properties"] |= row["properties"]
    record["required"] += [name for name in row["required"] if name != "record"]
    definitions["ScenarioRow"] = record
    definitions.pop("ScenarioRecord", None)
    definitions.pop("Section", None)
    for kind in (Interval, Quantile):
        assert definitions[kind.__name__]["required"] == ["value", "low", "high"]
    return found


def _sections(definitions: dict[str, Any]) -> dict[str, Any]:
    """Further parts of a report: of each section its records, whose types go to `definitions`."""
    made = schema_of("", dict(RECORDS))
    definitions |= made["$defs"]
    return {
        "type": "object",
        "description": "What was measured beside the interleaved run, or computed from it, by the section's key.",
        "properties": {key: {"type": "array", "items": kind} for key, kind in made["properties"].items()},
        "additionalProperties": False,
    }


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
