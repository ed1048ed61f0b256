#!/usr/bin/env python3
"""The model in app.onnx, as a module and as a command. Needs numpy and onnxruntime; Pillow only for image files.

Everything that is particular to the model (inputs, labels, characters) is read from app.onnx's own metadata.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

APP = Path(__file__).resolve().with_name("app.onnx")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm")
SHOWN = 60
"""Characters of a text that a message repeats at most."""
BRIGHT = 127
"""A border whose median is above this is paper: the image is turned to light on dark, as the model was trained."""


class InputError(ValueError):
    """An input that the model cannot take; its text is one line for the user."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one sample: of a classifier all but `value`, else `value` alone."""

    label: str | None = None
    """Name of the most probable class."""
    probability: float | None = None
    """Of that class."""
    probabilities: list[float] | None = None
    """Of every class, in the order of `Model.labels`."""
    value: list[float] | None = None
    """The answer of a model that does not classify, flattened."""

    def __str__(self) -> str:
        if self.label is not None:
            return f"{''.join(c if c.isprintable() else '?' for c in self.label)}  {self.probability:.4f}"
        return "  ".join(f"{v:.7g}" for v in self.value or ())


class Model:
    """app.onnx, loaded once; a call of `predict` may come from any thread."""

    def __init__(self, path: str | Path = APP, *, threads: int = 1) -> None:
        """Loads `path` for the CPU; raises InputError where there is no such file or it is no app.onnx."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; app.onnx belongs beside this module")
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
            self.inputs: list[dict[str, Any]] = json.loads(self.metadata["inputs"])
            self.labels: list[str] = json.loads(self.metadata["labels"])
        except Exception as error:
            raise InputError(f"{path}: is no app.onnx that can be opened: {_first_line(error)}") from error
        self.outputs: list[str] = [o.name for o in self.session.get_outputs()]
        self.symbols: str = self.metadata.get(f"symbols of {self.inputs[0]['name']}", "")

    @property
    def takes(self) -> str:
        """What a sample is: "image", "text" or "numbers"."""
        if self.symbols:
            return "text"
        return "image" if self.inputs[0]["name"] == "pixels" else "numbers"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample that is no text: (28, 28)."""
        return tuple(self.inputs[0]["shape"][1:])

    def predict(self, samples: Any) -> list[Answer]:
        """An answer for each sample; raises InputError.

        Images: raw values (height, width), or (N, height, width). Numbers: an array of a sample's shape, or with N
        before it; a model of one number also takes a number or a list of them. Texts: a string or a list of strings.
        """
        feeds = self._texts(samples) if self.takes == "text" else {self.inputs[0]["name"]: self._array(samples)}
        return list(self._answers(self.run(feeds)))

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of app.onnx by name, for its inputs by name, as arrays."""
        try:
            return dict(zip(self.outputs, self.session.run(None, dict(feeds))))
        except Exception as error:
            raise InputError(f"the model cannot be asked this: {_first_line(error)}") from error

    def _answers(self, outputs: Mapping[str, np.ndarray]) -> Iterator[Answer]:
        if "label" not in outputs:
            for row in outputs["value"].reshape(len(outputs["value"]), -1):
                yield Answer(value=[float(v) for v in row])
            return
        for scores, index in zip(outputs["probabilities"], outputs["label"]):
            label = self.labels[index] if index < len(self.labels) else str(index)
            yield Answer(label, float(scores[index]), [float(p) for p in scores])

    def _array(self, samples: Any) -> np.ndarray:
        """(N, *shape) in the input's own type."""
        import numpy as np

        spec = self.inputs[0]
        try:
            given = np.asarray(samples)
        except ValueError as error:
            raise InputError(f"{spec['name']}: the samples differ in their shapes") from error
        if given.dtype.kind not in "fiu":
            raise InputError(f"{spec['name']}: holds {given.dtype}, not numbers")
        return self._checked(self._shaped(given))

    def _shaped(self, given: np.ndarray) -> np.ndarray:
        """With the axis of samples that it may lack."""
        wanted = self.shape
        if given.shape[1:] == wanted and given.ndim > 0:
            return given
        if given.shape == wanted:
            return given[None]
        if wanted == (1,) and given.ndim < 2:
            return given.reshape(-1, 1)
        text = " × ".join(map(str, wanted))
        raise InputError(f"{self.inputs[0]['name']}: has shape {given.shape}, a sample is {text}")

    def _checked(self, given: np.ndarray) -> np.ndarray:
        """In the input's type, each value kept and finite, a stored integer inside its documented range."""
        import numpy as np

        spec, kind = self.inputs[0], np.dtype(self.inputs[0]["dtype"])
        if given.size == 0:
            raise InputError(f"{spec['name']}: has shape {given.shape}: it holds no sample")
        with np.errstate(all="ignore"):
            cast = given.astype(kind)
        bad = ~np.isfinite(cast) if kind.kind == "f" else cast != given
        if kind.kind in "iu" and "low" in spec and "high" in spec:
            bad = bad | (given < spec["low"]) | (given > spec["high"])
        if bad.any():
            span = f" from {spec['low']:g} to {spec['high']:g}" if kind.kind in "iu" and "low" in spec else ""
            raise InputError(f"{spec['name']}: holds {given[bad][0]}, which is no {kind}{span}")
        return cast

    def _texts(self, samples: Any) -> dict[str, np.ndarray]:
        """Each text's characters as their numbers, padded to the longest, and the lengths."""
        import numpy as np

        texts = [samples] if isinstance(samples, str) else list(samples)
        rows = [self._numbers(text) for text in texts]
        if not rows:
            raise InputError("no text was given")
        first, second = self.inputs
        padded = np.zeros((len(rows), max(map(len, rows))), first["dtype"])
        for number, row in enumerate(rows):
            padded[number, : len(row)] = row
        return {first["name"]: padded, second["name"]: np.array([len(row) for row in rows], second["dtype"])}

    def _numbers(self, text: Any) -> list[int]:
        """The number of each character; marks such as accents are dropped."""
        if not isinstance(text, str):
            raise InputError(f"{text!r}: is no text")
        plain, longest = _without_marks(text), self.inputs[1].get("high")
        if not plain.strip():
            raise InputError(f"{_quoted(text)}: holds no letter")
        if longest is not None and len(plain) > longest:
            raise InputError(f"{_quoted(text)}: has {len(plain)} characters, the model takes {longest:g} at most")
        unknown = [c for c in plain if c not in self.symbols]
        if unknown:
            raise InputError(f"{_quoted(text)}: {unknown[0]!r} is none of the characters known: {self.symbols}")
        return [self.symbols.index(c) for c in plain]

    def read(self, word: str) -> tuple[Any, str]:
        """Samples as a word of the command line gives them, and what was done to make them fit; raises InputError.

        A text; numbers with commas between; or the name of an .npy file or, of a model of images, of an image file.
        """
        if self.takes == "text":
            plain = _without_marks(word)
            return [word], "" if plain == word else f"read as {plain}"
        path = Path(word)
        if path.suffix.lower() == ".npy":
            return _read_npy(path), ""
        if self.takes == "image":
            height, width = self.shape
            return read_image(path, height, width, float(self.inputs[0].get("high", 255)))
        return self._read_numbers(word)

    def _read_numbers(self, word: str) -> tuple[Any, str]:
        import numpy as np

        try:
            numbers = np.array([float(part) for part in word.split(",")])
        except ValueError:
            raise InputError(f"{word}: is neither numbers with commas between nor an .npy file") from None
        size = int(np.prod(self.shape))
        if len(numbers) != size:
            raise InputError(f"{word}: holds {len(numbers)} numbers, a sample is {size}")
        low, high = (self.inputs[0].get(end) for end in ("low", "high"))
        outside = [v for v in numbers if low is not None and high is not None and not low <= v <= high]
        note = f"{outside[0]:g} is outside the range it was trained on, {low:g} to {high:g}" if outside else ""
        return numbers.reshape(1, *self.shape), note


