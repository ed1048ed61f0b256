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
    path = tmp_path / f"{width}.html"
    path.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)))
    words = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=1600,3200",
        "--dump-dom",
    ]
    words += [f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    shown = subprocess.run([*words, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", shown, re.DOTALL).group(1)))


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
