"""The page as text: what is asked of which model, metadata are data, nothing is fetched from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from export.app import app_inputs, app_outputs
from export.bundle.types import TensorSpec
from export.registry import entries
from serve_bench.embed import _web_page, _web_runtime
from serve_bench.embed._base import EmbedOptions
from serve_bench.embed._web_facts import kind_of, promise, quality
from serve_bench.embed.web import Web
from tests.serve_bench.embed.web_kits import KINDS, TOLERANCE, kit

NASTY = '</script><img src=x onerror="alert(1)">@CSP@ [a](b) *c* `d`'


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch):
    """The text does not depend on the runtime's bytes."""
    monkeypatch.setattr(_web_runtime, "files", lambda folder: dict.fromkeys(_web_runtime.release().files, b"\0code"))


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data

    def of(self, tag):
        return [(a, text) for (t, a), text in zip(self.tags, self.texts, strict=True) if t == tag]

    @property
    def policy(self):
        content = next(a["content"] for a, _ in self.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
        return {words[0]: words[1:] for words in (part.split() for part in content.split(";"))}


def written(kind, tmp_path, *, single=False, **more):
    folder = tmp_path / "out"
    folder.mkdir()
    Web().write(kit(kind, tmp_path / "made", **more), EmbedOptions(single_file=single), folder)
    return folder


def zoo_kind(spec):
    first = spec.inputs[0]
    stored = {first.name: "uint8"} if len(first.shape) == 4 else {}
    inputs = app_inputs(spec.inputs, spec.preprocess, stored)
    return kind_of(inputs, app_outputs(spec.task, spec.outputs), spec.labels)


def test_every_model_of_the_zoo_has_its_page():
    found = {name: zoo_kind(spec).name for name, spec in entries("pipeline.models").items()}
    several = {"linear-system": "fields", "unit-sum": "fields", "sine": "curve"}
    for name, kind in found.items():
        begins = {"names": "names", "gp": "curve"}.get(name.split("-")[0], "digits")
        assert kind == several.get(name, begins), name


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("image", "float32", ("batch", 3, 32, 32)),
        ("x", "float32", ("batch", "length")),
        ("x", "float32", ("batch", 65)),
        ("x", "int64", ("batch", 4)),
        ("x", "float32", ("batch",)),
    ],
)
def test_a_model_that_no_page_can_ask_is_refused(tmp_path, name, dtype, shape):
    odd = (TensorSpec(name=name, dtype=dtype, shape=shape),)
    assert kind_of(odd, (TensorSpec(name="value", dtype="float32", shape=("batch", 1)),), ()) is None


def test_the_refusal_names_the_inputs(tmp_path):
    made = kit("fields", tmp_path)
    object.__setattr__(made.app, "inputs", (TensorSpec(name="image", dtype="float32", shape=("batch", 3, 32, 32)),))
    said = Web().missing(made, EmbedOptions())
    assert "image float32 (batch, 3, 32, 32)" in said
    assert "\n" not in said


def test_without_a_range_one_number_is_a_field():
    plain = TensorSpec(name="x", dtype="float32", shape=("batch", 1))
    assert kind_of((plain,), (TensorSpec(name="value", dtype="float32", shape=("batch", 1)),), ()).name == "fields"


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_that_the_page_names_is_there(tmp_path, kind):
    folder = written(kind, tmp_path)
    page = Parsed((folder / "index.html").read_text())
    named = [a["src"] for a, _ in page.of("script")]
    named += [a["href"] for a, _ in page.of("link") if a["rel"] == "stylesheet"]
    assert named[:2] == ["files.js", "model.js"]
    assert named[-2:] == ["main.js", "style.css"]
    for name in named:
        assert (folder / name).is_file()
    readme = (folder / "README.md").read_text()
    for name in re.findall(r"^- `(.+?)`|`([\w.-]+\.js)`", readme, re.MULTILINE):
        assert (folder / "".join(name)).is_file()
    assert ("`ink.js` does it." in readme) == (kind in ("digits", "counts"))
    assert ("`names.js` does it." in readme) == (kind == "names")


def test_the_policy_allows_nothing_from_elsewhere(tmp_path):
    policy = Parsed((written("digits", tmp_path) / "index.html").read_text()).policy
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'", "'wasm-unsafe-eval'"]
    assert policy["connect-src"] == ["'self'"]