def _without_marks(text: str) -> str:
    """ "Jose" of "José": as the texts were read that the model was trained on."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _read_npy(path: Path) -> np.ndarray:
    import numpy as np

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception:
        raise InputError(f"{path}: is not a whole .npy of numbers") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: is not an .npy but an archive")
    return array


def read_image(path: Path, height: int, width: int, high: float = 255) -> tuple[np.ndarray, str]:
    """(height, width) grey values 0 to `high`, light on dark, of an image file, and what was done to get there."""
    import numpy as np

    if path.suffix.lower() not in IMAGES:
        raise InputError(f"{path}: is no image; known are .npy, {', '.join(IMAGES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        from PIL import Image
    except ImportError:
        raise InputError(f"{path}: image files need Pillow: pip install pillow; .npy works without") from None
    try:
        with Image.open(path) as file:
            image = file.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: no readable image: {_first_line(error)}") from error
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image)
    grey, done = paper.convert("L"), []
    if grey.size != (width, height):
        done.append(f"resized from {grey.width}×{grey.height} to {width}×{height}")
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, dtype=np.uint8)
    if np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])) > BRIGHT:
        done.append("inverted, since its border is bright and the model was trained on light on dark")
        pixels = 255 - pixels
    return np.rint(pixels * (high / 255)), "; ".join(done)


def _words(words: Sequence[str]) -> Iterator[str]:
    """As given; "-" is every line of stdin."""
    for word in words:
        if word != "-":
            yield word
            continue
        for line in sys.stdin:
            if line.strip():
                yield line.rstrip("\r\n")


def _parsed(given: list[str]) -> Any:
    import argparse

    parser = argparse.ArgumentParser(description="Answer inputs with the model in app.onnx.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    what = "text, numbers as 0.5 or 0.1,-2, .npy file or image file; - reads lines of stdin"
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=what)
    options = [w for w in given if w.startswith("-") and w != "-" and w[1] not in "0123456789."]
    words = [w for w in given if w not in options]
    return parser.parse_args([*options, "--", *words] if words and "--" not in given else given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers each word; exit status 1 where one cannot be answered."""
    asked = _parsed(list(sys.argv[1:] if arguments is None else arguments))
    try:
        model = Model()
    except (InputError, ImportError) as error:
        print(error if isinstance(error, InputError) else f"{error}: pip install -r requirements.txt", file=sys.stderr)
        return 1
    found: list[dict[str, Any]] = []
    status = 0
    for word in _words(asked.inputs):
        try:
            samples, note = model.read(word)
            answers = model.predict(samples)
        except InputError as error:
            print(error if str(error).startswith((word, _quoted(word))) else f"{word}: {error}", file=sys.stderr)
            status = 1
            continue
        for number, answer in enumerate(answers):
            where = f"{word}[{number}]" if len(answers) > 1 else word
            found.append({"input": word, "sample": number, "note": note, **asdict(answer)})
            if not asked.json:
                print(f"{where}  {answer}" + (f"  ({note})" if note else ""), flush=True)
    if asked.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    return status


def _command() -> int:
    """As `main`; 1, in silence, where who reads the answers has seen enough, such as `head`."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(_command())
