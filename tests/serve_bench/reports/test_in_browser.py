"""The page in headless Chromium: nothing is wider than the window, every plot is there, light and dark."""

import html
import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), "")
FRAME = """<!doctype html><title></title>
<iframe id="f" style="border:0" width="WIDTH" height="3000" srcdoc="PAGE"></iframe>
<script>
window.onload = () => {
  const inside = f.contentDocument, root = inside.documentElement;
  const wide = [...inside.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg")
    && e.getBoundingClientRect().right > root.clientWidth + 1);
  const plots = [...inside.querySelectorAll("figure svg")].map(s => s.getBoundingClientRect().height > 60);
  const shown = f.contentWindow.getComputedStyle(inside.body);
  document.title = JSON.stringify({
    window: root.clientWidth, page: root.scrollWidth, wide: wide.map(e => `${e.tagName}.${e.className}`),
    plots: plots, ink: shown.color, paper: shown.backgroundColor });
};
</script>"""

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here to look at the page with")


def looked_at(page, tmp_path, width, dark=False):
    framed = FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(page))
    return shown(framed, tmp_path, f"--blink-settings=preferredColorScheme={0 if dark else 1}")


def shown(page, tmp_path, *more):
    """What the page has put into its title, as JSON."""
    path = tmp_path / "page.html"
    path.write_text(page)
    words = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1600,3200",
        "--dump-dom",
    ]
    words += [f"--user-data-dir={tmp_path / 'profile'}", *more]
    found = subprocess.run([*words, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", found, re.DOTALL).group(1)))


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_window_and_every_plot_is_there(made, tmp_path, width):
    found = looked_at((made.root / "report.html").read_text(), tmp_path, width)
    assert found["window"] == width
    assert found["page"] <= width
    assert found["wide"] == []
    assert len(found["plots"]) >= 4
    assert all(found["plots"])


def test_dark_is_dark(made, tmp_path):
    page = (made.root / "report.html").read_text()
    light, dark = (looked_at(page, tmp_path, 1000, dark=d) for d in (False, True))
    assert light["paper"] == "rgb(255, 255, 255)"
    assert (dark["paper"], dark["ink"]) == ("rgb(20, 24, 29)", "rgb(230, 233, 238)")


SORT = """<script>
window.onload = () => {
  const table = [...document.querySelectorAll("table")].find(t => t.caption.textContent.startsWith("Batch"));
  const heading = [...table.tHead.rows[0].cells].find(c => c.textContent === "p50");
  const column = () => [...table.tBodies[0].rows].map(r => r.cells[heading.cellIndex].firstChild.textContent);
  heading.click();
  const up = column();
  heading.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  document.title = JSON.stringify({ up: up, down: column(), order: heading.getAttribute("aria-sort") });
};
</script>"""


def test_a_heading_sorts_its_table_by_what_the_figures_mean(made, tmp_path):
    found = shown((made.root / "report.html").read_text() + SORT, tmp_path)
    sizes = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
    up = [float(text.split()[0].replace(",", "")) * sizes[text.split()[1]] for text in found["up"]]
    assert up == sorted(up)
    assert len(set(up)) > 1
    assert found["down"] == found["up"][::-1]
    assert found["order"] == "descending"


def test_it_prints(made, tmp_path):
    page, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text((made.root / "report.html").read_text())
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={paper}"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    subprocess.run([*words, profile, page.as_uri()], capture_output=True, timeout=120, check=True)
    assert paper.read_bytes().startswith(b"%PDF")
