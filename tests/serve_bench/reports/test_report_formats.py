"""Every report format over one summary: what it must hold, what it must never hold."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest
from matplotlib.figure import Figure
from report_records import FALLING, HALF, ONNX, PROGRAM, FakeBundle, manifest, measurement, verification, whole
from test_scenario_section import record

from export.bundle.types import EpochRecord, Published
from export.registry import entries
from serve_bench.reports import _format as show
from serve_bench.reports import _plots, _scenarios, _tables
from serve_bench.reports._sections import Section
from serve_bench.reports.markdown import cell
from serve_bench.reports.summary import summarise

HOSTILE = '<script>alert("x")</script>|=HYPERLINK("a")&amp;`$x^2$'
VOID = {"meta", "br", "hr", "img", "link", "input", "use", "path", "rect", "circle", "line"}


class Page(HTMLParser):
    """Checks that tags close in order, and gathers what matters."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def summary():
    return summarise(whole())


@pytest.fixture(scope="module")
def page(summary):
    return entries("serve_bench.reports")["html"].render([summary])


def without_script(page):
    """The page without its own script, which stands at its end and is the same on every page."""
    own = resources.files("serve_bench.reports").joinpath("report.js").read_text()
    assert page.endswith(f"<script>{own}</script></body></html>\n")
    return page.removesuffix(f"<script>{own}</script></body></html>\n")


def render(name, *summaries):
    return entries("serve_bench.reports")[name].render(list(summaries))


@pytest.mark.parametrize("name", ["html", "markdown", "json", "csv"])
def test_every_format_takes_a_bundle_without_records_and_several_bundles(name, summary):
    empty = summarise(FakeBundle())
    assert ("cnn" in render(name, empty)) == (name != "csv")
    assert len(render(name, summary, empty)) >= len(render(name, summary))


@pytest.mark.parametrize("name", ["html", "markdown", "json", "csv"])
def test_every_format_is_reproducible(name, summary):
    assert render(name, summary) == render(name, summary)


def test_the_page_is_well_formed_and_says_the_result_first(page, summary):
    parsed = Page(page)
    assert parsed.open == []
    text = "".join(parsed.words)
    assert summary.headline in text
    assert text.index(summary.headline) < text.index("p50")


def plots(page):
    """What each plot is called when it is read aloud."""
    return re.findall(r'<svg role="img" aria-label="(\w+)', page)


def test_plots_are_read_aloud_and_throughput_is_one_of_them_where_batches_can_be_compared(page):
    assert plots(page) == ["Times", "Distribution", "Error"]
    both = [replace(r, batch=b, facts=r.facts | {"cells": 6}) for b in (1, 8) for r in whole().records["measurement"]]
    wide = render("html", summarise(whole(measurement=both)))
    assert plots(wide) == ["Times", "Times", "Distribution", "Distribution", "Throughput", "Median", "Error"]
    assert Page(wide).tags.count("svg") == 7


def test_the_caption_says_where_the_axis_of_a_distribution_ends(page, monkeypatch):
    """Of 2,000 runs of 1 and 2 µs and one of 1 s p99.9 is 2 µs: the one is not drawn, and that is said."""
    assert "which ends a tenth above p99.9 of all runs in the plot: slower ones are not drawn" in page
    axis = Figure().subplots()
    monkeypatch.setattr(_plots, "drawn", lambda size, title, draw: draw(axis))
    run = measurement(PROGRAM, "eager", 1, [[1000] * 1000, [2000] * 1000 + [10**9]])
    _plots.ecdf(summarise(whole(measurement=[replace(run, facts=run.facts | {"cells": 1})])))
    assert axis.get_xlim() == pytest.approx((900, 2200))


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"https?://|//[a-z]|@import|url\((?!#)|<link|<img| src=", page)
    assert page.count("<script") == without_script(page).count("<script") + 1 == 1


def test_ids_of_the_plots_mean_one_thing_each(page):
    drawn = re.findall(r'(?:<path|<clipPath) id="([^"]+)"', page)
    uses = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert uses <= set(drawn)
    bodies = re.findall(r'(<(path|clipPath) id="([^"]+)".*?(?:/>|</clipPath>))', page, re.DOTALL)
    assert len({body for body, _, _ in bodies}) == len({name for _, _, name in bodies})


def test_hostile_names_are_escaped_everywhere():
    bundle = whole(
        absent=[
            {
                "missing": [{"backend": "eager", "artifact": "", "device": "cpu", "reason": HOSTILE}],
                "not_built": [{"format": HOSTILE, "precision": "float32", "target": "any", "reason": "no"}],
            }
        ]
    )
    bundle.manifest = manifest(model=HOSTILE, description=HOSTILE)
    hostile = summarise(bundle)
    page = render("html", hostile)
    assert "<script" not in without_script(page)
    assert Page(page).open == []
    assert HOSTILE in "".join(Page(page).words)
    assert "<script" not in render("markdown", hostile)
    assert json.loads(render("json", hostile))["reports"][0]["model"] == HOSTILE
    assert {line["model"] for line in csv.DictReader(io.StringIO(render("csv", hostile)))} == {HOSTILE}


