"""Pages in headless Chromium: nothing is wider than the window or the sheet, headings sort, light and dark."""

import base64

import pytest

LAYOUT = """(() => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(SKIPPED)
    && e.getBoundingClientRect().right > root.clientWidth + 1);
  const plots = [...document.querySelectorAll("figure svg")].map(s => s.getBoundingClientRect().height > 60);
  const shown = getComputedStyle(document.body);
  return { window: root.clientWidth, page: root.scrollWidth, wide: wide.map(e => `${e.tagName}.${e.className}`),
    plots: plots, ink: shown.color, paper: shown.backgroundColor };
})()"""
SHEET = 717
"""Pixels between the margins of an A4 sheet: 210 mm less 1 cm on either side, at 96 dots an inch."""


def opened(browser, path, width=1000, **more):
    page = browser.page(width=width, height=900, **more).open(path.as_uri())
    page.until("document.readyState === 'complete' && document.querySelector('main')")
    return page


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize(("name", "plots"), [("made", 4), ("full", 21)])
def test_nothing_is_wider_than_the_window_and_every_plot_is_there(request, browser, name, plots, width):
    """On a report as it was written, and on one that has everything."""
    given = request.getfixturevalue(name)
    path = given if name == "full" else given.root / "report.html"
    found = opened(browser, path, width)(LAYOUT.replace("SKIPPED", '".scroll, svg"'))
    assert found["window"] == width
    assert found["page"] <= width
    assert found["wide"] == []
    assert len(found["plots"]) >= plots
    assert all(found["plots"])


def test_dark_is_dark(made, browser):
    light, dark = (
        opened(browser, made.root / "report.html", dark=d)(LAYOUT.replace("SKIPPED", '"svg"')) for d in (False, True)
    )
    assert light["paper"] == "rgb(255, 255, 255)"
    assert (dark["paper"], dark["ink"]) == ("rgb(20, 24, 29)", "rgb(230, 233, 238)")


SORT = """((caption, name, keys) => {
  const table = [...document.querySelectorAll("table")].find(t => t.caption.textContent.startsWith(caption));
  const heading = [...table.tHead.rows[0].cells].find(c => c.textContent === name);
  const column = () => [...table.tBodies[0].rows].filter(r => !r.querySelector("td[colspan]"))
    .map(r => r.cells[heading.cellIndex].firstChild.textContent);
  heading.click();
  const up = column();
  heading.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  return { up: up, down: column(), order: heading.getAttribute("aria-sort") };
})"""


def test_a_heading_sorts_its_table_by_what_the_figures_mean(made, browser):
    found = opened(browser, made.root / "report.html")(f'{SORT}("Batch", "p50")')
    sizes = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
    up = [float(text.split()[0].replace(",", "")) * sizes[text.split()[1]] for text in found["up"]]
    assert up == sorted(up)
    assert len(set(up)) > 1
    assert found["down"] == found["up"][::-1]
    assert found["order"] == "descending"


@pytest.mark.parametrize(
    ("caption", "heading", "up"),
    [
        ("Shares of the ceiling", "operations", ["850 kFLOP", "2.60 MFLOP", "1.30 GFLOP", "1.10 TFLOP"]),
        ("Shares of the ceiling", "least bytes", ["106 kB", "325 kB", "162 MB", "138 GB"]),
        ("Shares of the ceiling", "batch", ["1", "8", "64", "512"]),
        ("Shares of the ceiling", "ceiling", ["8.50 µs", "26.0 µs", "13.0 ms", "11.0 s"]),
        ("SingleStream", "result", ["p90 90.0 µs", "p90 810 µs", "p90 8.10 ms"]),
        ("MultiStream", "result", ["p99 990 µs", "p99: too few queries"]),
        ("Server: rates tried", "queries", ["800", "800", "1,600"]),
        ("Cold start", "start to first answer", ["80.0 ms", "950 ms", "1.21 s"]),
        ("Cold start", "peak memory", ["32.0 MB", "685 MB", "1.20 GB, GPU 2.00 GB"]),
        ("Sweep: concurrency", "p50 of each", ["900, 900 ns", "1.10, 1.10, 1.10, 1.10 µs", "–"]),
        ("Sweep: precision", "p50", ["525 ns", "1.05 µs", "2.10 µs"]),
    ],
)
def test_every_unit_of_every_table_sorts(full, browser, caption, heading, up):
    found = opened(browser, full)(f'{SORT}("{caption}", "{heading}")')
    figures = [text for text in up if text not in ("–", "p99: too few queries")]
    assert found["up"] == up
    assert found["down"] == figures[::-1] + up[len(figures) :]


UNITS = """[...document.querySelectorAll("tbody > tr > *")].map(cell => (cell.firstChild ?? cell).textContent)
  .map(text => /^(?:p\\d+ )?[-+]?\\d[\\d.,]*(?:e[-+]?\\d+)?(?:, [\\d.,]+)*\\s*([^\\s\\d,]*)/.exec(text)?.[1] ?? "")"""
SORTED = {"ns", "µs", "ms", "s", "kB", "MB", "GB", "kFLOP", "MFLOP", "GFLOP", "TFLOP"}
"""Those that stand beside one another in a column: above each is sorted with its like."""
ALIKE = {"", "×", "%", "samples/s", "queries/s", "of", "lost"}
"""Those that a whole column has, and what is no unit: "0 of 100", "12 lost, 3 gained"."""


def test_a_table_has_no_unit_but_those_that_are_sorted_here(full, browser):
    assert SORTED <= set(opened(browser, full)(UNITS)) <= SORTED | ALIKE


def test_it_prints_and_no_table_is_cut_off(full, browser):
    """The sheet's width stands in for printing itself: the same style and layout, of which boxes can be asked."""
    page = opened(browser, full, SHEET)
    assert base64.b64decode(page.send("Page.printToPDF")["data"]).startswith(b"%PDF")
    page.send("Emulation.setEmulatedMedia", media="print")
    found = page(LAYOUT.replace("SKIPPED", '"svg"'))
    assert found["wide"] == []
    assert found["page"] <= SHEET
    assert found["paper"] == "rgb(255, 255, 255)"
