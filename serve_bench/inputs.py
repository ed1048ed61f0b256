"""Files of the user's as the inputs of a model, and in words how each was understood."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.types import LENGTH, LENGTHS, Preprocess, TensorSpec
from export.npz import read_npz
from serve_bench._images import SUFFIXES, image_as_input, image_as_stored, scaled, takes_images
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import batch_axis

Array = npt.NDArray[np.generic]
TEXT = "text"
"""How a text is understood."""
STORED = "test/input/"
"""What the names of stored test inputs begin with in golden.npz and truth.npz."""


@dataclass(frozen=True)
class Read:
    """One file, ready for the model."""

    arrays: Arrays
    read_as: str
    """How the file was understood: "uint8 taken as stored, so (x / 255 − 0.5) / 0.25 is applied"."""
    note: str = ""
    """What was done to an image to make it fit."""


def read_inputs(path: Path, specs: tuple[TensorSpec, ...], preprocess: Preprocess) -> Read:
    """Model-ready inputs by name; raises DataError where the file does not fit or is not finite.

    Integer arrays, images and the test inputs of golden.npz and truth.npz are taken as stored: of the model's first
    input they go through its preprocessing. Floating-point arrays are taken as model-ready.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix.lower() in SUFFIXES:
        return _image(path, specs, preprocess)
    if path.suffix.lower() not in (".npz", ".npy"):
        known = ", ".join([".npz", ".npy", ".csv", *sorted(SUFFIXES)])
        raise DataError(f"{path}: {path.suffix or 'no suffix'} is not read; known are {known}")
    found = read_npz(path) if path.suffix.lower() == ".npz" else {"": _read_npy(path)}
    test = {name.removeprefix(STORED): array for name, array in found.items() if name.startswith(STORED)}
    found = test or found
    if len(specs) == 1 and specs[0].name not in found and len(found) == 1:
        found = {specs[0].name: next(iter(found.values()))}
    ready, words = {}, []
    for number, spec in enumerate(specs):
        if spec.name not in found:
            raise DataError(f"{path}: holds {', '.join(sorted(found)) or 'nothing'}, but the model wants {spec.name!r}")
        own = preprocess if number == 0 else Preprocess()
        ready[spec.name], text = _ready(path, found[spec.name], spec, own, stored=bool(test))
        words.append(f"{spec.name}: {text}" if len(specs) > 1 else text)
    return Read(ready, "; ".join(words))


def takes_text(specs: Sequence[TensorSpec]) -> bool:
    """Whether a model has a sequence of characters and its length as inputs."""
    return [s.name for s in specs[1:]] == [LENGTHS] and bool(specs[0].symbols) and LENGTH in specs[0].shape


def text_as_input(text: str, specs: Sequence[TensorSpec]) -> Read:
    """One text's characters as numbers (1, length), and its length (1,); marks such as accents are dropped.

    Raises DataError for an empty text and for a character that the model does not know.
    """
    sequence, lengths = specs
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    if not plain.strip():
        raise DataError(f"{text!r}: holds no letter; give a text of at least one, or an .npz")
    if lengths.high is not None and len(plain) > lengths.high:
        raise DataError(
            f"{text[:20]!r}…: has {len(plain)} letters; the model was verified for at most {lengths.high:g}"
        )
    unknown = next((c for c in plain if c not in sequence.symbols), None)
    if unknown is not None:
        raise DataError(
            f"{text!r}: {unknown!r} is none of the {len(sequence.symbols)} characters known: {sequence.symbols}"
        )
    numbers = np.array([[sequence.symbols.index(c) for c in plain]], sequence.dtype)
    note = "" if plain == text else f"read as {plain}"
    return Read({sequence.name: numbers, lengths.name: np.array([len(plain)], lengths.dtype)}, TEXT, note)


def _read_npy(path: Path) -> Array:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except Exception as error:
        raise DataError(f"{path}: is not a whole .npy of numbers; save it with numpy.save(path, array)") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is not an .npy but an archive; name it .npz")
    return array


def _image(path: Path, specs: tuple[TensorSpec, ...], preprocess: Preprocess) -> Read:
    if not takes_images(specs):
        shapes = ", ".join(f"{s.name} {s.shape}" for s in specs)
        raise DataError(f"{path}: this model takes no one-channel images but {shapes}; give a .csv or an .npz")
    spec = specs[0]
    pixels, note = image_as_stored(path, int(spec.shape[2]), int(spec.shape[3]))
    ready = image_as_input(pixels, spec, preprocess)
    if ready is None:
        raise DataError(f"{path}: nothing says which range of values {spec.name!r} expects; give an .npz")
    how = f"so {formula(preprocess)} is applied" if scaled(preprocess) else "stretched over the model's range"
    return Read({spec.name: ready}, f"image of grey values 0 to 255, {how}", note)


