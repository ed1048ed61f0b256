"""How a command ends: our own errors as one line on stderr, with the exit status of their kind."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from typing import Any

import click

DEFECT = 70
"""Exit status of an error that nobody foresaw (EX_SOFTWARE of sysexits.h): 1 would read as a failed verdict."""


class Terminated(KeyboardInterrupt):
    """By SIGTERM: what is open is closed as at Ctrl-C."""


def _terminated(number: int, frame: object) -> None:
    raise Terminated


class Group(click.Group):
    """Turns our own errors into one line on stderr and the exit status of their kind."""

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        from export.bundle.errors import PipelineError

        run: Any = super().main
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminated)
        if not standalone_mode:
            return run(*args, standalone_mode=False, **kwargs)
        try:
            status = run(*args, standalone_mode=False, **kwargs)
            sys.exit(status if isinstance(status, int) else 0)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except PipelineError as error:
            _end(str(error), error.exit_status)
        except (click.Abort, KeyboardInterrupt) as error:
            status = 143 if isinstance(error.__cause__ or error, Terminated) else 130
            _end("interrupted; run the same command again and it continues where it stopped", status)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            full = "; free some space and run again, what was done is kept" if error.errno == errno.ENOSPC else ""
            _end(f"{where}{error.strerror or error}{full}", 1)
        except MemoryError:
            _end("out of memory; close other programs or choose smaller batches", 1)
        except Exception as error:
            _end(f"{type(error).__name__}: {error}; this is a defect of pipeline's: --debug shows where", DEFECT)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from export.bundle.errors import UnknownName

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise UnknownName("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def _end(message: str, status: int) -> None:
    if "--debug" in sys.argv:
        raise  # noqa: PLE0704
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(status)
