"""A bundle as one file, and which names such a file may hold.

It is a zip whose members are stored, not compressed: sorted by name, all of one time and mode. Its bytes depend on the
bundle's files alone. A deflate stream would also depend on the zlib that wrote it, and weights hardly shrink; a zip
also has no hard links, devices or extended headers to guard against, and opens on every system.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from export.bundle.errors import ArchiveRefused, BundleCorrupt, UsageError
from export.bundle.files import atomic, sha256_of_file
from export.bundle.integrity import PAYLOAD, RECORDS, check_integrity
from export.bundle.signing import SIGNATURE, stale
from export.bundle.store import MANIFEST

SUFFIX = ".zip"
MANIFEST_MEMBER = f"{PAYLOAD}/{MANIFEST}"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: every member's."""
MODE = stat.S_IFREG | 0o644
REPORTS = re.compile(r"report\.(html|md|json|csv)|verification\.json")
"""Files beside payload/ that are made from records and go with them."""
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, whatever their suffix."""
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
"""Characters that no Windows file name holds, or that end a name or a line."""
LONGEST_PART, LONGEST_NAME = 255, 1024
"""Of one part of a path, bytes that common file systems hold; of a whole path, letters that are taken here."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """An archive that was written."""

    archive: str
    """Its path."""
    sha256: str
    bytes: int
    members: int
    signed: bool
    """Whether a signature went along."""


def pack(root: Path, output: Path, *, with_records: bool = True) -> Packed:
    """Writes the bundle at `root` into `output`: payload/, its signature and, where asked for, records and reports.

    The seal of this machine, checkpoints and whatever else lies there stays behind. Raises BundleCorrupt where what
    would go in is not as it was written, or is not what the signature lists; UsageError where `output` would lie in it.
    """
    _refuse_damaged(root, with_records=with_records)
    resolved = output.resolve()
    if output.is_dir() or any(resolved.is_relative_to((root / part).resolve()) for part in (PAYLOAD, RECORDS)):
        raise UsageError(f"{output}: is a folder, or lies inside the bundle; name a file elsewhere with --output")
    members = {name: root / name for name in _members(root, with_records=with_records)}
    if refused := refusal(members):
        raise BundleCorrupt(f"{root}: cannot be packed: {refused}")
    with atomic(output) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, path in members.items():
                _add(archive, name, path)
        sha256, size = sha256_of_file(temporary), temporary.stat().st_size
    return Packed(archive=str(output), sha256=sha256, bytes=size, members=len(members), signed=SIGNATURE in members)


def _refuse_damaged(root: Path, *, with_records: bool) -> None:
    found = check_integrity(root).findings
    payload = [finding for finding in found if finding.path.startswith(f"{PAYLOAD}/")]
    records = [finding for finding in found if finding not in payload]
    if payload:
        raise BundleCorrupt(f"{root}: is not packed, for it is not whole: {'; '.join(map(str, payload))}")
    if records and with_records:
        said = "; ".join(map(str, records))
        raise BundleCorrupt(f"{root}: is not packed, for its records are not whole (--without-records packs): {said}")
    if (root / SIGNATURE).exists() and (other := stale(root)):
        said = "; ".join(map(str, other))
        raise BundleCorrupt(f"{root / SIGNATURE}: is of another payload, sign again or take it away: {said}")


def _members(root: Path, *, with_records: bool) -> list[str]:
    """Names in the archive, sorted by their bytes: what `allowed` lets in and is a regular file."""
    folders = (PAYLOAD, RECORDS) if with_records else (PAYLOAD,)
    found = [path.relative_to(root).as_posix() for folder in folders for path in (root / folder).rglob("*")]
    found += [name for name in os.listdir(root) if name == SIGNATURE or (with_records and REPORTS.fullmatch(name))]
    return sorted((name for name in found if stat.S_ISREG((root / name).lstat().st_mode)), key=str.encode)


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    info = zipfile.ZipInfo(name, EARLIEST)
    info.create_system = 3  # Unix, whatever system this is: the attributes are a Unix mode
    info.external_attr = MODE << 16
    info.file_size = path.stat().st_size
    with path.open("rb") as source, archive.open(info, "w") as member:
        shutil.copyfileobj(source, member, 1 << 20)


def refusal(names: Iterable[str]) -> str:
    """Why a set of member names cannot be unpacked everywhere, naming the first; empty where it can.

    Refused are names that lead out, are absolute, name a drive or a device, belong to no bundle, stand twice, or differ
    only by case or by how Unicode composes their letters.
    """
    seen: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for name in names:
        why = _bad_name(name)
        if why:
            return f"{name!r} {why}"
        if name in files:
            return f"{name!r} stands in it twice"
        parts = name.split("/")
        paths = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        for path in paths:
            other = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
            if other != path:
                return f"{path!r} and {other!r} are one name where case or composition does not count"
        files.add(name)
        folders.update(paths[:-1])
        if both := files.intersection(paths) & folders:
            return f"{min(both)!r} is both a file and a folder"
    return ""


def _bad_name(name: str) -> str:
    """What is wrong with one member's name, as a predicate; empty where nothing is."""
    parts = name.split("/")
    if name.startswith("/"):
        return "is an absolute path"
    if re.match(r"[A-Za-z]:", name):
        return "names a drive"
    if ".." in parts or "\\" in name:
        return "leads out of the folder"
    if FORBIDDEN.search(name) or any(part in ("", ".") or part != part.rstrip(". ") for part in parts):
        return "is a name that not every system can hold"
    if any(RESERVED.fullmatch(part) for part in parts):
        return "is a name that is a device on Windows"
    if len(name.encode(errors="replace")) > LONGEST_NAME or any(
        len(p.encode(errors="replace")) > LONGEST_PART for p in parts
    ):
        return "is too long a name"
    return "" if allowed(name) else "belongs to no archive of a bundle"


def allowed(name: str) -> bool:
    """Whether a bundle's archive may hold a member of this name."""
    top, _, rest = name.partition("/")
    if rest:
        return top == PAYLOAD or (top == RECORDS and "/" not in rest and rest.endswith(".jsonl"))
    return name == SIGNATURE or bool(REPORTS.fullmatch(name))


def refuse(archive: Path, why: str) -> ArchiveRefused:
    """The one line on an archive that is not unpacked."""
    return ArchiveRefused(f"{archive}: {why}; nothing was unpacked")
