"""What the user sees while work is under way. Everything here goes to stderr; results go to stdout elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from export.progress import Bar

_REDRAW_S = 0.1
_PLAIN_LINE_S = 10.0


class _LiveBar:
    """A bar on a terminal, redrawn only when work reports: no thread ticks beside a measurement."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task, self._drawn = progress, task, 0.0
        self.note = ""

    def advance(self, done: float, total: float | None = None, note: str = "") -> None:
        self.note = note or self.note
        now = time.monotonic()
        if now - self._drawn < _REDRAW_S:
            return
        self._drawn = now
        self._progress.update(self._task, completed=done, total=total, note=self.note)
        self._progress.refresh()


class _PlainBar:
    """Without a terminal: a line now and then, so that a log shows that work goes on."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        self._title, self._said, self._quiet = title, time.monotonic(), quiet
        self.note = ""

    def advance(self, done: float, total: float | None = None, note: str = "") -> None:
        self.note = note or self.note
        now = time.monotonic()
        if now - self._said >= _PLAIN_LINE_S and not self._quiet:
            self._said = now
            share = f"{done / total:4.0%} " if total else ""
            print(f"  … {self._title}  {share}{self.note}", file=sys.stderr, flush=True)


class Terminal:
    """Progress for people: a line a stage, with its wall time, and a bar while it runs."""

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, quiet=quiet, soft_wrap=True)
        self._quiet = quiet

    @contextmanager
    def stage(self, title: str) -> Iterator[Bar]:
        started = time.monotonic()
        bar: _LiveBar | _PlainBar
        try:
            if self._console.is_terminal and not self._quiet:
                with self._live(title) as bar:
                    yield bar
            else:
                bar = _PlainBar(title, quiet=self._quiet)
                yield bar
        except BaseException:
            self._line("[red]✗[/]", title, f"stopped after {time.monotonic() - started:.1f} s")
            raise
        self._line("[green]✓[/]", title, f"{bar.note}  {time.monotonic() - started:.1f} s".strip())

    @contextmanager
    def _live(self, title: str) -> Iterator[_LiveBar]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console, auto_refresh=False, transient=True) as progress:
            task = progress.add_task(title, total=None, note="")
            progress.refresh()
            yield _LiveBar(progress, task)

    def note(self, text: str) -> None:
        self._line("[yellow]![/]", text, "")

    def finished(self, title: str, note: str, *, well: bool = True) -> None:
        self._line("[green]✓[/]" if well else "[red]✗[/]", title, note)

    def done(self, title: str, note: str) -> None:
        self._line("[dim]·[/]", title, note)

    def _line(self, sign: str, title: str, note: str) -> None:
        from rich.markup import escape

        self._console.print(f"{sign} {escape(title):<44} [dim]{escape(note)}[/]" if note else f"{sign} {escape(title)}")
