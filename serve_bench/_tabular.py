"""The rows of a CSV as a model's inputs: which columns it must have, and what of a row does not fit."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError, some
from export.bundle.types import Preprocess, TensorSpec
from serve_bench._images import scaled, takes_images
from serve_bench.backends._base import Arrays
from serve_bench.backends._helpers import batch_axis

NAMES = ("name", "text")
"""The one column of a CSV of texts has one of these names."""
Refuse = Callable[[DataError], None]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Consecutive rows of a CSV."""

    numbers: list[int]
    """Of each row, from 0; a row that does not fit is counted and not here."""
    lines: list[int]
    """On which line of the file each ends, the header being line 1."""
    columns: list[str]
    """Their names, in the order in which they were asked for."""
    cells: list[list[str]]
    """Of each row, in that order."""


def column_names(specs: Sequence[TensorSpec]) -> list[list[tuple[str, ...]]]:
    """For each input, the ways in which its columns may be named, the first being the one to recommend.

    An input "x" of one number is `x`, of n numbers `x0` … `x{n-1}` or `x[0]` … in row-major order; the one-channel
    images of a model are `pixel0` … row by row. Raises DataError for an input of free length, which no table holds.
    """
    found = []
    for spec in specs:
        size = _size(spec)
        plain = tuple(f"{spec.name}{i}" for i in range(size))
        bracketed = tuple(f"{spec.name}[{i}]" for i in range(size))
        if takes_images(tuple(specs)):
            found.append([tuple(f"pixel{i}" for i in range(size))])
        else:
            found.append([(spec.name,), plain, bracketed] if size == 1 else [plain, bracketed])
    return found


def read_rows(
    stream: TextIO,
    source: str,
    wanted: list[list[tuple[str, ...]]],
    count: int,
    refuse: Refuse,
    ignored: Sequence[str] = (),
) -> Iterator[Rows]:
    """The rows of a CSV (RFC 4180, UTF-8, with a header), `count` at a time; columns may stand in any order.

    `ignored` columns may be there besides. Raises DataError where the header is not what is wanted, where no row
    follows and where the file breaks off; a row of another number of cells goes to `refuse`.
    """
    reader = csv.reader(stream, strict=True)
    cells: list[list[str]] = []
    numbers: list[int] = []
    lines: list[int] = []
    number = -1
    try:
        header = [name.strip() for name in next(reader, [])]
        order = _order(source, header, wanted, ignored)
        columns = [header[i] for i in order]
        for number, row in enumerate(reader):
            if len(row) != len(header):
                refuse(DataError(f"{source}: line {reader.line_num} {_of_other_length(row, header)}"))
                continue
            cells.append([row[i] for i in order])
            numbers.append(number)
            lines.append(reader.line_num)
            if len(cells) == count:
                yield Rows(numbers=numbers, lines=lines, columns=columns, cells=cells)
                cells, numbers, lines = [], [], []
    except csv.Error as error:
        raise DataError(f"{source}: line {reader.line_num}: is no CSV from here on: {error}") from error
    if cells:
        yield Rows(numbers=numbers, lines=lines, columns=columns, cells=cells)
    if number < 0:
        raise DataError(f"{source}: holds a header and no rows; give at least one")


def features(
    source: str, rows: Rows, specs: Sequence[TensorSpec], preprocess: Preprocess, refuse: Refuse
) -> tuple[list[int], Arrays]:
    """Which of the rows are numbers that the model can take, and those as its inputs; others go to `refuse`.

    Values are taken as stored: of the first input they go through `preprocess`.
    """
    from serve_bench.equivalence.probes import model_ready

    kept: list[int] = []
    values = []
    for index, row in enumerate(rows.cells):
        try:
            values.append(_numbers(row))
            kept.append(index)
        except ValueError:
            column, cell = next((i, c) for i, c in enumerate(row) if not _is_number(c))
            said = f"{cell!r} is no number" if cell.strip() else "is empty"
            refuse(DataError(f"{source}: line {rows.lines[index]}, column {rows.columns[column]!r}: {said}"))
    table = np.array(values, np.float64).reshape(len(values), len(rows.columns))
    fits = np.ones(len(values), bool)
    for place, column, why in _unfit(table, specs, preprocess):
        fits[place] = False
        index = kept[place]
        cell = rows.cells[index][column]
        refuse(DataError(f"{source}: line {rows.lines[index]}, column {rows.columns[column]!r}: {cell!r} is {why}"))
    arrays, start = {}, 0
    for number, spec in enumerate(specs):
        part = table[fits, start : start + _size(spec)]
        start += part.shape[1]
        axis = batch_axis(spec) or 0
        shape = spec.shape[:axis] + spec.shape[axis + 1 :]
        shaped: Any = np.moveaxis(part.reshape(len(part), *map(int, shape)), 0, axis)
        arrays[spec.name] = model_ready(shaped, preprocess if number == 0 else Preprocess(), spec.dtype)
    return [kept[i] for i in np.flatnonzero(fits)], arrays


