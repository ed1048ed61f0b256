"""A report as one JSON document: `{"schema": 1, "reports": […]}`, a `Summary` each; latencies in ns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from export.bundle.types import to_json
from serve_bench.latency.stats import Interval, Quantile
from serve_bench.reports import _sweeps
from serve_bench.reports._scenarios import row_json as scenario_json
from serve_bench.reports.summary import Row, Summary

SCHEMA = 1


def _interval(value: Interval | Quantile | None) -> Any:
    return None if value is None else value._asdict()


def row_json(row: Row) -> dict[str, Any]:
    """One row: quantiles and ratio as {"value", "low", "high"}, the raw latencies included."""
    plain: dict[str, Any] = to_json(row)
    return plain | {
        "quantiles": {name: _interval(q) for name, q in row.quantiles.items()},
        "ratio": _interval(row.ratio),
        "subject": row.subject.label,
    }


def summary_json(summary: Summary) -> dict[str, Any]:
    """One summary; `rows` name their subject by its label, `facts` and `measuring` are objects of text."""
    plain: dict[str, Any] = to_json(summary)
    return plain | {
        "rows": [row_json(row) for row in summary.rows],
        "scenarios": [scenario_json(row) for row in summary.scenarios],
        "facts": dict(summary.facts),
        "measuring": dict(summary.measuring),
        "sections": {section.key: section.data for section in summary.sections},
        "sweeps": [_sweeps.plain(sweep) for sweep in summary.sweeps],
    }


class Json:
    name = "json"
    extension = "json"

    def render(self, summaries: Sequence[Summary]) -> str:
        document = {"schema": SCHEMA, "reports": [summary_json(summary) for summary in summaries]}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


ENTRIES = (Json(),)
