"""What an app's README says of its model, from the metadata of app.onnx."""

from __future__ import annotations

import json
import re

from export.bundle.types import Json, TensorSpec
from serve_bench.embed._base import Kit, preprocess_words


def plain(text: str) -> str:
    """Data as one line of Markdown that says just that: no markup, no line break."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", " ".join(text.split()))


def facts(kit: Kit) -> str:
    """A Markdown list: model, what it does, metric with its interval, data and licence, inputs and outputs."""
    manifest, said = kit.manifest, kit.metadata
    lines = [f"Model: {plain(manifest.title)}. {plain(manifest.description)}".rstrip(" .") + "."]
    metric, data = _object(said.get("metric")), _object(said.get("dataset"))
    if metric:
        lines.append(f"Metric: {_metric(metric)}.")
    if data:
        licence = plain(str(data.get("licence", "") or "not stated"))
        lines.append(f"Trained on: {plain(str(data.get('name', '?')))} (licence: {licence}).")
    lines.append(f"Preprocessing, inside the graph: {preprocess_words(manifest.preprocess)}.")
    lines += [f"Input {spec_words(s)}." for s in kit.app.inputs]
    lines += [f"Output {spec_words(s)}." for s in kit.app.outputs]
    if manifest.labels:
        lines.append(f"Labels: {', '.join(plain(label) for label in manifest.labels)}.")
    lines.append(f"sha256 of app.onnx: {kit.app.sha256}.")
    return "\n".join(f"- {line}" for line in lines)


def _object(text: str | None) -> dict[str, Json]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _metric(metric: dict[str, Json]) -> str:
    words = f"{plain(str(metric.get('name', '?')))} {_number(metric.get('value'))}"
    if metric.get("low") is not None and metric.get("high") is not None:
        words += f", 95 % interval {_number(metric['low'])} to {_number(metric['high'])}"
    if metric.get("samples") is not None:
        words += f", on {metric['samples']} test samples"
    return words


def _number(value: Json) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else plain(str(value))


def spec_words(spec: TensorSpec) -> str:
    """ "`pixels`: uint8 [batch, 28, 28], 0 to 255"."""
    words = f"`{spec.name.replace('`', '')}`: {spec.dtype} [{', '.join(plain(str(n)) for n in spec.shape)}]"
    return words if spec.low is None or spec.high is None else f"{words}, {spec.low:g} to {spec.high:g}"
