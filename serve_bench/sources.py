"""What a user names as samples of a model: files, folders, tables, texts and standard input, read piece by piece."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from export.bundle.errors import DataError
from export.bundle.types import Preprocess, TensorSpec
from serve_bench import _tabular
from serve_bench._child import sample_count
from serve_bench._images import SUFFIXES, takes_images
from serve_bench.equivalence.probes import model_ready
from serve_bench.inputs import Read, formula, outside, read_inputs, takes_text, text_as_input

ARRAYS = (".npy", ".npz")
STDIN = "-"
Kind = Literal["array", "csv", "folder", "image", "lines", "numbers", "stdin", "text"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of one source, ready for the model."""

    source: str
    """The file, or the text, as it was named."""
    numbers: Sequence[int]
    """Which samples of the source they are, from 0."""
    total: int | None
    """Samples of the source; None of one that is read line by line."""
    read: Read
    texts: Sequence[str] = ()
    """Of a model of texts, as they were given; else empty."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads what was given, for one model. What cannot be read goes to `refuse`, which may raise it."""

    specs: tuple[TensorSpec, ...]
    """The model's inputs."""
    preprocess: Preprocess
    refuse: Callable[[DataError], None]
    say: Callable[[str], None]
    """Takes one line about how something was understood."""
    batch: int = 64
    """Samples that go through the model at once; of a table, rows that are held."""
    strict: bool = False
    """Refuses what would have to be changed to fit: images of another size or mode, texts with accents."""
    recursive: bool = False
    """Takes the images of a folder's own folders too."""
    ignore: Sequence[str] = ()
    """Columns of tables that are not the model's and may be there."""
    said: set[str] = field(default_factory=set)
    """How images were understood, said before."""

    def read(self, inputs: Iterable[Path | str]) -> Iterator[Samples]:
        """The samples of each input in turn."""
        ways = {
            "array": self._array,
            "csv": self._csv,
            "folder": self._folder,
            "image": self._image,
            "lines": self._lines,
            "numbers": self._numbers,
            "stdin": self._lines if takes_text(self.specs) else self._csv,
            "text": self._text,
        }
        for given in map(str, inputs):
            try:
                yield from ways[kind_of(given, self.specs)](given)
            except DataError as error:
                self.refuse(error)

    def _array(self, given: str) -> Iterator[Samples]:
        read = read_inputs(Path(given), self.specs, self.preprocess)
        self.say(f"{given}: {read.read_as}")
        total = sample_count(self.specs, read.arrays)
        yield Samples(source=given, numbers=range(total), total=total, read=read)

    def _numbers(self, given: str) -> Iterator[Samples]:
        (spec,) = self.specs
        values = np.array([numbers_in(given, self.specs)])
        ready = model_ready(values, self.preprocess, spec.dtype)
        read = Read({spec.name: ready}, "numbers taken as stored")
        if beyond := outside(ready, spec):
            self.say(f"{given}: {beyond}")
        yield Samples(source=given, numbers=(0,), total=1, read=read)

    def _image(self, given: str, named: str = "") -> Iterator[Samples]:
        read = self._unchanged(given, read_inputs(Path(given), self.specs, self.preprocess))
        if read.read_as not in self.said:
            self.said.add(read.read_as)
            self.say(f"{named or given}: {read.read_as}")
        yield Samples(source=given, numbers=(0,), total=1, read=read)

    def _folder(self, given: str) -> Iterator[Samples]:
        if not takes_images(self.specs):
            shapes = ", ".join(f"{s.name} {s.shape}" for s in self.specs)
            raise DataError(f"{given}: is a folder, and this model takes no one-channel images but {shapes}")
        images, skipped = images_in(Path(given), recursive=self.recursive)
        if not images:
            raise DataError(f"{given}: holds no image{f'; skipped: {skipped}' if skipped else ''}")
        if skipped:
            self.say(f"{given}: {_count(len(images), 'image')}; skipped: {skipped}")
        for path in images:
            try:
                yield from self._image(str(path), given)
            except DataError as error:
                self.refuse(error)

    def _csv(self, given: str) -> Iterator[Samples]:
        if takes_text(self.specs):
            yield from self._text_rows(given)
            return
        wanted = _tabular.column_names(self.specs)
        how = f"so {formula(self.preprocess)} is applied" if not self.preprocess.identity else ""
        read_as = f"CSV taken as stored, {how}" if how else "CSV taken as it is: this model has no preprocessing"
        told = {"how": False, "outside": False}
        with opened(given) as stream:
            for rows in self._rows(stream, given, wanted):
                kept, arrays = _tabular.features(_named(given), rows, self.specs, self.preprocess, self.refuse)
                if not kept:
                    continue
                if not told["how"]:
                    self.say(f"{_named(given)}: {read_as}")
                    told["how"] = True
                beyond = next(filter(None, (outside(arrays[s.name], s) for s in self.specs)), "")
                if beyond and not told["outside"]:
                    told["outside"] = True
                    self.say(f"{_named(given)}: lines {rows.lines[0]} to {rows.lines[-1]}: {beyond}; said once a file")
                numbers = [rows.numbers[i] for i in kept]
                yield Samples(source=given, numbers=numbers, total=None, read=Read(arrays, read_as))

    def _rows(self, stream: TextIO, given: str, wanted: list[list[tuple[str, ...]]]) -> Iterator[_tabular.Rows]:
        return _tabular.read_rows(stream, _named(given), wanted, self.batch, self.refuse, self.ignore)

    def _text_rows(self, given: str) -> Iterator[Samples]:
        with opened(given) as stream:
            wanted: list[list[tuple[str, ...]]] = [[(name,) for name in _tabular.NAMES]]
            for rows in self._rows(stream, given, wanted):
                for number, line, (text,) in zip(rows.numbers, rows.lines, rows.cells, strict=True):
                    yield from self._one_text(given, number, text, f"{_named(given)}: line {line}: ")

    def _lines(self, given: str) -> Iterator[Samples]:
        number = -1
        with opened(given) as stream:
            for number, line in enumerate(stream):
                yield from self._one_text(given, number, line.rstrip("\r\n"), f"{_named(given)}: line {number + 1}: ")
        if number < 0:
            raise DataError(f"{_named(given)}: is empty; give at least one text, one a line")

    def _one_text(self, given: str, number: int, text: str, where: str) -> Iterator[Samples]:
        try:
            read = self._unchanged(repr(text), text_as_input(text, self.specs))
        except DataError as error:
            self.refuse(DataError(f"{where}{error}"))
            return
        yield Samples(source=given, numbers=(number,), total=None, read=read, texts=(text,))

    def _text(self, given: str) -> Iterator[Samples]:
        here = _exists(given)
        suffix = Path(given).suffix
        if suffix and here == "file":
            raise DataError(
                f"{given}: is a file, and this model takes a text; give the text itself, a .txt of one a line, a .csv "
                f"with a column {' or '.join(_tabular.NAMES)}, or an .npz"
            )
        read = self._unchanged(repr(given), text_as_input(given, self.specs))
        if here:
            self.say(f"{given}: taken as a text, although a {here} of that name lies here")
        elif suffix:
            self.say(f"{given}: taken as a text; there is no file of that name")
        yield Samples(source=given, numbers=(0,), total=1, read=read, texts=(given,))

    def _unchanged(self, named: str, read: Read) -> Read:
        """Raises DataError where `strict` forbids what was done."""
        if self.strict and read.note:
            raise DataError(f"{named}: does not fit as it is and would be {read.note}; --strict refuses that")
        return read


