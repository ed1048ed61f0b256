"""An ES module and command for Node around app.onnx, with onnxruntime-node."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from serve_bench.embed import _words
from serve_bench.embed._base import EmbedOptions, Golden, Kit
from serve_bench.embed._templates import filled, template

TEMPLATES = Path(__file__).with_name("_node")
COPIED = ("index.mjs", "index.d.mts", "files.mjs", "cli.mjs", "test.mjs")
TYPES = ("uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64")
"""Of inputs that have a typed array."""
IMAGES = """
An image is a binary `.pgm` (P5, grey, 8 bits) of any size. It becomes light on dark, of the model's size (each pixel is
the mean of the area that it covers), and what was done is said. ImageMagick makes one of a PNG or JPEG:

```sh
magick image.png -background white -flatten -colorspace gray -depth 8 image.pgm
```

An `.npy` or a `.json` of raw values is taken as it is.
"""
MOST = 16
"""Numbers that an example in the README shows at most."""


class Node:
    name = "node"
    summary = "an ES module and command for Node: onnxruntime-node"
    heeds: tuple[str, ...] = ()

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        other = next((s for s in kit.app.inputs if s.dtype not in TYPES), None)
        if other is not None:
            return f"input {other.name!r} is {other.dtype}, which Node has no array for; use another target"
        return _words.unfit(kit)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        shutil.copyfile(kit.app.path, folder / "app.onnx")
        for name in COPIED:
            shutil.copyfile(TEMPLATES / name, folder / name)
        package = json.loads((TEMPLATES / "package.json").read_text())
        package |= {"name": package_name(kit.manifest.model), "description": kit.manifest.description}
        for name, value, indent in (
            ("package.json", package, 2),
            ("model.json", facts(kit), 2),
            ("golden.json", golden_document(kit.golden), None),
        ):
            text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")
        readme = filled(template("_node", "README.md"), _values(kit))
        (folder / "README.md").write_text(readme, encoding="utf-8")

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        steps = [
            f"cd {shlex.quote(str(folder))}",
            "npm i --onnxruntime-node-install=skip",
            "npm test",
            f"node cli.mjs {_example(kit)}",
        ]
        return "\n".join(steps)


def package_name(model: str) -> str:
    """A name that npm takes."""
    return re.sub(r"[^a-z0-9-]+", "-", model.lower()).strip("-") or "model"


def facts(kit: Kit) -> dict[str, Any]:
    """What index.mjs has to know of the model: onnxruntime-node does not read metadata_props."""
    told = kit.metadata
    return {
        "name": kit.manifest.title,
        "task": kit.manifest.task,
        "description": kit.manifest.description,
        "labels": json.loads(told["labels"]),
        "symbols": kit.app.inputs[0].symbols,
        "inputs": json.loads(told["inputs"]),
        "outputs": json.loads(told["outputs"]),
        "dataset": json.loads(told.get("dataset", "{}")),
        "metric": json.loads(told.get("metric", "{}")),
    }


def golden_document(golden: Golden) -> dict[str, Any]:
    """The golden pairs as JSON: flat data, with type and shape; "tolerance" as in Golden."""

    def array(values: Any) -> dict[str, Any]:
        return {"dtype": values.dtype.name, "shape": list(values.shape), "data": values.ravel().tolist()}

    return {
        "samples": golden.samples,
        "inputs": {name: array(values) for name, values in golden.inputs.items()},
        "outputs": {name: array(values) for name, values in golden.outputs.items()},
        "tolerance": {name: float(value) for name, value in golden.tolerance.items()},
        "labels": None if golden.labels is None else golden.labels.tolist(),
    }


def _values(kit: Kit) -> dict[str, str]:
    """What the README's placeholders stand for."""
    classifies = kit.golden.labels is not None
    return {
        "TITLE": _words.escaped(kit.manifest.title),
        "DESCRIPTION": _words.escaped(kit.manifest.description),
        "FACTS": _words.facts(kit),
        "EXAMPLE": _example(kit),
        "IMAGES": IMAGES if _words.kind_of(kit) == "image" else "",
        "SAMPLES": _samples(kit),
        "ANSWER": "`label`, `probability` and `probabilities`" if classifies else "`value`, a list of numbers",
        "INTERFACE": _words.interface(kit),
        "SAMPLE_COUNT": str(kit.golden.samples),
    }


def _example(kit: Kit) -> str:
    """An input as it is typed on the command line."""
    if _words.kind_of(kit) == "text":
        return shlex.quote(_words.golden_text(kit))
    numbers = _words.golden_number(kit)
    if _words.kind_of(kit) == "image":
        return "image.pgm"
    return ",".join(_words.shortest(numbers)) if len(numbers) <= MOST else "samples.npy"


def _samples(kit: Kit) -> str:
    """The same in JavaScript."""
    if _words.kind_of(kit) == "text":
        return f"[{json.dumps(_words.golden_text(kit), ensure_ascii=False)}]"
    numbers = _words.golden_number(kit)
    if _words.kind_of(kit) == "image" or len(kit.app.inputs[0].shape) > 2 or len(numbers) > MOST:
        return f"new Float64Array({len(numbers)})"
    return f"[[{', '.join(_words.shortest(numbers))}]]"


ENTRIES = (Node(),)
