"""Is every byte of a bundle as it was written? Nothing is opened that could run, and no heavy library is imported.

Checked are the bytes of the manifest, every file of payload/ against the manifest's sha256, and every line of records/
against its own checksum. A checksum is no signature: who changes a line can change its checksum too, and whole lines
that were taken out leave no gap. A signature (`export.bundle.signing`) covers payload/, not records/.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from export.bundle.errors import BundleCorrupt
from export.bundle.files import sha256_of_file
from export.bundle.store import MANIFEST, Manifest, read_manifest, record_body

Kind = Literal["changed", "added", "missing", "swapped", "damaged"]
PAYLOAD, RECORDS = "payload", "records"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it was written."""

    path: str
    """POSIX path inside the bundle; of a line "records/measurement.jsonl line 3", counted from 1."""
    kind: Kind
    reason: str
    """What is wrong: a sentence without its subject, which is the path."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """What a check of a whole bundle found."""

    digest: str
    """Of the manifest; empty where that is damaged."""
    files: int
    """Of payload/, the manifest among them."""
    records: int
    """Lines of records/, the damaged ones among them."""
    earlier: int
    """Of them, those that belong to another payload: one that was published here earlier."""
    findings: tuple[Finding, ...]
    """By kind of file and path; empty where all is as it was written."""

    def raise_for_findings(self, root: Path) -> None:
        """Raises BundleCorrupt, which names every finding on one line."""
        if self.findings:
            raise BundleCorrupt(f"{root}: is not as it was written: {'; '.join(map(str, self.findings))}")


def check_integrity(root: Path) -> Integrity:
    """Every file of payload/ and every line of records/ of the bundle at `root`.

    Raises BundleError where there is no manifest and BundleTooNew where it is one of a later version; whatever else is
    wrong is a finding.
    """
    manifest, digest, findings = _manifest(root)
    found, unread = digests(root / PAYLOAD)
    findings += unread
    if manifest is not None:
        findings += compare(manifest.files, {n: sha for n, sha in found.items() if n != MANIFEST})
    lines = earlier = 0
    for path in _record_paths(root):
        checked = check_records(root, path, digest)
        lines, earlier = lines + checked.lines, earlier + checked.earlier
        findings += checked.findings
    return Integrity(
        digest=digest, files=len(found), records=lines, earlier=earlier, findings=tuple(dict.fromkeys(findings))
    )


def check_file(root: Path, name: str, manifest: Manifest, digest: str) -> list[Finding]:
    """What `check_integrity` finds in one file, `name` its path inside the bundle, where all others are whole.

    `manifest` and its `digest` are those of the bundle before the file was touched.
    """
    folder, _, rest = name.partition("/")
    if folder == RECORDS:
        return list(check_records(root, root / name, digest).findings)
    if rest == MANIFEST:
        return _manifest(root)[2]
    wanted = {rest: manifest.files[rest]} if rest in manifest.files else {}
    found, unread = digests(root / PAYLOAD, only=rest)
    return unread + compare(wanted, found)


def _manifest(root: Path) -> tuple[Manifest | None, str, list[Finding]]:
    """The manifest, its digest and what is wrong with its bytes; None and "" where it cannot be read."""
    path, name = root / PAYLOAD / MANIFEST, f"{PAYLOAD}/{MANIFEST}"
    try:
        manifest, digest = read_manifest(root / PAYLOAD)
    except BundleCorrupt as error:
        reason = str(error).removeprefix(f"{path}: ").partition(";")[0]
        return None, "", [Finding(path=name, kind="changed", reason=reason)]
    findings = []
    data = path.read_bytes()
    if json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode() + b"\n" != data:
        reason = "says what it said, but its bytes were changed (spaces, escapes or the writing of a number)"
        findings.append(Finding(path=name, kind="changed", reason=reason))
    for artifact in manifest.artifacts:
        if manifest.files.get(artifact.path) != artifact.sha256:
            reason = f"gives {artifact.path} two different sha256"
            findings.append(Finding(path=name, kind="changed", reason=reason))
    return manifest, digest, findings


def digests(payload: Path, only: str | None = None) -> tuple[dict[str, str], list[Finding]]:
    """POSIX path inside `payload` → sha256 of every file (or of `only` that one), and what is no file: links, devices.

    No link is followed.
    """
    found: dict[str, str] = {}
    findings = []
    names = [only] if only is not None else sorted(_walk(payload))
    for name in names:
        path = payload / name
        if not os.path.lexists(path):
            continue
        if stat.S_ISREG(path.lstat().st_mode):
            found[name] = sha256_of_file(path)
        else:
            what = "is a link" if path.is_symlink() else "is no regular file"
            findings.append(Finding(path=f"{PAYLOAD}/{name}", kind="added", reason=f"{what}, and a payload holds none"))
    return found, findings


def _walk(payload: Path) -> Iterator[str]:
    """Paths of everything below `payload` that is no folder; links to folders are not followed."""
    for folder, folders, files in os.walk(payload):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            yield (Path(folder) / name).relative_to(payload).as_posix()


def compare(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[Finding]:
    """How two lists of files, name → sha256, differ; a file that has another's content is told from a changed one."""
    by_sha = {sha: name for name, sha in sorted(wanted.items(), reverse=True)}
    missing = [name for name in wanted if name not in found]
    findings = []

    def add(name: str, kind: Kind, reason: str) -> None:
        findings.append(Finding(path=f"{PAYLOAD}/{name}", kind=kind, reason=reason))

    for name in sorted(missing):
        add(name, "missing", "is missing")
    for name in sorted(found):
        other = by_sha.get(found[name])
        if name not in wanted:
            add(name, "added", f"was added; it is the missing {other}" if other in missing else "was added")
        elif found[name] != wanted[name]:
            if other is not None and found.get(other) == wanted[name]:
                add(name, "swapped", f"was swapped with {other}")
            elif other is not None:
                add(name, "changed", f"was changed: it is a copy of {other}")
            else:
                add(name, "changed", "was changed: its sha256 is another")
    return findings


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What a check of one file of records found."""

    lines: int = 0
    earlier: int = 0
    """Lines of another payload."""
    findings: tuple[Finding, ...] = ()


def _record_paths(root: Path) -> list[Path]:
    return [root / RECORDS / name for name in sorted(_walk(root / RECORDS))]


def check_records(root: Path, path: Path, digest: str) -> Lines:
    """Every line of one file below records/, byte by byte; `digest` is the payload's, "" where it is not known."""
    name = path.relative_to(root).as_posix()
    if path.is_symlink() or not path.is_file() or path.suffix != ".jsonl" or path.parent != root / RECORDS:
        reason = "is not a file of records, and its bytes are covered by no checksum"
        return Lines(findings=(Finding(path=name, kind="added", reason=reason),))
    *lines, rest = path.read_bytes().split(b"\n")
    earlier, findings = 0, []
    for number, line in enumerate(lines, 1):
        body = record_body(line)
        if body is None:
            reason = "is damaged: its checksum is not that of its bytes" if line else "is empty: a line was cut out"
            findings.append(Finding(path=f"{name} line {number}", kind="damaged", reason=reason))
        elif digest and body["payload"] != digest:
            earlier += 1
    if rest:
        reason = "is cut short: it ends without a newline"
        findings.append(Finding(path=f"{name} line {len(lines) + 1}", kind="damaged", reason=reason))
    return Lines(lines=len(lines) + bool(rest), earlier=earlier, findings=tuple(findings))
