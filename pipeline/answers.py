"""`predict` for many inputs: one that cannot be read does not stop the others. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundle.errors import DataError
from export.bundle.store import Bundle
from export.progress import Progress

if TYPE_CHECKING:
    from serve_bench.predict import Answer


class Answers:
    """The answers to what can be read, once; each error goes to stderr as it comes, a single one is raised at the end.

    `more` are the keyword arguments of `serve_bench.predict.predict`.
    """

    def __init__(self, bundle: Path, inputs: Sequence[str], progress: Progress, **more: Any) -> None:
        from serve_bench.predict import predict

        self._bundle, self._inputs = Bundle.open(bundle), inputs
        self._recursive = bool(more.get("recursive"))
        self._found = predict(self._bundle, inputs, progress=progress, refused=self._refuse, **more)
        self._held: DataError | None = None
        self.given = self.refused = 0

    def __iter__(self) -> Iterator[Answer]:
        for answer in self._found:
            self._tell()
            self.given += 1
            yield answer

    def raise_for_refused(self) -> None:
        """Raises DataError where something could not be answered: the one error itself where there is nothing else."""
        if self._held is not None and (self.given, self.refused) == (0, 1):
            raise self._held
        self._tell()
        if self.refused:
            raise DataError(f"{self.refused:,} of {self.given + self.refused:,} inputs could not be answered")

    def expected(self) -> int | None:
        """About how many answers there will be, as a progress bar wants it; None where that is not known."""
        from serve_bench.predict import model_of
        from serve_bench.sources import expected

        return expected(self._inputs, model_of(self._bundle).inputs, recursive=self._recursive)

    def _refuse(self, error: DataError) -> None:
        self._tell()
        self.refused += 1
        self._held = error

    def _tell(self) -> None:
        if self._held is not None:
            print(f"error: {' '.join(str(self._held).split())}", file=sys.stderr)
        self._held = None


def write_answers(answers: Answers, writer: Any, progress: Progress | None) -> None:
    """Hands every answer to `writer.write`; with `progress`, a bar counts them.

    Raises DataError where nothing could be answered. A reader that went away ends the bar as it stands; its
    BrokenPipeError goes on.
    """
    total = answers.expected() if progress is not None else None
    gone: BrokenPipeError | None = None
    with progress.stage("predict") if progress is not None else nullcontext() as bar:
        try:
            for answer in answers:
                writer.write(answer)
                if bar is not None:
                    done = answers.given + answers.refused
                    bar.advance(done, max(done, total) if total else None, _counts(answers))
        except BrokenPipeError as error:
            gone = error
        if not answers.given:
            answers.raise_for_refused()
    if gone is not None:
        raise gone


def _counts(answers: Answers) -> str:
    refused = f", {answers.refused:,} refused" if answers.refused else ""
    return f"{answers.given:,} answer{'' if answers.given == 1 else 's'}{refused}"
