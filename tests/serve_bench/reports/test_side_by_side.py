"""Several reports on one page: which column is whose."""

from dataclasses import replace

import pytest
from report_records import whole
from test_report_formats import Page, render

from serve_bench.reports import _format as show
from serve_bench.reports import _side
from serve_bench.reports.summary import summarise


@pytest.fixture(scope="module")
def summary():
    return summarise(whole())


def test_models_stand_side_by_side_and_one_model_by_its_run(summary):
    other = replace(summary, model="other", run="b")
    text = render("markdown", summary, other)
    assert text.startswith("# Side by side\n")
    title, _, head, _, first, second = text.split("\n")[2:8]
    assert title == f"## Batch {summary.rows[0].batch}"
    assert head == f"| backend | {summary.model} | other |"
    p50 = show.bounded(summary.rows[0].quantiles["p50"])
    assert first.count(p50.split(" [")[0]) == 2
    assert second.count(show.ratio(summary.rows[1].ratio)) == 2
    again = render("markdown", summary, replace(summary, run="c"))
    assert all(name in again.split("\n")[4] for name in (summary.run, "c"))
    elsewhere = render("html", summary, replace(summary, path="other/cnn"))
    assert elsewhere.count('<p class="model">cnn, other/cnn</p>') == 1
    assert "Side by side" not in render("markdown", summary)
    assert "Side by side" not in render("html", summary, replace(summary, rows=()))
    assert Page(render("html", summary, other)).open == []


def test_columns_of_one_model_are_named_by_what_differs(summary):
    """Of one CPU: without a GPU, with one, with more cores, with other libraries; the last is the first once more."""
    here = summary.environment
    machines = [
        here,
        replace(here, id="env2", gpus=({"name": "NVIDIA A100"},)),
        replace(here, id="env3", cores=8),
        replace(here, id="env4", cores=8, versions={}),
        here,
    ]
    runs = [
        replace(summary, environment=machine, environment_id=machine.id, run=f"run{n}")
        for n, machine in enumerate(machines)
    ]
    assert _side.names(runs) == [
        "cnn, no GPU, 2 cores, run0",
        "cnn, NVIDIA A100",
        "cnn, no GPU, 8 cores, env3",
        "cnn, no GPU, 8 cores, env4",
        "cnn, no GPU, 2 cores, run4",
    ]
    assert _side.names(runs[:2]) == ["cnn, no GPU", "cnn, NVIDIA A100"]
    other = replace(runs[1], environment=replace(machines[1], cpu="Another"))
    assert _side.names([runs[0], other]) == ["cnn, A processor", "cnn, Another"]
    unknown = [replace(run, environment=None) for run in runs[2:4]]
    assert _side.names([*unknown, runs[0]]) == ["cnn, env3", "cnn, env4", "cnn, A processor"]
    assert _side.names([summary, replace(summary, path="other/cnn", run="c")]) == [
        f"cnn, {summary.path}",
        "cnn, other/cnn",
    ]
    assert _side.names([summary, summary]) == ["cnn, 1", "cnn, 2"]
    assert _side.names([summary, replace(summary, model="other")]) == ["cnn", "other"]
