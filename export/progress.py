"""What long work says while it runs: a seam, so that the floors below need no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, done: float, total: float | None = None, note: str = "") -> None:
        """`done` of `total` units; `note` stands at the end of the line ("98.7 %")."""
        ...


class Progress(Protocol):
    """Where stages report: a terminal, a test's list, or nowhere."""

    @contextmanager
    def stage(self, title: str) -> Iterator[Bar]:
        """A stage that is running; ends with its wall time, or as failed where it raises."""
        ...

    def note(self, text: str) -> None:
        """One line that the user should see."""
        ...

    def finished(self, title: str, note: str, *, well: bool = True) -> None:
        """A piece of the running stage that ended, `well` or not."""
        ...

    def done(self, title: str, note: str) -> None:
        """A stage that needed no work or ended elsewhere: "up to date", "not built: …"."""
        ...


class _SilentBar:
    def advance(self, done: float, total: float | None = None, note: str = "") -> None:
        return None


class Silent:
    """Says nothing; ships for tests and for callers that embed us."""

    @contextmanager
    def stage(self, title: str) -> Iterator[Bar]:
        yield _SilentBar()

    def note(self, text: str) -> None:
        return None

    def finished(self, title: str, note: str, *, well: bool = True) -> None:
        return None

    def done(self, title: str, note: str) -> None:
        return None