def shown(names: Sequence[str]) -> str:
    """Column names for a message: `x0 … x4`."""
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]}"


def _size(spec: TensorSpec) -> int:
    axis = batch_axis(spec) or 0
    rest = spec.shape[:axis] + spec.shape[axis + 1 :]
    if not spec.shape or any(isinstance(d, str) for d in rest):
        raise DataError(f"input {spec.name!r} has shape {spec.shape}, which no CSV holds; give an .npz")
    return math.prod(int(d) for d in rest)


def _order(source: str, header: list[str], wanted: list[list[tuple[str, ...]]], ignored: Sequence[str]) -> list[int]:
    """Where each wanted column stands in the header; raises DataError, which names the columns."""
    chosen = list(chain.from_iterable(_spelling(header, spellings) for spellings in wanted))
    known = " and ".join(shown(spellings[0]) for spellings in wanted)
    if not any(header):
        raise DataError(f"{source}: is empty, or its first line is; that names the columns: {known}")
    if all(map(_is_number, header)):
        raise DataError(f"{source}: has no header: its first line must name the columns, {known}")
    if len(header) == 1 and len(chosen) > 1 and any(sign in header[0] for sign in ";\t"):
        sign = "semicolons" if ";" in header[0] else "tabs"
        raise DataError(f"{source}: its columns are separated by {sign}; save it with commas")
    places = {name: place for place, name in enumerate(header)}
    twice = next((name for place, name in enumerate(header) if places[name] != place), None)
    if twice is not None:
        raise DataError(f"{source}: column {twice!r} stands twice in the header; leave one out")
    own = set(chosen)
    needed = next((name for name in ignored if name in own), None)
    if needed is not None:
        raise DataError(f"{source}: column {needed!r} is the model's own: it cannot be ignored")
    extra = [repr(name) for name in places if name not in own and name not in ignored]
    lacking = [repr(name) for name in chosen if name not in places]
    wrong = [f"{_columns(extra)} not the model's" if extra else "", f"{_columns(lacking)} missing" if lacking else ""]
    if extra or lacking:
        hint = ", and --ignore what else is there" if extra and not lacking else ""
        raise DataError(f"{source}: {' and '.join(filter(None, wrong))}; the header must name {known}{hint}")
    if len(set(chosen)) != len(chosen):
        raise DataError(f"{source}: its columns fit more than one input of the model; give an .npz")
    return [places[name] for name in chosen]


def _spelling(header: list[str], spellings: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The one that has most columns in the header."""
    present = set(header)
    return max(spellings, key=lambda names: len(present.intersection(names)))


def _columns(names: list[str]) -> str:
    return f"column {some(names)} is" if len(names) == 1 else f"columns {some(names)} are"


def _of_other_length(row: list[str], header: list[str]) -> str:
    if not row:
        return "is empty; leave it out"
    return f"has {len(row)} cell{'s' if len(row) > 1 else ''}, the header names {len(header)}"


def _numbers(row: list[str]) -> list[float]:
    """Raises ValueError; Python's own 1_000 is no number of a table."""
    if any("_" in cell for cell in row):
        raise ValueError
    return list(map(float, row))


def _is_number(cell: str) -> bool:
    try:
        return bool(_numbers([cell]))
    except ValueError:
        return False


def _unfit(
    table: npt.NDArray[np.float64], specs: Sequence[TensorSpec], preprocess: Preprocess
) -> Iterator[tuple[int, int, str]]:
    """The first cell of each row (N, columns) that the model's input cannot hold: row, column, what it is not."""
    bad, why = np.zeros(table.shape, bool), np.empty(table.shape[1], object)
    start = 0
    for spec in specs:
        part = slice(start, start + _size(spec))
        start = part.stop
        values = table[:, part]
        whole = values == np.rint(values)
        if np.issubdtype(np.dtype(spec.dtype), np.integer):
            limits: Any = np.iinfo(spec.dtype)
            bad[:, part] = ~(whole & (values >= limits.min) & (values <= limits.max))
            why[part] = f"no {spec.dtype}"
        elif takes_images(tuple(specs)) and scaled(preprocess):
            bad[:, part] = ~(whole & (values >= 0) & (values <= 255))
            why[part] = "no whole number from 0 to 255, as pixels are stored"
        else:
            bad[:, part] = ~(np.abs(values) <= float(np.finfo(spec.dtype).max))
            why[part] = f"no finite {spec.dtype}"
    for row in np.flatnonzero(bad.any(axis=1)):
        column = int(bad[row].argmax())
        yield int(row), column, str(why[column])
