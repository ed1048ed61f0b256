"""Where a bundle is built: stages keyed by a digest of their inputs, published in one rename.

A stage writes its files into `.work/payload/` and is then entered in `.work/stages.json`; what a kill leaves
half-written is in no entry, so the next run makes it again and keeps the rest. `publish` adds the manifest and
renames the folder to `payload/`, which is never written to again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from export.bundle.errors import BundleError
from export.bundle.files import atomic, inside, locked, sha256_of_file, write_atomic
from export.bundle.store import MANIFEST, Bundle, Manifest, StageRecord, manifest_bytes, read_manifest
from export.bundle.trust import seal
from export.bundle.types import Json, from_json, to_json


class Workspace:
    """The building place of one bundle; made by `workspace(root)`, which holds its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".work"
        self.payload = self.folder / "payload"
        self.checkpoints = self.folder / "checkpoints"
        """Training's own place; goes when the bundle is published."""
        self._stages: dict[str, StageRecord] = {}
        self._published: dict[str, StageRecord] = {}

    def _recover(self) -> None:
        old = self.root / ".payload.old"
        if old.is_dir() and not (self.root / "payload").is_dir():
            old.rename(self.root / "payload")
        shutil.rmtree(old, ignore_errors=True)
        for temporary in self.folder.rglob(".*.tmp*"):
            with suppress(OSError):
                temporary.unlink()
        with suppress(BundleError):
            manifest, _ = read_manifest(self.root / "payload")
            self._published = {n: from_json(StageRecord, s) for n, s in manifest.stages.items()}
        with suppress(OSError, ValueError, AttributeError):
            stored = json.loads((self.folder / "stages.json").read_bytes())
            self._stages = {n: from_json(StageRecord, s) for n, s in stored.items()}

    def reuse(self, stage: str, key: str) -> StageRecord | None:
        """The stage's record where it ran with exactly these inputs and its files are whole; else None."""
        record = self._stages.get(stage)
        if record and record.key == key and self._whole(self.payload, record):
            return record
        record = self._published.get(stage)
        if record and record.key == key and self._whole(self.root / "payload", record):
            return record
        return None

    @staticmethod
    def _whole(folder: Path, record: StageRecord) -> bool:
        paths = {inside(folder, name): sha for name, sha in record.files.items()}
        return all(path.is_file() and sha256_of_file(path) == sha for path, sha in paths.items())

    def find(self, name: str) -> Path:
        """Where a file of a finished stage lies now."""
        path = inside(self.payload, name)
        return path if path.is_file() else inside(self.root / "payload", name)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary name for payload/<name>, renamed to it where the block ends without an error."""
        with atomic(inside(self.payload, name)) as temporary:
            yield temporary

    def commit(self, stage: str, key: str, names: Sequence[str], facts: Mapping[str, Json]) -> StageRecord:
        """Enters a stage whose files have all been written."""
        files = {name: sha256_of_file(inside(self.payload, name)) for name in names}
        self._stages[stage] = StageRecord(key=key, files=files, facts=dict(facts))
        write_atomic(self.folder / "stages.json", json.dumps(to_json(self._stages), ensure_ascii=False).encode())
        return self._stages[stage]

    def publish(self, stages: Mapping[str, StageRecord], make: Any) -> Bundle:
        """Makes payload/ hold exactly `stages` and returns the bundle; `make(stages)` gives the Manifest.

        Nothing is written where payload/ holds just these stages already.
        """
        final = self.root / "payload"
        if dict(stages) == self._published and all(self._whole(final, s) for s in stages.values()):
            shutil.rmtree(self.folder, ignore_errors=True)
            return Bundle.open(self.root)
        wanted = {name for record in stages.values() for name in record.files}
        for name in wanted:
            self._bring(name)
        for path in sorted(self.payload.rglob("*")):
            if path.is_file() and path.relative_to(self.payload).as_posix() not in wanted:
                path.unlink()
        manifest: Manifest = make(stages)
        write_atomic(self.payload / MANIFEST, manifest_bytes(manifest))
        _, digest = read_manifest(self.payload)
        old = self.root / ".payload.old"
        seal(self.root, digest)
        if final.exists():
            final.rename(old)
        self.payload.rename(final)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Bundle.open(self.root)

    def _bring(self, name: str) -> None:
        path, published = inside(self.payload, name), inside(self.root / "payload", name)
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(published, path)
        except OSError:
            with atomic(path) as temporary:
                shutil.copyfile(published, temporary)


def check_writable(folder: Path) -> None:
    """Raises BundleError where nothing could be written into `folder`, which is not made by this."""
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not place.is_dir():
        raise _unwritable(folder, errno.ENOTDIR)
    if not os.access(place, os.W_OK | os.X_OK):
        raise _unwritable(folder, errno.EACCES)


def _unwritable(folder: Path, number: int | None) -> BundleError:
    why = os.strerror(number or errno.EIO)
    return BundleError(f"{folder}: cannot be written ({why}); choose another folder with --out")


@contextmanager
def workspace(root: Path) -> Iterator[Workspace]:
    """The building place of the bundle at `root`; raises BundleBusy where another run holds it."""
    check_writable(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(root, error.errno) from error
    with locked(root):
        place = Workspace(root)
        place._recover()
        yield place
