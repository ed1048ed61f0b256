"""Every error the user can meet.

PipelineError                 one line: what is wrong, where, and what to do; exit status 1
├── UsageError                a wrong word on the command line; exit status 2
│   └── UnknownName           no such model, backend, format, …; names the nearest
├── DataError                 a data set is missing, partial or corrupt
├── TrainingError             training cannot go on (a loss that is not finite, weights of another model)
├── BundleError               a bundle cannot be read or written
│   ├── NoBundle              there is none at that path; exit status 2
│   ├── BundleCorrupt         a file is not what the manifest says
│   ├── BundleTooNew          the manifest was written by a later version
│   ├── BundleBusy            another run holds the lock
│   ├── SignatureFailed       no signature, another key's, or one of other files
│   ├── ArchiveRefused        an archive that would harm, or is not whole
│   └── Untrusted             an executable form from elsewhere, without --trust
├── ExportError               a format could not be written
├── BackendUnavailable        the backend cannot run here; says why and the remedy
├── BackendFailed             the backend broke while it ran
│   └── WorkerDied            the child process ended (a native crash, a kill)
│       └── WorkerHung        it gave no answer within its time and was ended
└── VerdictFailed             an exported form does not compute what the model computes
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def some(names: Sequence[str], most: int = 3) -> str:
    """ "a, b, c and 4 more": the first few, and how many are not named."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class PipelineError(Exception):
    """One line for the user; `exit_status` is what the command ends with."""

    exit_status = 1


class UsageError(PipelineError):
    exit_status = 2


class UnknownName(UsageError):
    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}known are {', '.join(names)}")


class DataError(PipelineError):
    pass


class TrainingError(PipelineError):
    pass


class BundleError(PipelineError):
    pass


class NoBundle(BundleError):
    """Nothing to judge: a mistyped path is no verdict."""

    exit_status = 2


class BundleCorrupt(BundleError):
    pass


class BundleTooNew(BundleError):
    pass


class BundleBusy(BundleError):
    pass


class SignatureFailed(BundleError):
    pass


class ArchiveRefused(BundleError):
    pass


class Untrusted(BundleError):
    pass


class ExportError(PipelineError):
    pass


class BackendUnavailable(PipelineError):
    pass


class BackendFailed(PipelineError):
    pass


class WorkerDied(BackendFailed):
    pass


class WorkerHung(WorkerDied):
    pass


class VerdictFailed(PipelineError):
    pass
