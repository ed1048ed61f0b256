"""onnxruntime-web in headless Chromium: the single-file page of `embed --target web`, opened from disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import BackendFailed
from serve_bench.embed import _web_runtime
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed.runtimes import _browser
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import pieces_of, together

ASK = """(async (pieces) => {
  const facts = await Files.json("model.json");
  const started = performance.now();
  const [ort, wasm, bytes] = await Promise.all(
    [Files.load(facts.runtime.module), Files.bytes(facts.runtime.wasm), Files.bytes("app.onnx")]);
  const session = await Model.open(ort, wasm, bytes, facts);
  const outputs = [];
  let first;
  for (const piece of pieces) {
    outputs.push(await session.ask(piece));
    first ??= (performance.now() - started) / 1000;
  }
  return { outputs, first_answer_s: first };
})"""


class Chromium:
    name = "chromium"
    without_python = True

    def missing(self) -> str | None:
        return _browser.missing() or _web_runtime.missing(None)

    def run(self, kit: Kit, batch: int) -> Answers:
        with tempfile.TemporaryDirectory() as folder:
            place = page_of(kit, Path(folder))
            browser = _browser.Browser(Path(folder) / "profile")
            try:
                return answers_of(browser, place, kit, batch)
            finally:
                browser.close()


def page_of(kit: Kit, folder: Path) -> Path:
    """The single-file page, written into `folder`; raises BackendFailed where this model has none."""
    from serve_bench.embed.web import Web

    target, options, place = Web(), EmbedOptions(single_file=True), folder / "page"
    if reason := target.missing(kit, options):
        raise BackendFailed(f"chromium: {reason}")
    place.mkdir()
    target.write(kit, options, place)
    return place / "index.html"


def answers_of(browser: _browser.Browser, page: Path, kit: Kit, batch: int) -> Answers:
    """What the page's own model says of the golden samples, `batch` at a time."""
    pieces = pieces_of(kit, batch)
    tab = _browser.Tab(browser)
    tab.send("Page.navigate", url=page.as_uri())
    tab.until("document.readyState === 'complete' && typeof Model === 'object'")
    given = [
        {name: {"shape": list(v.shape), "data": v.ravel().tolist()} for name, v in piece.items()} for piece, _ in pieces
    ]
    said: dict[str, Any] = tab(f"{ASK}({json.dumps(given)})")
    version = browser.send("Browser.getVersion")["product"].rpartition("/")[2]
    outputs = {
        f"{i}/{name}": np.array(value["data"], np.float64).reshape(value["shape"])
        for i, piece in enumerate(said["outputs"])
        for name, value in piece.items()
    }
    own = {"version": f"{_web_runtime.release().version} in {version}", "first_answer_s": said["first_answer_s"]}
    return together(kit, [count for _, count in pieces], outputs, own)


ENTRIES = (Chromium(),)
