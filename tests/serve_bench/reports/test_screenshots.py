"""The page that has everything as people see it: pixels of whole screenshots, narrow and wide, light and dark."""

import base64
import io
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from full_report import FORMS
from test_in_browser import opened

from serve_bench.cells import label
from serve_bench.reports._plots import COLOURS, looks_of

Image = pytest.importorskip("PIL.Image")

LOOK = """(() => {
  const box = r => [r.left, r.top, r.right, r.bottom].map(Math.round);
  const seen = e => { // from where to where: a table's right edge has a shadow where it scrolls
    const scrolls = e.closest(".scroll"), r = (scrolls ?? document.body).getBoundingClientRect();
    return [r.left, r.right - (scrolls ? 40 : 0)];
  };
  const plots = [...document.querySelectorAll("figure svg")].map(svg => ({ name: svg.getAttribute("aria-label"),
    box: box(svg.getBoundingClientRect()),
    texts: [...svg.querySelectorAll("text")].map(t => [t.textContent, ...box(t.getBoundingClientRect())]) }));
  const kinds = {};
  const walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement, range = document.createRange();
    if (!walk.currentNode.textContent.trim() || parent.closest("svg, [aria-hidden]")) continue;
    range.selectNodeContents(walk.currentNode);
    const [left, right] = seen(parent), lines = [...range.getClientRects()];
    const line = lines.find(r => r.width > 8 && r.left >= left && r.right <= right);
    const style = getComputedStyle(parent);
    const kind = [parent.tagName, parent.className, style.color, style.fontSize].join(" ");
    if (line) kinds[kind] ??= box(line);
  }
  return { height: document.documentElement.scrollHeight, plots: plots, texts: kinds };
})()"""


def names(*places):
    """Labels of `FORMS` at these places."""
    return [label(of, backend, "cpu") for of, backend, _ in (FORMS[i] for i in places)]


LOOKS = {name: colour for name, (colour, _) in looks_of(names(*range(9))).items()}


def shown(*places):
    return {LOOKS[name] for name in names(*places)}


EVERY = range(len(FORMS))
SERIES = [
    ("Times as fast as eager at batch 1,", shown(*EVERY[1:])),
    ("Times as fast as eager at batch 64,", shown(*EVERY[1:])),
    ("Distribution of latency at batch 1:", shown(*EVERY)),
    ("Distribution of latency at batch 64:", shown(*EVERY)),
    ("Throughput against batch size", shown(*EVERY)),
    ("Median latency against batch size", shown(*EVERY)),
    ("Samples a second against batch size", shown(0, 1)),
    ("Median latency against batch size", shown(0, 1)),
    ("Samples a second in all against processes", shown(3)),
    ("Median latency against length", shown(3)),
    ("Times as fast as float32", shown(4, 8)),
    ("Times as fast against one thread", shown(3)),
    ("Error against float64", shown(*EVERY)),
    ("Learning curve", set(COLOURS[:2])),
    ("Times as fast as eager at batch 1,", shown(2, 3)),
    ("Times as fast as eager at batch 8,", shown(1, 2, 3)),
    ("Distribution of latency at batch 1:", shown(0, 2, 3)),
    ("Distribution of latency at batch 8:", shown(0, 1, 2, 3)),
    ("Throughput against batch size", shown(0, 1, 2, 3)),
    ("Median latency against batch size", shown(0, 1, 2, 3)),
    ("Fit", {COLOURS[1]}),
]
"""Of each plot, in the order of the page, what it is called and the colours of what it draws."""
BRIGHTER = 1.15
"""Plots in a dark page, by its style."""
LEAST_PIXELS = 4
"""Of one colour: the inside of the smallest mark."""


@dataclass(frozen=True)
class Shot:
    """A whole page as (height, width, 3) pixels, and where things stand in it."""

    pixels: np.ndarray
    dark: bool
    facts: dict

    def within(self, box):
        left, top, right, bottom = box
        return self.pixels[max(top, 0) : bottom, max(left, 0) : right].astype(int)

    def lacking(self, box, colours):
        """Which of these colours no mark in the box has."""
        inside = self.within(box)
        brighter = BRIGHTER if self.dark else 1.0
        wanted = {c: np.minimum(255, [int(c[i : i + 2], 16) * brighter for i in (1, 3, 5)]) for c in colours}
        return {c for c, rgb in wanted.items() if (abs(inside - rgb).max(axis=2) <= 6).sum() < LEAST_PIXELS}