def test_markdown_takes_nothing_from_a_record_as_formatting(summary):
    """What records say stands in sentences, headings and legends too, not in cells alone."""
    headed = Section(key="k", title=HOSTILE, headings=("a", HOSTILE), rows=(("b", HOSTILE),), legend=HOSTILE, data=0)
    loaded = whole(scenario=[record("SingleStream", loadgen=f"{HOSTILE} @ abc")])
    hostile = replace(
        summary,
        verdict=HOSTILE,
        subjects=tuple(replace(s, label=HOSTILE, metric={HOSTILE: 1.0}) for s in summary.subjects),
        measuring=(("Ended by", HOSTILE),),
        scenarios=_scenarios.rows_of(loaded, []),
        sections=(headed,),
    )
    text, said = render("markdown", hostile), cell(HOSTILE)
    assert "<script" not in text
    lines = text.splitlines()
    assert lines.count(said) == len(("verdict", "legend"))
    for line in (f"## {said}", f"| a | {said} |", f"| b | {said} |", f"## Measured with LoadGen {said}"):
        assert line in lines
    assert cell(f"p50: {_tables.QUANTILES_LEGEND} {_tables.LEGEND} The run was ended by") + f" {said}." in lines
    (forms,) = [line for line in lines if line.startswith("| form | verdict |")]
    assert forms.endswith(f"| {cell(_tables.metric_heading(HOSTILE))} |")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_a_formula_is_no_formula_in_a_spreadsheet():
    bundle = whole()
    bundle.manifest = manifest(model="=1+1")
    lines = list(csv.DictReader(io.StringIO(render("csv", summarise(bundle)))))
    assert {line["model"] for line in lines} == {"'=1+1"}


def test_the_markdown_table(summary):
    lines = render("markdown", summary).splitlines()
    heading = "| backend | p50 | ratio to eager | against eager | samples/s at p50 | error against float64 (band) |"
    assert f"{heading} verdict |" in lines
    assert (
        "| onnxruntime-cpu | 105 ns [100, 110] | 2.00× [2.00, 2.00] | faster | 9,520,000 "
        "| 1.0e-07 (2.0e-07) | same |" in lines
    )
    assert "| torchscript | not run | torch is not installed |" in lines


def test_every_column_of_the_page_has_a_heading(page):
    found = re.findall(r'<th scope="col">([^<]*)</th>', page)
    assert "against eager" in found
    assert "test accuracy" in found
    assert "" not in found


def test_what_is_absent_for_one_reason_is_one_row():
    rows = [("torchscript", "not run", "no torch"), ("compiled", "not run", "no torch"), ("a", "not built", "no torch")]
    assert _tables.grouped(rows) == [
        ("torchscript, compiled", "not run", "no torch"),
        ("a", "not built", "no torch"),
    ]
    missing = [
        {"backend": backend, "artifact": "", "device": "cpu", "reason": "no torch"}
        for backend in ("torchscript", "compiled")
    ]
    shown = summarise(whole(absent=[{"environment": "env1", "missing": missing, "not_built": []}]))
    assert "| torchscript, compiled | not run | no torch |" in render("markdown", shown)
    assert render("html", shown).count("no torch") == 1
    assert len(list(csv.DictReader(io.StringIO(render("csv", shown))))) == 5


def test_a_form_that_computes_in_another_precision_says_so_beside_its_latency():
    cpu = verification(HALF, "onnxruntime-cpu", 5e-4, 2e-3, precision_found="float32")
    shown = summarise(whole(verification=[cpu]))
    page = render("html", shown)
    assert '<th scope="row">onnxruntime-cpu float16<small>computes in float32</small></th>' in page
    assert page.count("computes in float32") == 1
    assert "| onnxruntime-cpu float16 (computes in float32) | 210 ns" in render("markdown", shown)


def test_warnings_stand_beside_the_headline():
    eager, onnx, half = whole().records["measurement"]
    summary = summarise(whole(measurement=[eager, replace(onnx, latencies_ns=FALLING), half]))
    (warning,) = summary.warnings
    text = "".join(Page(render("html", summary)).words)
    assert text.index(summary.headline) < text.index(warning) < text.index(summary.verdict)
    assert warning in render("markdown", summary)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8.70× [8.23, 9.47]", "8.70× [8.23, 9.47]"),
        ("+10 % [-0.9, +13.1]", "+10 % [-0.9, +13.1]"),
        ("exported_program", "exported_program"),
        ("_a_ *b* `c` d|e <f>", "\\_a\\_ \\*b\\* \\`c\\` d\\|e &lt;f>"),
        ("[1](http://x)", "\\[1\\](http://x)"),
        ("[1]: http://x", "\\[1\\]: http://x"),
        ("[a, b]", "\\[a, b\\]"),
        ("\\[1](x)", "\\\\\\[1\\](x)"),
    ],
)
def test_markdown_escapes_what_would_be_formatting_and_leaves_figures_legible(text, shown):
    assert cell(text) == shown


