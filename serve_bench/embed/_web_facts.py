"""What the page is told: which kind of question its model takes, facts in words, golden pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.app import LABEL, PIXELS, VALUE
from export.bundle.spec import LENGTHS
from export.bundle.types import Json, TensorSpec
from serve_bench.embed._base import Golden, Kit, preprocess_words
from serve_bench.embed._web_runtime import MODULE, WASM
from serve_bench.reports._format import percent, size

MOST_FIELDS = 64
RUNTIME = "runtime"
"""Folder of the page's runtime."""
METRICS = {"test_accuracy": "test samples", "test_mse": "points"}
"""What a metric was measured on."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of question, and the page that asks it."""

    name: str
    """Of its template and script: "digits"."""
    heading: str
    lead: str
    """One sentence under the heading."""
    scripts: tuple[str, ...]
    """In the order in which they are loaded, besides those of every page."""
    inputs: str
    """How an input is made, for the README."""
    maker: str = ""
    """The script that makes it."""


def kind_of(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> Kind | None:
    """The page for a model of these ends; None where there is none."""
    first = inputs[0]
    if len(inputs) == 2 and first.symbols and inputs[1].name == LENGTHS and outputs[-1].name == LABEL:
        return _names(len(labels))
    if len(inputs) != 1 or len(first.shape) < 2 or not all(isinstance(n, int) for n in first.shape[1:]):
        return None
    if first.name == PIXELS and len(first.shape) == 3:
        return _digits(first, labels)
    if len(first.shape) != 2 or not 1 <= int(first.shape[1]) <= MOST_FIELDS or np.dtype(first.dtype).kind != "f":
        return None
    one = first.shape[1] == 1 and len(outputs) == 1 and outputs[0].name == VALUE and outputs[0].shape[1:] == (1,)
    if one and first.low is not None and first.high is not None and first.low < first.high:
        return _curve(first)
    return _fields(first)


def counted(spec: TensorSpec) -> bool:
    """Whether pixels are counts of a 4×4 block, as in UCI's digits, instead of grey levels."""
    return spec.shape[1:] == (8, 8) and spec.high == 16


def _digits(spec: TensorSpec, labels: tuple[str, ...]) -> Kind:
    height, width = spec.shape[1:]
    made = (
        "As MNIST was: the box around the ink is scaled so that its longer side is 20 of 28 pixels, each the mean of "
        "the area it covers, and placed with its centre of mass in the middle of the frame."
    )
    if counted(spec):
        made = (
            "As UCI's digits were: the box around the ink is scaled so that its longer side fills a bitmap of 32×32, "
            "its centre of mass in the middle, and each of the 8×8 values counts the ink of a 4×4 block (0 to 16)."
        )
    digits = labels == tuple("0123456789")
    return Kind(
        name="digits",
        heading="Draw a digit" if digits else "Draw",
        lead="The answer follows the pen." if digits else f"The answer to a drawing of {height}×{width} pixels.",
        scripts=("ink.js", "answer.js", "digits.js"),
        inputs=f"{made} No ink, no answer.",
        maker="ink.js",
    )


def _names(classes: int) -> Kind:
    return Kind(
        name="names",
        heading="Type a name",
        lead=f"It is read letter by letter, and put into one of {classes} classes.",
        scripts=("answer.js", "names.js"),
        inputs="A letter is its index in the model's symbols; marks are dropped (ü is read as u), and what is none of "
        "the symbols then is left out and named.",
        maker="names.js",
    )


def _curve(spec: TensorSpec) -> Kind:
    return Kind(
        name="curve",
        heading="One number in, one number out",
        lead="Move the slider or point at the curve.",
        scripts=("answer.js", "curve.js"),
        inputs=f"One float32, fitted between {spec.low:g} and {spec.high:g}; outside of it the page says so.",
    )


def _fields(spec: TensorSpec) -> Kind:
    return Kind(
        name="fields",
        heading="Numbers in, an answer out",
        lead="Type numbers, or take those of a test sample.",
        scripts=("answer.js", "fields.js"),
        inputs=f"{spec.shape[1]} float32 values.",
    )


def labels_of(kit: Kit) -> tuple[str, ...]:
    """The names of the classes, by index; their numbers where they have none; empty where there are no classes."""
    if kit.golden.labels is None:
        return ()
    classes = kit.golden.outputs["probabilities"].shape[1]
    return tuple(kit.manifest.labels) or tuple(str(n) for n in range(classes))


def facts_of(kit: Kit) -> dict[str, Json]:
    """model.json."""
    facts: dict[str, Any] = {
        "name": kit.manifest.title,
        "labels": list(labels_of(kit)),
        "inputs": [_end(spec) for spec in kit.app.inputs],
        "outputs": [_end(spec) for spec in kit.app.outputs],
        "about": [[term, text] for term, text in about(kit)],
        "promise": promise(kit.golden),
        "runtime": {"module": f"{RUNTIME}/{MODULE}", "wasm": f"{RUNTIME}/{WASM}"},
    }
    first = kit.app.inputs[0]
    if first.name == PIXELS:
        height, width = first.shape[1:]
        high = 255 if first.high is None else first.high
        facts["image"] = {"height": height, "width": width, "high": high, "counted": counted(first)}
    return facts


def _end(spec: TensorSpec) -> dict[str, Json]:
    known: dict[str, Json] = {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
    known |= {"low": spec.low, "high": spec.high, "symbols": spec.symbols}
    return {key: value for key, value in known.items() if value not in (None, "")}


def about(kit: Kit) -> list[tuple[str, str]]:
    """Term and text of what the page and the README say of the model."""
    dataset = json.loads(kit.metadata.get("dataset", "{}"))
    data = [
        dataset.get("name", ""),
        f"licence: {dataset['licence']}" if "licence" in dataset else "",
        dataset.get("note", ""),
    ]
    told = [
        ("Model", " — ".join(filter(None, (kit.manifest.title, kit.metadata.get("description", ""))))),
        ("Quality", quality(json.loads(kit.metadata.get("metric", "{}")))),
        ("Data", "; ".join(filter(None, data))),
        ("Preprocessing", _preprocessing(kit)),
        ("File", f"app.onnx, {size(kit.app.bytes)}, sha256 {kit.app.sha256[:16]}…"),
    ]
    return [(term, text) for term, text in told if text]


def _preprocessing(kit: Kit) -> str:
    words = preprocess_words(kit.manifest.preprocess)
    return "" if words == "none" else f"{words}, inside the model"


def quality(metric: dict[str, Any]) -> str:
    """ "99.49 % of 10,000 test samples right (95 % interval 99.33 % to 99.62 %)"; empty where none was measured."""
    if "value" not in metric:
        return ""
    name = metric["name"]
    share = name == "test_accuracy"
    figures = [metric[key] for key in ("value", "low", "high") if key in metric]
    value, *ends = [percent(f, 2) if share else f"{f:.4g}" for f in figures]
    on = _counted(metric["samples"], METRICS.get(name, "samples"))
    what = "Mean squared error" if name == "test_mse" else name
    told = f"{value} of {on} right" if share else f"{what} on {on}: {value}"
    told += f" (95 % interval {ends[0]} to {ends[1]})" if ends else ""
    return told.replace(" %", "\u00a0%")


def promise(golden: Golden) -> str:
    """One sentence on what the check holds the browser to."""
    bands = " and ".join(f"{_short(tolerance)} in {name}" for name, tolerance in golden.tolerance.items())
    return (
        f"{_counted(golden.samples, 'samples')} of the test set with the answers of float64 arithmetic: "
        f"this browser's must lie inside the float32 band, {bands}."
    )


def _counted(count: int, things: str) -> str:
    return f"{count:,} {things.removesuffix('s') if count == 1 else things}"


def _short(value: float) -> str:
    """ "1.0e-5", as the check writes it."""
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}e{int(exponent)}"


def golden_of(golden: Golden) -> dict[str, Json]:
    """golden.json: {"samples", "inputs" and "outputs": name → {"shape", "data": row by row}, "tolerance", "labels"}."""

    def flat(arrays: Any) -> dict[str, Json]:
        return {name: {"shape": list(array.shape), "data": array.ravel().tolist()} for name, array in arrays.items()}

    return {
        "samples": golden.samples,
        "inputs": flat(golden.inputs),
        "outputs": flat(golden.outputs),
        "tolerance": dict(golden.tolerance),
        "labels": None if golden.labels is None else golden.labels.tolist(),
    }