def luminance(pixels):
    """Relative luminance (WCAG 2.2) of sRGB pixels of 0 to 255."""
    linear = np.where(pixels / 255 <= 0.04045, pixels / 255 / 12.92, ((pixels / 255 + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(pixels):
    """Between the commonest pixel and the one that differs most from it (WCAG 2.2)."""
    light = luminance(pixels.reshape(-1, 3))
    values, counts = np.unique(light.round(4), return_counts=True)
    ground = values[counts.argmax()]
    return max((light.max() + 0.05) / (ground + 0.05), (ground + 0.05) / (light.min() + 0.05))


def captured(page, box):
    left, top, right, bottom = box
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top, "scale": 1}
    words = {"format": "png", "captureBeyondViewport": True, "optimizeForSpeed": True, "clip": clip}
    data = base64.b64decode(page.send("Page.captureScreenshot", **words)["data"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(scope="module", params=[(360, False), (360, True), (1440, False), (1440, True)], ids=str)
def shot(request, full, browser):
    width, dark = request.param
    page = opened(browser, full, width, dark=dark)
    facts = page(LOOK)
    found = Shot(captured(page, (0, 0, width, facts["height"])), dark, facts)
    assert found.pixels.shape == (facts["height"], width, 3)
    return found


def test_every_plot_holds_marks_in_the_colour_of_each_of_its_series(shot):
    assert len(shot.facts["plots"]) == len(SERIES)
    for plot, (name, colours) in zip(shot.facts["plots"], SERIES, strict=True):
        assert plot["name"].startswith(name)
        assert shot.lacking(plot["box"], colours) == set(), name


def test_no_text_of_a_plot_is_cut_or_lies_on_another(shot):
    for plot in shot.facts["plots"]:
        left, top, right, bottom = plot["box"]
        for text, *box in plot["texts"]:
            outside = (left - box[0], top - box[1], box[2] - right, box[3] - bottom)
            assert max(outside) <= 1, (plot["name"], text)
        for (one, *a), (other, *b) in combinations(plot["texts"], 2):
            apart = max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3])
            assert apart >= -1, (plot["name"], one, other)


def test_text_stands_out_from_its_ground(shot):
    """Of each kind of text of the page the first that is in sight, and every text of a plot: 4.5 is what WCAG asks."""
    found = {kind: contrast(shot.within(box)) for kind, box in shot.facts["texts"].items()}
    assert {kind.split()[0] for kind in found} >= {
        "H1",
        "P",
        "TH",
        "TD",
        "SMALL",
        "FIGCAPTION",
        "LI",
        "DT",
        "DD",
        "CODE",
    }
    for plot in shot.facts["plots"]:
        found |= {f"{plot['name']}: {text}": contrast(shot.within(box)) for text, *box in plot["texts"]}
    assert {kind: ratio for kind, ratio in found.items() if ratio < 4.5} == {}


def test_a_plot_without_its_marks_is_found_out(full, browser):
    """What the first of these tests is worth: one series is taken out of the first plot, and all of the second."""
    page = opened(browser, full, 360)
    page("""(() => {
      const [first, second] = document.querySelectorAll("figure svg");
      const colour = "#009e73";
      for (const e of [...first.querySelectorAll("[style*='" + colour + "']")]) e.remove();
      for (const e of [...second.querySelectorAll("path[style*='#'], use[style*='#']")]) e.remove();
    })()""")
    first, second = (plot["box"] for plot in page(LOOK)["plots"][:2])
    for box, colours, gone in ((first, SERIES[0][1], {"#009e73"}), (second, SERIES[1][1], SERIES[1][1])):
        bare = Shot(captured(page, box), False, {})
        assert bare.lacking((0, 0, box[2] - box[0], box[3] - box[1]), colours) == gone