def _ready(path: Path, array: Array, spec: TensorSpec, preprocess: Preprocess, *, stored: bool) -> tuple[Array, str]:
    from serve_bench.equivalence.probes import model_ready

    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: {spec.name!r} holds {array.dtype}, not numbers")
    shaped = shaped_like(array, spec)
    if shaped is None:
        raise DataError(f"{path}: {spec.name!r} has shape {array.shape}, the model wants {spec.shape}")
    if shaped.size == 0:
        raise DataError(f"{path}: {spec.name!r} has shape {array.shape}: it holds no sample")
    as_stored = stored or array.dtype.kind in "iu"
    with np.errstate(all="ignore"):
        ready = model_ready(shaped, preprocess if as_stored else Preprocess(), spec.dtype)
    _refuse_unusable(path, shaped, ready, spec)
    return ready, understood(array, ready, spec, preprocess, as_stored=as_stored)


def _refuse_unusable(path: Path, given: Array, ready: Array, spec: TensorSpec) -> None:
    """Raises DataError at the first value that the model's type cannot hold."""
    values: Any = ready
    bad = ~np.isfinite(values) if ready.dtype.kind == "f" else values != given
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        what = f"finite {spec.dtype}" if ready.dtype.kind == "f" else spec.dtype
        raise DataError(
            f"{path}: {spec.name!r} holds {given[index]} in sample {index[batch_axis(spec) or 0]}, which is no {what}; "
            "an answer to it would mean nothing: mend it or leave it out"
        )


def understood(array: Array, ready: Array, spec: TensorSpec, preprocess: Preprocess, *, as_stored: bool) -> str:
    """How an array was taken, in words: as stored, so that it went through `preprocess`, or as model-ready."""
    if ready.dtype.kind != "f":
        return f"{array.dtype}, taken as it is"
    if as_stored and not preprocess.identity:
        said = f"{array.dtype} taken as stored, so {formula(preprocess)} is applied"
    elif as_stored:
        said = f"{array.dtype} taken as it is: this model has no preprocessing"
    else:
        said = f"{array.dtype} taken as model-ready, so no preprocessing is applied"
        said += "; raw values are given as integers" if not preprocess.identity else ""
    beyond = outside(ready, spec)
    return f"{said}; {beyond}" if beyond else said


def formula(preprocess: Preprocess) -> str:
    """What preprocessing does to a stored value x, in signs."""
    scaled = "x" if preprocess.scale == 1 else f"x / {1 / preprocess.scale:g}"
    return f"({scaled} − {preprocess.mean:g}) / {preprocess.std:g}"


def outside(ready: Array, spec: TensorSpec) -> str:
    """Says so where values of a model-ready array leave the documented range by more than a hundredth of its width."""
    if spec.low is None or spec.high is None:
        return ""
    slack = (spec.high - spec.low) / 100
    values: Any = ready
    least, most = float(values.min()), float(values.max())
    if least >= spec.low - slack and most <= spec.high + slack:
        return ""
    return f"that gives the model {least:.4g} to {most:.4g}, outside its range of {spec.low:.4g} to {spec.high:.4g}"


def shaped_like(array: Array, spec: TensorSpec) -> Array | None:
    """The array with the batch axis and axes of length 1 that it lacks; None where it does not fit.

    For ("batch", 1, 28, 28): (N, 1, 28, 28), (N, 28, 28), (1, 28, 28) and (28, 28) fit.
    """
    axis = batch_axis(spec) or 0
    wanted = (*spec.shape[:axis], "batch", *spec.shape[axis + 1 :])
    if _fits(array.shape, wanted):
        return array
    if _fits(array.shape, wanted[:axis] + wanted[axis + 1 :]):
        return np.expand_dims(array, axis)
    ones = [i for i, size in enumerate(wanted) if size == 1]
    for lacking in (ones, [axis, *ones]):
        if _fits(array.shape, tuple(size for i, size in enumerate(wanted) if i not in lacking)):
            return np.expand_dims(array, sorted(lacking))
    return None


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(isinstance(w, str) or s == w for s, w in zip(shape, wanted, strict=True))
