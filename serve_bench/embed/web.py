"""A static page that asks the model in the browser."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _web_page, _web_runtime, _words
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed._web_facts import RUNTIME, Kind, about, facts_of, golden_of, kind_of, labels_of
from serve_bench.reports._format import size

LICENCE = f"{RUNTIME}/LICENSE.txt"
SERVE = "python3 -m http.server --bind 127.0.0.1"
ADDRESS = "http://127.0.0.1:8000/"
PURPOSES = {
    "index.html": "the page",
    "style.css": "its looks",
    "files.js": "fetches what lies beside the page",
    "model.js": "asks the model, and holds its answers to the golden ones",
    "main.js": "starts the page and its check",
    "ink.js": "from strokes to the image that the model is given",
    "answer.js": "shows an answer",
    "app.onnx": "the model: raw values in, answers out",
    "model.json": "what the page knows of the model",
    "golden.json": "samples with float64's answers and the float32 band",
    "test.mjs": "the test",
}


class Web:
    name = "web"
    summary = "a static page: draw, type or choose the input, and see the answer live; computed in the browser"
    heeds: tuple[str, ...] = ("single_file", "runtime")

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        return _unasked(kit) or _web_runtime.missing(options.runtime)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        kind = _kind(kit)
        if kind is None:
            raise BackendUnavailable(f"web: {_unasked(kit)}")
        files = _files(kit, options)
        scripts = (*_web_page.ALWAYS, *kind.scripts, _web_page.LAST)
        title = kit.manifest.title
        words = {"TITLE": f"{kind.heading} – {title}", "MODEL": title, "HEADING": kind.heading, "LEAD": kind.lead}
        if options.single_file:
            written = {"index.html": _web_page.single(kind.name, words, scripts, files).encode()}
        else:
            copied = (*scripts, _web_page.STYLE, "test.mjs")
            written = {"index.html": _web_page.linked(kind.name, words, scripts).encode()}
            written |= {name: _web_page.template(name).encode() for name in copied}
            written |= files | {LICENCE: _web_page.template(_web_page.LICENCE).encode()}
        written["README.md"] = _readme(kit, kind, options, written).encode()
        for name, data in written.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        page = folder / "index.html"
        if options.single_file:
            return f"{page} ({size(page.stat().st_size)}) is the whole app: open it in a browser, or send it to someone"
        return f"cd {shlex.quote(str(folder))}\n{SERVE}\nthen open {ADDRESS} (its check: {ADDRESS}#check)"


def _kind(kit: Kit) -> Kind | None:
    return kind_of(kit.app.inputs, kit.app.outputs, labels_of(kit))


def _unasked(kit: Kit) -> str | None:
    """Why a page cannot ask this model anything; None where it can."""
    if _kind(kit) is not None:
        return None
    ends = ", ".join(f"{s.name} {s.dtype} ({', '.join(map(str, s.shape))})" for s in kit.app.inputs)
    return (
        f"a page cannot ask for this model's inputs ({ends}), only for one-channel images, letters, or a row of at "
        "most 64 numbers; choose another --target"
    )


def _files(kit: Kit, options: EmbedOptions) -> dict[str, bytes]:
    """What the scripts ask for, by the name that they use."""
    facts = json.dumps(facts_of(kit), ensure_ascii=False, allow_nan=False, indent=1)
    golden = json.dumps(golden_of(kit.golden), allow_nan=False)
    runtime = {f"{RUNTIME}/{name}": data for name, data in _web_runtime.files(options.runtime).items()}
    own = {"app.onnx": Path(kit.app.path).read_bytes()}
    return own | {"model.json": facts.encode(), "golden.json": golden.encode()} | runtime


def _readme(kit: Kit, kind: Kind, options: EmbedOptions, written: Iterable[str]) -> str:
    say = _words.escaped
    version = _web_runtime.release().version
    single = options.single_file
    return _web_page.filled(
        _web_page.template("README-single.md" if single else "README.md"),
        {
            "NAME": say(kit.manifest.title),
            "ABOUT": "\n".join(f"- {term}: {say(text)}" for term, text in about(kit)),
            "INPUTS": kind.inputs if single or not kind.maker else f"{kind.inputs} `{kind.maker}` does it.",
            "VERSION": version,
        }
        | ({} if single else {"SERVE": SERVE, "ADDRESS": ADDRESS, "FILES": _listed(written, kind)}),
    )


def _listed(written: Iterable[str], kind: Kind) -> str:
    """A line of Markdown for every file."""
    known = PURPOSES | {f"{kind.name}.js": "asks for the input"}
    return "\n".join(f"- `{name}`: {known.get(name, 'ONNX Runtime Web')}" for name in written)


ENTRIES = (Web(),)