def numbers_in(given: str, specs: Sequence[TensorSpec]) -> list[float]:
    """The values of "0.5" or "1,2,3" where that is one sample of a model of a vector of features; else none."""
    if len(specs) != 1 or len(specs[0].shape) != 2 or np.dtype(specs[0].dtype).kind != "f":
        return []
    try:
        values = [float(word) for word in given.split(",")]
    except ValueError:
        return []
    return values if len(values) == specs[0].shape[1] and np.isfinite(values).all() else []


def kind_of(given: str, specs: Sequence[TensorSpec]) -> Kind:
    """How a word on the command line is taken, by its suffix and by what the model takes; raises DataError for none."""
    suffix = Path(given).suffix.lower()
    if not given and not takes_text(specs):
        raise DataError("an input is empty; name a file")
    if not _exists(given) and numbers_in(given, specs):
        return "numbers"
    if given == STDIN:
        return "stdin"
    if suffix == ".csv":
        return "csv"
    if suffix in ARRAYS:
        return "array"
    if takes_text(specs):
        return "lines" if suffix == ".txt" else "text"
    if _exists(given) == "folder":
        return "folder"
    return "image" if suffix in SUFFIXES else "array"


def expected(inputs: Iterable[Path | str], specs: Sequence[TensorSpec], *, recursive: bool = False) -> int | None:
    """About how many samples there are to answer, for a progress bar; None where only reading them would tell."""
    total = 0
    for given in map(str, inputs):
        with suppress(OSError, DataError):
            kind = kind_of(given, specs)
            if kind in ("stdin", "array"):
                return None
            if kind == "folder":
                total += len(images_in(Path(given), recursive=recursive)[0])
            elif kind in ("csv", "lines"):
                with open(given, "rb") as file:
                    total += sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
            else:
                total += 1
    return total


def images_in(folder: Path, *, recursive: bool) -> tuple[list[Path], str]:
    """The image files of a folder in the order of their names, and what else is there: "2 other files".

    Told by suffix; hidden files are no images; links to folders are not followed.
    """
    images: list[Path] = []
    others = folders = 0
    for place, below, names in os.walk(folder):
        below.sort()
        for name in names:
            is_image = Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
            if is_image:
                images.append(Path(place, name))
            others += not is_image
        if not recursive:
            folders = len(below)
            break
        folders += sum(Path(place, name).is_symlink() for name in below)
    images.sort()
    remedy = " (links are not followed)" if recursive else " (--recursive reads them)"
    skipped = [_count(others, "other file")] if others else []
    skipped += [_count(folders, "folder") + remedy] if folders else []
    return images, ", ".join(skipped)


@contextmanager
def opened(given: str) -> Iterator[TextIO]:
    """A file, or standard input for "-", as UTF-8 text; raises DataError, also for what is found to be none later."""
    try:
        if given == STDIN:
            stream = TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
            try:
                yield stream
            finally:
                stream.detach()
        else:
            with open(given, encoding="utf-8-sig", newline="") as file:
                yield file
    except FileNotFoundError as error:
        raise DataError(f"{given}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{given}: is a folder; name a file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{_named(given)}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error


def _named(given: str) -> str:
    return "standard input" if given == STDIN else given


def _exists(given: str) -> str:
    """ "file", "folder" or nothing; a text may be longer than any file's name."""
    with suppress(OSError, ValueError):
        if Path(given).is_dir():
            return "folder"
        if Path(given).is_file():
            return "file"
    return ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
