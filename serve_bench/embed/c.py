"""A C11 program around app.onnx, against ONNX Runtime's C API alone, with its test on the golden pairs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.app import LABEL
from export.bundle.types import LENGTHS, Artifact, TensorSpec
from serve_bench.embed import _words
from serve_bench.embed._base import EmbedOptions, Golden, Kit
from serve_bench.embed._c_build import answers, build
from serve_bench.embed._templates import copied, filled, template

__all__ = ["ENTRIES", "answers", "build"]

FOLDER = "_c"
SOURCES = (
    "CMakeLists.txt",
    *("main.c", "golden.c", "golden.h", "samples.c", "samples.h", "lines.c", "lines.h", "print.c", "print.h"),
    *("model.c", "model.h", "specs.c", "specs.h", "buffer.c", "buffer.h", "failure.c", "failure.h", "bundle.h"),
)
INPUT_TYPES = ("uint8", "int64", "float32")


class C:
    name = "c"
    summary = "a C11 program against ONNX Runtime's C API, with CMake and a golden test"
    heeds: tuple[str, ...] = ()

    def missing(self, kit: Kit, options: EmbedOptions) -> str | None:
        return why_not(kit.app.inputs, kit.app.outputs)

    def write(self, kit: Kit, options: EmbedOptions, folder: Path) -> None:
        copied(FOLDER, SOURCES, folder)
        shutil.copyfile(kit.app.path, folder / "app.onnx")
        (folder / "bundle.c").write_text(bundle_source(kit), encoding="ascii")
        write_golden(kit.golden, kit.app, folder / "golden")
        (folder / "README.md").write_text(_readme_of(kit), encoding="utf-8")

    def first_steps(self, kit: Kit, options: EmbedOptions, folder: Path) -> str:
        return "\n".join(
            (
                f"cd {folder}",
                "cmake -S . -B build -DONNXRUNTIME_DIR=FOLDER    (ONNX Runtime's release archive, unpacked)",
                "cmake --build build && ctest --test-dir build --output-on-failure",
            )
        )


def why_not(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str | None:
    """Why this program cannot ask such a model, in one sentence; None where it can."""
    other = [s.name for s in inputs if s.dtype not in INPUT_TYPES]
    other += [s.name for s in outputs if s.name != LABEL and s.dtype != "float32"]
    if other:
        return f"{other[0]} has a type that the C program does not read; change c.py, or use --target python"
    first = inputs[0].shape
    fixed = len(inputs) == 1 and isinstance(first[0], str) and all(isinstance(n, int) for n in first[1:])
    if not (fixed or _takes_texts(inputs)):
        return "the C program takes one input of a known shape, or texts with their lengths; use --target python"
    return None


def _takes_texts(inputs: Sequence[TensorSpec]) -> bool:
    texts = len(inputs) == 2 and inputs[1].name == LENGTHS and bool(inputs[0].symbols)
    return texts and all(s.dtype == "int64" for s in inputs) and [len(s.shape) for s in inputs] == [2, 1]


def bundle_source(kit: Kit) -> str:
    """bundle.c: labels, symbols and tolerances as C data, ASCII."""
    inputs, manifest = kit.app.inputs, kit.manifest
    symbols = inputs[0].symbols if _takes_texts(inputs) else ""
    most = inputs[1].high if symbols else None
    numbers = [s.name for s in kit.app.outputs if s.name != LABEL]
    labels = manifest.labels if manifest.task == "classification" else ()
    return filled(
        template(FOLDER, "bundle.c.in"),
        {
            "MODEL": _comment(manifest.model),
            "LABEL_COUNT": str(len(labels)),
            "LABELS": "".join(f"{literal(x)}, " for x in labels),
            "SYMBOL_COUNT": str(len(symbols)),
            "SYMBOLS": "".join(f"{literal(x)}, " for x in symbols),
            "LONGEST_TEXT": str(int(most) if most is not None else 0),
            "GOLDEN_SAMPLES": str(kit.golden.samples),
            "TOLERANCE_COUNT": str(len(numbers)),
            "TOLERANCES": ", ".join(repr(float(kit.golden.tolerance[name])) for name in numbers),
        },
    )


def literal(text: str) -> str:
    """A C string literal of the text's UTF-8: what is not a letter, digit, space or safe sign stands in octal, of three
    digits always, so that what follows cannot change it; "?" too, which could begin a trigraph."""
    safe = b" -_.,;:()/+*=<>!#$%&'|~^[]{}@"
    encoded = (chr(b) if chr(b).isascii() and (chr(b).isalnum() or b in safe) else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(encoded)}"'


def _comment(text: str) -> str:
    return "".join(c for c in text if c.isascii() and (c.isalnum() or c in "-_."))


def write_golden(golden: Golden, app: Artifact, folder: Path) -> None:
    """Raw little-endian values: input0.bin, … as app.onnx takes them, output0.bin, … float64, label0.bin int64."""
    folder.mkdir()
    for number, spec in enumerate(app.inputs):
        values = golden.inputs[spec.name]
        _raw(folder / f"input{number}.bin", values, values.dtype.newbyteorder("<"))
    for number, name in enumerate(s.name for s in app.outputs if s.name != LABEL):
        _raw(folder / f"output{number}.bin", golden.outputs[name], np.dtype("<f8"))
    if golden.labels is not None:
        _raw(folder / "label0.bin", golden.labels, np.dtype("<i8"))


def _raw(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], kind: np.dtype[np.generic]) -> None:
    path.write_bytes(np.ascontiguousarray(values, dtype=kind).tobytes())


def _readme_of(kit: Kit) -> str:
    inputs = kit.app.inputs
    if _takes_texts(inputs):
        line = f"a text of the {len(inputs[0].symbols)} characters that stand in `bundle.c`; letters without accents"
        example = "printf 'Satoshi\\n' | ./build/answer -"
    else:
        shape = " x ".join(str(n) for n in inputs[0].shape[1:])
        line = f"the {shape} values of `{inputs[0].name}` ({inputs[0].dtype}), separated by commas or spaces"
        line += ", an image row by row" if len(inputs[0].shape) == 3 else ""
        example = "./build/answer samples.csv"
    values = {
        "TITLE": _words.escaped(kit.manifest.title),
        "FACTS": _words.model_facts(kit),
        "LINE": line,
        "EXAMPLE": example,
    }
    values["SAMPLES"] = str(kit.golden.samples)
    values["TOLERANCES"] = ", ".join(f"`{name}` {t:.2g}" for name, t in kit.golden.tolerance.items())
    return filled(template(FOLDER, "README.md.in"), values)


ENTRIES = (C(),)
