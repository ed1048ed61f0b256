"""Answers as text, one at a time: lines for people, JSON lines, CSV; and all of them as one JSON document."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from export.bundle.errors import DataError, UsageError
from export.bundle.types import to_json

if TYPE_CHECKING:
    from serve_bench.predict import Answer


class Writer(Protocol):
    """Writes answers to a stream that it was made with."""

    def write(self, answer: Answer) -> None: ...

    def end(self) -> None:
        """After the last answer."""
        ...


class Table:
    """A line an answer, as people read it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, answer: Answer) -> None:
        print(answer, file=self._stream, flush=True)

    def end(self) -> None:
        return None


class JsonLines(Table):
    """An object a line: the fields of Answer."""

    def write(self, answer: Answer) -> None:
        print(json.dumps(to_json(answer), ensure_ascii=False), file=self._stream, flush=True)


class Document(Table):
    """All answers as one JSON array, written at the end."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._found: list[Answer] = []

    def write(self, answer: Answer) -> None:
        self._found.append(answer)

    def end(self) -> None:
        if self._found:
            json.dump(to_json(self._found), self._stream, indent=1, ensure_ascii=False)
            print(file=self._stream, flush=True)


class Csv(Table):
    """RFC 4180 with a header; a class more for each of --top: label2, probability2, …"""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._columns: list[str] = []

    def write(self, answer: Answer) -> None:
        cells = dict(_cells(answer))
        rows = csv.DictWriter(self._stream, self._columns or list(cells), lineterminator="\n")
        if not self._columns:
            self._columns = list(cells)
            rows.writeheader()
        if list(cells) != self._columns:
            raise DataError(f"{answer.source}: its answer has another length than those before; choose --format jsonl")
        rows.writerow(cells)
        self._stream.flush()


def _cells(answer: Answer) -> Iterator[tuple[str, object]]:
    yield from (("source", answer.source), ("sample", answer.sample))
    if answer.text:
        yield "text", answer.text
    if answer.label is not None:
        yield from (("label", answer.label), ("probability", answer.probability))
    for place, other in enumerate(answer.top[1:], start=2):
        yield from ((f"label{place}", other.label), (f"probability{place}", other.probability))
    for name, values in answer.outputs.items():
        for index, value in enumerate(values):
            yield name if len(values) == 1 else f"{name}[{index}]", value
    yield "note", answer.note


FORMATS: dict[str, Callable[[TextIO], Any]] = {"table": Table, "jsonl": JsonLines, "csv": Csv}
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}


def chosen(given: str | None, output: Path | None, *, as_json: bool) -> Callable[[TextIO], Any]:
    """The format asked for, else that of the file's suffix, else lines for people; raises UsageError for two."""
    if as_json and given is not None:
        raise UsageError(f"--json --format {given}: choose one of them")
    named = "json" if as_json else given or SUFFIXES.get(output.suffix.lower() if output else "", "table")
    return Document if named == "json" else FORMATS[named]


@contextmanager
def stream_to(output: Path | None, stdout: TextIO) -> Iterator[TextIO]:
    """`stdout`, or a file that is there whole or, where the block raises, not at all."""
    if output is None:
        yield stdout
        return
    from export.bundle.files import atomic

    with atomic(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
