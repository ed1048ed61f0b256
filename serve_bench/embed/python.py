"""A Python module and command around app.onnx, with onnxruntime and numpy alone."""

from __future__ import annotations

import keyword
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

from export.bundle.files import atomic
from serve_bench.embed import _words
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed._templates import filled, template

TEMPLATES = Path(__file__).with_name("_python")
TAKEN = frozenset(sys.stdlib_module_names) | {"numpy", "onnxruntime", "PIL", "test_golden", "pytest"}
"""Modules that one of the app's own name would hide."""
MAX_EXAMPLE = 16
"""Numbers that an example in the README shows at most."""
IMAGES = """
Images (PNG, JPEG and others that Pillow reads) become grey, light on dark, of the model's size, and what was done is
said. An `.npy` of raw values is taken as it is.
"""


def module_name(model: str) -> str:
    """ "names_rnn" of "names-rnn": a name that can be imported and hides no other module."""
    name = re.sub(r"\W+", "_", model, flags=re.ASCII).strip("_").lower()
    if not name or name[0].isdigit() or keyword.iskeyword(name) or name in TAKEN:
        name = f"model_{name}".rstrip("_")
    return name


class Python:
    name = "python"
    summary = "a Python module and command: onnxruntime and numpy, no PyTorch"
    heeds: tuple[str, ...] = ()

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        return _words.unfit(kit)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        module = module_name(kit.manifest.model)
        shutil.copyfile(kit.app.path, folder / "app.onnx")
        shutil.copyfile(TEMPLATES / "model.py", folder / f"{module}.py")
        needs = "requirements-images.txt" if _words.kind_of(kit) == "image" else "requirements.txt"
        shutil.copyfile(TEMPLATES / needs, folder / "requirements.txt")
        for name in ("test_golden.py", "README.md"):
            (folder / name).write_text(filled(template("_python", name), _values(kit, module)), encoding="utf-8")
        _write_golden(kit, folder / "golden.npz")

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        module = module_name(kit.manifest.model)
        steps = [
            f"cd {shlex.quote(str(folder))}",
            "pip install -r requirements.txt",
            "python test_golden.py",
            f"python {module}.py {_example(kit)}",
        ]
        return "\n".join(steps)


def _values(kit: Kit, module: str) -> dict[str, str]:
    """What the templates' placeholders stand for."""
    classifies = kit.golden.labels is not None
    samples = _samples(kit)
    return {
        "MODULE": module,
        "TITLE": _words.escaped(kit.manifest.title),
        "DESCRIPTION": _words.escaped(kit.manifest.description),
        "FACTS": _words.facts(kit),
        "EXAMPLE": _example(kit),
        "IMAGES": IMAGES if _words.kind_of(kit) == "image" else "",
        "IMPORT": "import numpy\n\n" if samples.startswith("numpy.") else "",
        "SAMPLES": samples,
        "ANSWER": "`label`, `probability` and `probabilities`" if classifies else "`value`, a list of numbers",
        "INTERFACE": _words.interface(kit),
        "SAMPLE_COUNT": str(kit.golden.samples),
    }


def _example(kit: Kit) -> str:
    """An input as it is typed on the command line."""
    kind = _words.kind_of(kit)
    if kind == "text":
        return shlex.quote(_words.golden_text(kit))
    numbers = _words.golden_number(kit)
    if kind == "image":
        return "image.png"
    return ",".join(_words.shortest(numbers)) if len(numbers) <= MAX_EXAMPLE else "samples.npy"


def _samples(kit: Kit) -> str:
    """The same in Python."""
    kind, spec = _words.kind_of(kit), kit.app.inputs[0]
    if kind == "text":
        return f"[{_words.golden_text(kit)!r}]"
    numbers = _words.golden_number(kit)
    if kind == "image" or len(spec.shape) > 2 or len(numbers) > MAX_EXAMPLE:
        return f"numpy.zeros({(1, *spec.shape[1:])}, {spec.dtype!r})"
    return f"[[{', '.join(_words.shortest(numbers))}]]"


def _write_golden(kit: Kit, path: Path) -> None:
    golden = kit.golden
    arrays = {f"input/{k}": np.asarray(v) for k, v in golden.inputs.items()}
    arrays |= {f"output/{k}": np.asarray(v) for k, v in golden.outputs.items()}
    arrays |= {f"tolerance/{k}": np.array(v) for k, v in golden.tolerance.items()}
    if golden.labels is not None:
        arrays["label"] = golden.labels
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


ENTRIES = (Python(),)
