"""An archive from anywhere becomes a bundle, or nothing at all is left of it.

Every member's name is judged before the first byte is written; what is written goes into a new folder beside the
target, is counted on the way, checked as a bundle, and only then renamed. No seal is made: executable forms of what was
unpacked need a signature or --trust.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export.bundle.archive import MANIFEST_MEMBER, SUFFIX, refusal, refuse
from export.bundle.errors import ArchiveRefused, BundleError, UsageError
from export.bundle.integrity import RECORDS, Integrity, check_integrity
from export.bundle.signing import SIGNATURE

MAX_SIZE = 8_000_000_000
"""Bytes that an archive may unpack to, unless told otherwise."""
MAX_MEMBERS = 10_000
DIRECTORY_BYTES = 16 << 20
"""Of the list of members no more is read: a longer one holds too many."""
CHUNK = 1 << 20
PARSED = {MANIFEST_MEMBER: 64_000_000, SIGNATURE: 64_000_000, RECORDS: 512_000_000}
"""Bytes that the manifest, the signature and a file of records may have: they are read into memory to be checked."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Deflate too, so that a bundle that another tool packed can be read; its output is taken in chunks."""
ENCRYPTED = 0x1
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OverflowError)
"""What `zipfile` raises where an archive is damaged."""


def unpack(
    archive: Path, out: Path, *, max_size: int = MAX_SIZE, public_key: Path | None = None
) -> tuple[Path, Integrity]:
    """The folder `out`/<name of the archive> with the bundle, and what its integrity check found: nothing.

    `max_size` is in bytes, of all members together. With `public_key` the signature must hold too. Raises
    ArchiveRefused, SignatureFailed or UsageError; nothing is then left, and nothing outside `out` is ever written.
    """
    name = archive.name.removesuffix(SUFFIX)
    target = out / name
    if refusal([f"payload/{name}"]):
        raise UsageError(f"{archive}: its name, without {SUFFIX}, is to name a folder; rename it")
    if os.path.lexists(target):
        raise UsageError(f"{target}: exists already; choose another folder with --out")
    with _opened(archive) as opened:
        members = _judged(archive, opened, max_size)
        with _folder_beside(target) as temporary:
            _write(archive, opened, members, temporary, max_size)
            found = _checked(archive, temporary, public_key)
            temporary.rename(target)
    return target, found


class _Bounded(io.BufferedReader):
    """A file of which no more than `DIRECTORY_BYTES` is read at once, whatever its header says."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0 or size > DIRECTORY_BYTES
        data = super().read(DIRECTORY_BYTES + 1 if whole else size)
        if len(data) > DIRECTORY_BYTES:
            raise ArchiveRefused("lists too many members")
        return data


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    if archive.is_dir():
        raise UsageError(f"{archive}: is a folder; `pipeline pack` makes an archive of it")
    try:
        raw = io.FileIO(archive)
    except OSError as error:
        raise UsageError(f"{archive}: cannot be read ({error.strerror})") from error
    with _Bounded(raw) as file:
        try:
            opened = zipfile.ZipFile(file)
        except ArchiveRefused as error:
            raise refuse(archive, str(error)) from error
        except BROKEN as error:
            file.seek(0)
            cut = file.read(4) == b"PK\x03\x04"
            why = "is cut off or damaged: copy it again" if cut else f"is no archive of `pipeline pack` (a {SUFFIX})"
            raise refuse(archive, why) from error
        with opened:
            yield opened


def _judged(archive: Path, opened: zipfile.ZipFile, max_size: int) -> list[zipfile.ZipInfo]:
    """The members that are files, every one of them fit to be written; raises ArchiveRefused."""
    every = opened.infolist()
    if len(every) > MAX_MEMBERS:
        raise refuse(archive, f"holds {len(every):,} members, more than {MAX_MEMBERS:,}")
    folders = [info.filename.rstrip("/") for info in every if info.is_dir()]
    files = [info for info in every if not info.is_dir()]
    if why := refusal(info.filename for info in files) or _outside(folders):
        raise refuse(archive, why)
    for info in every:
        if why := _refused(info):
            raise refuse(archive, f"{info.orig_filename!r} {why}")
    if sum(info.file_size for info in files) > max_size:
        raise refuse(archive, _too_large(max_size))
    if MANIFEST_MEMBER not in {info.filename for info in files}:
        raise refuse(archive, f"holds no bundle: {MANIFEST_MEMBER} is missing")
    return files


def _outside(folders: list[str]) -> str:
    """Why an entry for a folder is refused: as a file in it would be. Folders themselves are made for their files."""
    every = (refusal([f"{folder}/x.jsonl"]) for folder in folders)
    return next((why for why in every if why), "")


def _refused(info: zipfile.ZipInfo) -> str:
    """What is wrong with a member besides its name, as a predicate; empty where nothing is."""
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if info.orig_filename != info.filename and "\x00" in info.orig_filename:
        return "has a name with a NUL in it"
    if stat.S_ISLNK(mode):
        return "is a link"
    if kind and kind != (stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        return "is a device or another special file"
    if info.is_dir() and info.file_size:
        return "is a folder that holds bytes"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    name = info.filename
    if info.file_size > PARSED.get(name, PARSED.get(name.partition("/")[0], info.file_size)):
        return f"is too large: {info.file_size:,} bytes"
    return "" if info.compress_type in METHODS else "is compressed in a way that is not read here"


def _too_large(max_size: int) -> str:
    return f"unpacks to more than {max_size:,} bytes; --max-size sets another limit"


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, gone with all in it, and with folders made for it, where the block raises."""
    made = [folder for folder in target.parents if not folder.exists()]
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _write(archive: Path, opened: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, max_size: int) -> None:
    left = max_size
    for info in members:
        path = folder.joinpath(*info.filename.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            try:
                with opened.open(info) as member:
                    while chunk := member.read(CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise refuse(archive, _too_large(max_size))
                        file.write(chunk)
            except BROKEN as error:
                raise refuse(archive, f"is damaged at {info.filename!r}: copy it again") from error


def _checked(archive: Path, folder: Path, public_key: Path | None) -> Integrity:
    """Signature and integrity of what lies in `folder`; what is said of it names the archive."""
    try:
        if public_key is not None:
            from export.bundle.signing import check_signature

            check_signature(folder, public_key)
        found = check_integrity(folder)
        found.raise_for_findings(folder)
    except BundleError as error:
        words = str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")
        raise type(error)(f"{archive}: {words}; nothing was unpacked") from error
    return found
