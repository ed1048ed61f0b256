"""Kinds of records: each is a file of a bundle and the type of its lines, and is read in one way.

A line whose checksum holds may still not fit: another version of this program wrote it, or other hands. It is passed
over, so that the others stand, and reports say how many were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from export.bundle.encoding import from_json
from export.bundle.types import Environment

if TYPE_CHECKING:
    from export.bundle.store import Bundle

T = TypeVar("T")


class Records(Protocol):
    """The part of a bundle that is read here."""

    def read(self, kind: str) -> list[Any]: ...


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One file of records."""

    name: str
    """Of records/<name>.jsonl."""
    type: type[T]
    check: Callable[[T], None] | None = None
    """Raises ValueError for a record of the right type that no reader could make sense of."""

    def read(self, bundle: Records) -> list[T]:
        """The records that fit, oldest first."""
        return self._fitting(bundle.read(self.name))

    def unfit(self, bundle: Records) -> int:
        """How many do not."""
        values = bundle.read(self.name)
        return len(values) - len(self._fitting(values))

    def _fitting(self, values: list[Any]) -> list[T]:
        found = []
        for value in values:
            try:
                record = from_json(self.type, value)
                if self.check is not None:
                    self.check(record)
            except ValueError:
                continue
            found.append(record)
        return found


def need(holds: object, what: str) -> None:
    """Raises ValueError, which says `what` was expected, where that does not hold."""
    if not holds:
        raise ValueError(f"{what} was expected")


ENVIRONMENTS = Kind("environment", Environment)


def environments(bundle: Bundle) -> dict[str, Environment]:
    """Those that a bundle knows, by id: the payload's own, and those that were recorded since."""
    return {e.id: e for e in (*ENVIRONMENTS.read(bundle), bundle.manifest.environment)}
