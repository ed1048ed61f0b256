"""What an app's README says of its model, from the metadata of app.onnx."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from export.app import LABEL, PIXELS, VALUE
from serve_bench.embed._base import Kit, preprocess_words

MARKS = re.compile(r"([\\`*_{}\[\]<>#|&~!$])")


def escaped(text: str) -> str:
    """Text of the metadata as Markdown that means nothing but the text, in one line."""
    return MARKS.sub(r"\\\1", " ".join(str(text).split()))


def coded(text: str) -> str:
    """The same as code, in backticks that the text cannot end."""
    plain = str(text).replace("\n", " ")
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    padding = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def kind_of(kit: Kit) -> str:
    """What a sample of the app is: "image", "text" or "numbers"."""
    first = kit.app.inputs[0]
    if first.symbols:
        return "text"
    return "image" if first.name == PIXELS else "numbers"


def unfit(kit: Kit) -> str | None:
    """Why an app that takes one sample a time cannot be written around this model; None where it can."""
    inputs, outputs = kit.app.inputs, [s.name for s in kit.app.outputs]
    if not all(isinstance(s.shape[0], str) for s in inputs if s.shape) or not all(s.shape for s in inputs):
        return "its batch is fixed; export it with --dynamic batch"
    if len(inputs) != (2 if kind_of(kit) == "text" else 1):
        return f"it takes {', '.join(s.name for s in inputs)}, and this app asks for one of them; use app.onnx itself"
    if any(isinstance(n, str) for n in inputs[0].shape[1:]) and kind_of(kit) != "text":
        return f"{inputs[0].name!r} has the free axes {inputs[0].shape[1:]}; use app.onnx itself"
    if LABEL not in outputs and outputs != [VALUE]:
        return f"it gives {', '.join(outputs)}, and this app knows {LABEL!r} or {VALUE!r}; use app.onnx itself"
    return None


def _metric(told: Mapping[str, Any]) -> str:
    if not told:
        return "not measured"
    accuracy = told["name"] == "test_accuracy"

    def number(value: float) -> str:
        return f"{100 * value:.2f} %" if accuracy else f"{value:.4g}"

    words = f"{escaped(told['name'].replace('_', ' '))} {number(told['value'])}"
    if "low" in told:
        words += f" (95 % interval {number(told['low'])} to {number(told['high'])})"
    return f"{words} on {told['samples']:,} samples"


def facts(kit: Kit) -> str:
    """A Markdown list: model, metric, data, preprocessing, classes."""
    metadata = kit.metadata
    dataset = json.loads(metadata.get("dataset", "{}"))
    data = escaped(dataset.get("name", "not named"))
    if dataset.get("note"):
        data += f" ({escaped(dataset['note'])})"
    lines = [
        f"- Model: {escaped(kit.manifest.title)}",
        f"- Metric: {_metric(json.loads(metadata.get('metric', '{}')))}",
        f"- Data: {data}; licence of the data: {escaped(dataset.get('licence', 'not stated'))}",
        f"- Preprocessing, inside the graph: {preprocess_words(kit.manifest.preprocess)}",
    ]
    if kit.manifest.labels:
        lines.append(f"- Classes: {', '.join(escaped(label) for label in kit.manifest.labels)}")
    lines.append(f"- app.onnx: {kit.app.bytes:,} bytes, sha256 `{kit.app.sha256}`")
    return "\n".join(lines)


def model_facts(kit: Kit) -> str:
    """What a README says of the model and of its ends."""
    return f"{facts(kit)}\n\n{interface(kit)}"


def interface(kit: Kit) -> str:
    """A Markdown table of the inputs and outputs of app.onnx."""
    described = {s["name"]: s.get("meaning", "") for s in json.loads(kit.metadata["inputs"])}
    described |= {s["name"]: s.get("meaning", "") for s in json.loads(kit.metadata["outputs"])}
    lines = ["| app.onnx | name | type | shape | range | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for word, specs in (("input", kit.app.inputs), ("output", kit.app.outputs)):
        for s in specs:
            span = f"{s.low:g} to {s.high:g}" if s.low is not None and s.high is not None else ""
            shape = " × ".join(map(str, s.shape))
            lines.append(f"| {word} | {coded(s.name)} | {s.dtype} | {shape} | {span} | {escaped(described[s.name])} |")
    if symbols := kit.app.inputs[0].symbols:
        lines += ["", f"Characters, by their index: {coded(symbols)}"]
    return "\n".join(lines)


def golden_number(kit: Kit) -> list[float]:
    """The first golden sample of a model of numbers, flattened."""
    values: Any = kit.golden.inputs[kit.app.inputs[0].name][0]
    return [float(v) for v in values.ravel()]


def shortest(values: Sequence[float]) -> list[str]:
    """Numbers as a person would type them: three significant digits."""
    return [f"{v:.3g}" for v in values]


def golden_text(kit: Kit) -> str:
    """The first golden sample of a model of texts."""
    letters, lengths = (kit.golden.inputs[s.name] for s in kit.app.inputs)
    return "".join(kit.app.inputs[0].symbols[int(i)] for i in letters[0][: int(lengths[0])])