def test_no_file_of_ours_names_another_host(tmp_path):
    for path in _web_runtime.TEMPLATES.iterdir():
        hosts = set(re.findall(r"https?://([^/\s'\"]+)", path.read_text("utf-8")))
        assert hosts <= {"www.w3.org"}, path.name


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_holds_every_file_and_may_fetch_none(tmp_path, kind):
    folder = written(kind, tmp_path, single=True)
    assert {p.name for p in folder.iterdir()} == {"index.html", "README.md"}
    assert not re.findall(r"\w+\.m?js\b", (folder / "README.md").read_text())
    page = Parsed((folder / "index.html").read_text())
    assert not [a for a, _ in page.of("script") if "src" in a]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for attributes, text in page.of("script")
        if "data-file" not in attributes
    }
    assert hashes == {word for word in page.policy["script-src"] if word.startswith("'sha256-")}
    assert "connect-src" not in page.policy
    assert page.policy["default-src"] == ["'none'"]
    blocks = {a["data-file"]: gzip.decompress(base64.b64decode(t)) for a, t in page.of("script") if "data-file" in a}
    assert blocks["app.onnx"] == (tmp_path / "made/app.onnx").read_bytes()
    facts = json.loads(blocks["model.json"])
    assert blocks[facts["runtime"]["wasm"]] == blocks[facts["runtime"]["module"]] == b"\0code"


@pytest.mark.parametrize("single", [False, True])
def test_metadata_are_data(tmp_path, single):
    folder = written("names", tmp_path, single=single, name=NASTY, labels=(NASTY, "b", "c"), description=NASTY)
    page = Parsed((folder / "index.html").read_text())
    assert not page.of("img")
    assert page.of("title")[0][1] == f"Type a name – {NASTY}"
    assert len(page.of("main")) == 1
    readme = (folder / "README.md").read_text()
    assert "\\<img" in readme
    assert readme.count("<img") == readme.count("\\<img")
    assert "[a](b)" not in readme
    if not single:
        assert json.loads((folder / "model.json").read_text())["labels"][0] == NASTY


def test_a_placeholder_is_filled_once_and_never_twice():
    assert _web_page.filled("<@A@> @B@", {"A": "@B@", "B": "x"}) == "<@B@> x"
    with pytest.raises(KeyError, match="'B'"):
        _web_page.filled("@A@ @B@", {"A": ""})
    with pytest.raises(KeyError, match="'C'"):
        _web_page.filled("@A@", {"A": "", "C": ""})


def test_golden_pairs_are_written_as_they_are(tmp_path):
    made = kit("names", tmp_path / "again")
    found = json.loads((written("names", tmp_path) / "golden.json").read_text())
    assert found["samples"] == 32
    assert found["tolerance"] == {"probabilities": TOLERANCE}
    shape, data = found["outputs"]["probabilities"].values()
    np.testing.assert_array_equal(np.reshape(data, shape), made.golden.outputs["probabilities"])
    letters = np.reshape(found["inputs"]["letters"]["data"], (32, 6))
    np.testing.assert_array_equal(letters, made.golden.inputs["letters"])
    assert found["labels"] == made.golden.labels.tolist()


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ({}, ""),
        (
            {"name": "test_accuracy", "value": 0.9949, "low": 0.9933, "high": 0.9962, "samples": 10000},
            "99.49 % of 10,000 test samples right (95 % interval 99.33 % to 99.62 %)",
        ),
        ({"name": "test_mse", "value": 0.0, "samples": 1}, "Mean squared error on 1 point: 0"),
        (
            {"name": "test_mse", "value": 0.12276, "low": 0.0965, "high": 0.149, "samples": 250},
            "Mean squared error on 250 points: 0.1228 (95 % interval 0.0965 to 0.149)",
        ),
        ({"name": "test_mse", "value": 0.00089667, "samples": 9}, "Mean squared error on 9 points: 0.0008967"),
        ({"name": "f1", "value": 0.5, "samples": 2}, "f1 on 2 samples: 0.5"),
    ],
)
def test_the_metric_in_words(metric, said):
    assert quality(metric).replace("\u00a0", " ") == said


def test_the_promise_names_the_band(tmp_path):
    said = promise(kit("curve", tmp_path).golden)
    assert said.startswith("32 samples of the test set")
    assert said.endswith("the float32 band, 1.0e-5 in value.")
