"""A static page that asks the model in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _web_page, _web_runtime
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed._web_facts import RUNTIME, Kind, about, facts_of, golden_of, kind_of, labels_of
from serve_bench.reports._format import size

LICENCE = f"{RUNTIME}/LICENSE.txt"
SERVE = "python3 -m http.server --bind 127.0.0.1"


class Web:
    name = "web"
    summary = "a static page: draw, type or choose the input, and see the answer live; computed in the browser"

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        if _kind(kit) is None:
            ends = ", ".join(f"{s.name} {s.dtype} ({', '.join(map(str, s.shape))})" for s in kit.app.inputs)
            return (
                f"the page cannot ask for this model's inputs ({ends}), only for one-channel images, letters, or a row of "
                "at most 64 numbers; use another --target"
            )
        return _web_runtime.missing(options.runtime)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        kind = _kind(kit)
        if kind is None:
            raise BackendUnavailable(f"web: {self.missing(kit, options)}")
        files = _files(kit, options)
        scripts = (*_web_page.ALWAYS, *kind.scripts, _web_page.LAST)
        title = kit.manifest.title
        words = {"TITLE": f"{kind.heading} – {title}", "MODEL": title, "HEADING": kind.heading, "LEAD": kind.lead}
        if options.single_file:
            written = {"index.html": _web_page.single(kind.name, words, scripts, files).encode()}
        else:
            written = {"index.html": _web_page.linked(kind.name, words, scripts).encode(), **files}
            written |= {name: _web_page.template(name).encode() for name in (*scripts, _web_page.STYLE, "test.mjs")}
        written[LICENCE if not options.single_file else "LICENSE-onnxruntime-web.txt"] = _web_page.template(
            "runtime-LICENSE.txt"
        ).encode()
        written["README.md"] = _readme(kit, kind, options, written).encode()
        for name, data in written.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        page = folder / "index.html"
        if options.single_file:
            return f"{page} ({size(page.stat().st_size)}) is the whole app: open it in a browser, or send it to someone"
        return f"cd {folder}\n{SERVE}\nthen open http://127.0.0.1:8000/ (its check: http://127.0.0.1:8000/#check)"


def _kind(kit: Kit) -> Kind | None:
    return kind_of(kit.app.inputs, kit.app.outputs, labels_of(kit))


def _files(kit: Kit, options: EmbedOptions) -> dict[str, bytes]:
    """What the scripts ask for, by the name that they use."""
    facts, golden = (
        json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
        for value, indent in ((facts_of(kit), 1), (golden_of(kit.golden), None))
    )
    runtime = {f"{RUNTIME}/{name}": data for name, data in _web_runtime.files(options.runtime).items()}
    return {"app.onnx": Path(kit.app.path).read_bytes(), "model.json": facts, "golden.json": golden, **runtime}


PURPOSES = {
    "index.html": "the page",
    "style.css": "its looks",
    "files.js": "fetches what is beside the page",
    "model.js": "asks the model, and holds its answers to the golden ones",
    "main.js": "starts the page and its check",
    "answer.js": "shows an answer",
    "app.onnx": "the model: raw values in, answers out",
    "model.json": "what the page knows of the model",
    "golden.json": "samples with float64's answers and the float32 band",
    "test.mjs": "the test",
}


def _readme(kit: Kit, kind: Kind, options: EmbedOptions, written: Mapping[str, bytes]) -> str:
    say = _web_page.markdown
    if options.single_file:
        run = "Open `index.html` in a browser: everything is inside it, and its Content-Security-Policy forbids any request."
        test = "Open the page with `#check` behind its address, or press its button."
    else:
        run = f"Any static server will do, such as\n\n    {SERVE}\n\nthen open http://127.0.0.1:8000/. A browser does not let a page opened from disk read the files beside it."
        test = "    node test.mjs\n\nasks the golden samples in Node and ends with status 1 where an answer is outside the float32 band."
    rows = [
        f"- `{name}`: {PURPOSES.get(name, 'ask and show' if name.endswith('.js') else 'ONNX Runtime Web')}"
        for name in written
    ]
    licence = LICENCE if LICENCE in written else "LICENSE-onnxruntime-web.txt"
    return _web_page.filled(
        _web_page.template("README.md"),
        {
            "NAME": say(kit.manifest.title),
            "DESCRIPTION": say(kit.metadata.get("description", "") or "a model"),
            "ABOUT": "\n".join(f"- {term}: {say(text)}" for term, text in about(kit)),
            "RUN": run,
            "TEST": test,
            "INPUTS": kind.inputs,
            "FILES": "\n".join(rows),
            "VERSION": _web_runtime.release().version,
            "LICENCE": licence,
        },
    )


ENTRIES = (Web(),)
