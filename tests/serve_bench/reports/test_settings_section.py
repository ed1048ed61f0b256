"""The table of the settings that each form was timed with."""

import html
import re
from dataclasses import replace

from report_records import whole
from test_report_formats import HOSTILE, render

from serve_bench.reports.markdown import cell
from serve_bench.reports.summary import summarise

SETTINGS = {
    "mode": "op by op",
    "shape_guards": False,
    "elsewhere": [],
    "tf32": None,
    "profile": {"x": {"min": [1, 2], "max": [8, 2]}},
    "cache": HOSTILE,
    "intra_op_threads": 2,
}
TIMED = (
    "intra op threads = 2; mode = op by op; shape guards = no; elsewhere = none; tf32 = not known; "
    f"profile = x (min (1, 2), max (8, 2)); cache = {HOSTILE}"
)


def test_the_settings_that_each_form_was_timed_with_are_a_row_each():
    """A form that failed at its first batch has those of its next; one that never ran has no row."""
    eager, onnx, half = (replace(r, facts=r.facts | {"cells": 6}) for r in whole().records["measurement"])
    failed = replace(eager, latencies_ns=(), replicates=(), rounds=(), error="out of memory")
    run = [failed, onnx, half, *(replace(r, batch=8, settings=SETTINGS) for r in (eager, onnx)), replace(half, batch=8)]
    shown = summarise(whole(measurement=run))
    page, text = render("html", shown), render("markdown", shown)
    assert f"| eager | {cell(TIMED)} |" in text.split("### Settings of each backend")[1].splitlines()
    table = page[page.index("<caption>Settings of each backend") :].partition("</table>")[0]
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == ["eager", "onnxruntime-cpu"]
    assert table.count(f'<td class="note">{html.escape(TIMED)}</td>') == 2
    assert page.index("How it was measured") < page.index("<caption>Settings of each backend") < page.index("<h2>Where")
    for name in ("html", "markdown"):
        assert "Settings of each" not in render(name, summarise(whole()))