def test_the_json_has_full_figures_and_raw_samples(summary):
    found = json.loads(render("json", summary))
    assert found["schema"] == 1
    row = found["reports"][0]["rows"][1]
    assert row["subject"] == "onnxruntime-cpu"
    assert row["quantiles"]["p50"] == {"value": 105.0, "low": 100.0, "high": 110.0}
    assert row["ratio"]["value"] == pytest.approx(2)
    assert row["latencies_ns"] == [100] * 11 + [110] * 11
    assert found["reports"][0]["measuring"]["Threads"] == "1 for each backend"


def test_the_csv_has_a_line_for_each_row_and_each_absence(summary):
    lines = list(csv.DictReader(io.StringIO(render("csv", summary))))
    known = ["eager", "onnxruntime-cpu", "onnxruntime-cpu", "torchscript", "tensorrt sm80"]
    assert [line["backend"] for line in lines] == known
    assert lines[1]["p50_ns"] == "105.0"
    assert lines[1]["word"] == "faster"
    assert lines[1]["p99_ns"] == ""
    assert lines[3]["reason"] == "torch is not installed"


def test_rows_without_a_figure_and_failed_forms_are_in_every_format():
    records = whole().records["measurement"]
    broken = replace(records[1], latencies_ns=(), replicates=(), rounds=(), error="out of memory at 512")
    verdicts = [verification(PROGRAM, "eager", 1e-7, 8e-7), verification(HALF, "onnxruntime-cpu", 1.0, 2e-3)]
    shown = summarise(whole(measurement=[records[0], broken, records[2]], verification=verdicts))
    for name in ("html", "markdown", "json", "csv"):
        text = render(name, shown)
        assert "out of memory at 512" in text
        assert "not the same" in text


def test_tails_have_columns_only_where_a_sample_bears_them(summary, page):
    assert "p90</th>" not in page
    long = [measurement(a, b, 1, [[100] * 331] * 2) for a, b in ((PROGRAM, "eager"), (ONNX, "onnxruntime-cpu"))]
    long = [replace(r, facts=r.facts | {"cells": 2}) for r in long]
    assert "p99</th>" in render("html", summarise(whole(measurement=long)))


@pytest.mark.parametrize(
    ("value", "text"),
    [(48_123, "48.1 µs"), (413_000, "413 µs"), (1_979_000, "1.98 ms"), (999, "999 ns"), (2.5e9, "2.50 s")],
)
def test_latencies_have_three_digits_and_a_unit(value, text):
    assert show.latency(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.9712, "0.971"), (4.118, "4.12"), (26_420, "26,400"), (105, "105"), (12.35, "12.3")]
)
def test_three_significant_digits(value, text):
    assert show.significant(value) == text


def test_sizes_times_and_shares():
    assert show.size(1_234_000) == "1.23 MB"
    assert show.size(12) == "12 B"
    assert show.seconds(61) == "61 s"
    assert show.seconds(200) == "3 min 20 s"
    assert show.percent(0.013) == "1.3 %"


def trained(**changes):
    """The bundle of a training with these fields."""
    bundle = whole()
    bundle.manifest = manifest(training=replace(manifest().training, **changes))
    return summarise(bundle)


def test_a_learning_curve_is_drawn_from_two_epochs_on():
    epochs = [EpochRecord(epoch=n, loss=1 / n, validation_accuracy=0.9, seconds=1.0, learning_rate=0.1) for n in (1, 2)]
    assert "Learning" not in plots(render("html", trained(history=tuple(epochs[:1]))))
    page = render("html", trained(history=tuple(epochs)))
    assert plots(page)[-1] == "Learning"
    assert Page(page).open == []
    json.loads(render("json", trained(history=tuple(epochs))))


def test_a_regression_shows_data_and_fit_and_its_own_metric():
    shown = trained(metrics={"test_mse": 0.0123, "train_loss": 0.5}, facts={"fit": [[0.0, 1.0, 0.5], [1.0, 2.0, 2.5]]})
    assert plots(render("html", shown))[-1] == "Fit"
    facts = dict(shown.facts)
    assert facts["Mean squared error"] == "0.0123"
    assert "Test accuracy" not in facts
    assert "Training loss of the last epoch" not in facts


def test_a_figure_that_is_a_loss_stands_beside_the_loss():
    bundle = whole()
    published = Published(figure=13.45, metric="train_loss", source="a document")
    training = replace(manifest().training, metrics={"test_mse": 0.017, "train_loss": 17.158})
    bundle.manifest = manifest(training=training, published=published)
    facts = dict(summarise(bundle).facts)
    assert (
        facts["Training loss of the last epoch"]
        == "17.16; published: 13.45, by a document (cross entropy over the training samples)"
    )


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (3.1e4, 4e5, [1e5, 3e5]),
        (1.8e7, 6.5e7, [2e7, 5e7]),
        (4.1e6, 5.2e6, [4.1e6, 5.2e6]),
        (1e3, 2e8, [1e3, 1e5, 1e7]),
    ],
)
def test_a_time_axis_has_two_to_four_ticks(low, high, wanted):
    from serve_bench.reports._plots import ticks

    assert ticks(low, high) == pytest.approx(wanted)
