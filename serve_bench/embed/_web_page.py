"""index.html and README.md of a page, from their templates."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import re
from collections.abc import Mapping

from serve_bench.embed import _templates
from serve_bench.embed._web_runtime import TEMPLATES

ALWAYS = ("files.js", "model.js")
"""Scripts of every page before the kind's own; LAST comes after them."""
LAST = "main.js"
STYLE = "style.css"
LICENCE = "runtime-LICENSE.txt"


def template(name: str) -> str:
    """A file of the templates' folder."""
    return (TEMPLATES / name).read_text("utf-8")


def filled(text: str, values: Mapping[str, str]) -> str:
    """As `_templates.filled`; raises KeyError where a value has no place, or a place no value."""
    used = set(re.findall(r"@([A-Z]+)@", text))
    if used != set(values):
        raise KeyError(f"placeholders and values differ in {sorted(used ^ set(values))}")
    return _templates.filled(text, values)


def linked(view: str, words: Mapping[str, str], scripts: tuple[str, ...]) -> str:
    """index.html beside its files; `words` are text: TITLE, MODEL, HEADING, LEAD."""
    policy = (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    style = f'<link rel="stylesheet" href="{STYLE}">'
    return _page(view, words, policy, style, "\n".join(f'<script defer src="{name}"></script>' for name in scripts))


def single(view: str, words: Mapping[str, str], scripts: tuple[str, ...], files: Mapping[str, bytes]) -> str:
    """index.html with everything inside; `files` are what the scripts ask `Files` for. It may fetch nothing at all."""
    sources = [f"\n{template(name)}" for name in scripts]
    look = f"\n{template(STYLE)}"
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, sources))} 'wasm-unsafe-eval' blob:; "
        f"style-src {_hash(look)}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    blocks = [
        f'<script type="application/gzip" data-file="{html.escape(name)}">{_packed(data)}</script>'
        for name, data in files.items()
    ]
    code = [f"<script>{source}</script>" for source in sources]
    licence = f"<!--\n{template(LICENCE)}-->"
    return _page(view, words, policy, f"<style>{look}</style>", "\n".join([licence, *blocks, *code]))


def _page(view: str, words: Mapping[str, str], policy: str, style: str, scripts: str) -> str:
    safe = {name: html.escape(text) for name, text in words.items()}
    own = {"CSP": policy, "STYLE": style, "VIEW": template(f"{view}.html").strip(), "SCRIPTS": scripts}
    return filled(template("page.html"), safe | own)


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
