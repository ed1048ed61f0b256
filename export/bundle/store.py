"""A bundle on disk: an immutable payload with its manifest, and records that are only ever added to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from export.bundle.errors import BundleCorrupt, BundleTooNew, NoBundle, Untrusted
from export.bundle.files import canonical_json, digest_of, inside, sha256_of_bytes, sha256_of_file
from export.bundle.trust import sealed_here
from export.bundle.types import (
    Artifact,
    DatasetFacts,
    Environment,
    EpochRecord,
    Json,
    Preprocess,
    Published,
    Recipe,
    Task,
    TensorSpec,
    from_json,
    to_json,
)

SCHEMA = 1
MANIFEST = "manifest.json"
CHECKSUM, CHECKSUM_BYTES = re.compile(rb'\{"checksum":"[0-9a-f]{64}",'), 79
"""What a line of records begins with, and how long that is."""
EXECUTABLE = ("exported_program", "torchscript", "aotinductor", "tensorrt")
"""Formats that run code of their own when they are opened."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the weights came about; empty figures for a model that was not trained here."""

    recipe: Recipe | None
    seed: int
    seconds: float
    metrics: Mapping[str, float]
    history: tuple[EpochRecord, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage that ran: the digest of its inputs, and what it left."""

    key: str
    files: Mapping[str, str]
    """Path inside payload/ → sha256."""
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the payload holds and where it came from."""

    schema: int
    model: str
    task: Task
    description: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: Preprocess
    labels: tuple[str, ...]
    published: Published | None
    dataset: DatasetFacts
    training: Training
    artifacts: tuple[Artifact, ...]
    stages: Mapping[str, Json]
    """Stage name → StageRecord."""
    environment: Environment
    created: str
    """UTC, ISO 8601."""
    variant: str = ""
    """ModelSpec.variant: "width=5000", what is set otherwise than the model's defaults."""

    @property
    def title(self) -> str:
        """Model and variant, as a report is headed."""
        return f"{self.model} {self.variant}".strip()

    @property
    def files(self) -> dict[str, str]:
        """Path inside payload/ → sha256, of every file but the manifest."""
        return {name: sha for stage in self.stages.values() for name, sha in stage["files"].items()}


def manifest_bytes(manifest: Manifest) -> bytes:
    """The file's bytes: indented JSON that ends with the digest of everything else in it."""
    value = to_json(manifest)
    return json.dumps(value | {"digest": digest_of(value)}, indent=1, ensure_ascii=False).encode() + b"\n"


def record_body(line: bytes) -> dict[str, Any] | None:
    """What a line of records holds, "payload" and "record"; None where it is cut short or any byte of it was changed.

    A line is `{"checksum":"<sha256>",` and the rest of its body in canonical JSON; the checksum is that of the body's
    bytes, `{` and the rest, so that a change which leaves the values alone (an escape, an exponent) is one too.
    """
    rest = line[CHECKSUM_BYTES:]
    if not CHECKSUM.fullmatch(line[:CHECKSUM_BYTES]) or sha256_of_bytes(b"{" + rest).encode() != line[13:77]:
        return None
    try:
        body: dict[str, Any] = json.loads(b"{" + rest)
        return body if {"payload", "record"} <= body.keys() else None
    except (ValueError, RecursionError):
        return None


def read_manifest(payload: Path) -> tuple[Manifest, str]:
    """The manifest of `payload` and its digest; raises NoBundle, BundleCorrupt or BundleTooNew."""
    path = payload / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NoBundle(
            f"{payload.parent}: no bundle there ({error.strerror}: {MANIFEST}); make one with `pipeline train-export`"
        ) from error
    try:
        value = json.loads(data)
        schema = value["schema"]
        digest = value.pop("digest")
        found = digest_of(value)  # a number too large for JSON is no number: a ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleCorrupt(f"{path}: is cut off or damaged; run `pipeline train-export` again") from error
    if isinstance(schema, int) and schema > SCHEMA:
        raise BundleTooNew(f"{path}: has schema {schema}, this version reads up to {SCHEMA}; upgrade pipeline")
    if found != digest:
        raise BundleCorrupt(f"{path}: was changed after it was written (its digest does not match); make it again")
    try:
        manifest = from_json(Manifest, value)
        for stage in manifest.stages.values():
            from_json(StageRecord, stage)
    except ValueError as error:
        raise BundleCorrupt(f"{path}: {error}") from error
    return manifest, digest


def is_bundle(root: Path) -> bool:
    """Whether a bundle lies at `root`, sound or not."""
    return (root / "payload" / MANIFEST).is_file()


class Bundle:
    """An opened bundle. Its manifest is checked at once, every other file when it is first asked for."""

    def __init__(self, root: Path, *, trust: bool = False) -> None:
        self.root = root
        self.trust = trust
        self._checked: set[str] = set()

    @classmethod
    def open(cls, root: Path, *, trust: bool = False) -> Bundle:
        """The bundle at `root`; `trust` opens executable forms of a bundle that was not made here."""
        bundle = cls(root, trust=trust)
        _ = bundle.manifest
        return bundle

    @property
    def payload(self) -> Path:
        return self.root / "payload"

    @property
    def records(self) -> Path:
        return self.root / "records"

    @cached_property
    def _read(self) -> tuple[Manifest, str]:
        return read_manifest(self.payload)

    @property
    def manifest(self) -> Manifest:
        return self._read[0]

    @property
    def digest(self) -> str:
        """Digest of the manifest, and through it of every file in the payload."""
        return self._read[1]

    @property
    def program(self) -> Artifact | None:
        """model.pt2 in float32, by which every other form is judged."""
        forms = (a for a in self.artifacts if a.format == "exported_program" and a.precision == "float32")
        return next(forms, None)

    @property
    def graph(self) -> Artifact | None:
        """The float32 ONNX form; None where there is none."""
        return next((a for a in self.artifacts if a.format == "onnx" and a.precision == "float32"), None)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return self.manifest.artifacts

    @cached_property
    def made_here(self) -> bool:
        return sealed_here(self.root, self.digest)

    def file(self, name: str) -> Path:
        """The path of a file that the manifest names, its sha256 checked."""
        wanted = self.manifest.files.get(name)
        path = inside(self.payload, name)
        if wanted is None:
            raise BundleCorrupt(f"{path}: is not in the manifest; make the bundle again")
        if name not in self._checked:
            if not path.is_file():
                raise BundleCorrupt(f"{path}: is missing; make the bundle again with `pipeline train-export`")
            if sha256_of_file(path) != wanted:
                raise BundleCorrupt(f"{path}: is not what the manifest says (sha256 differs); make the bundle again")
            self._checked.add(name)
        return path

    def check(self) -> None:
        """Every file against its sha256; raises BundleCorrupt for the first that is missing or changed."""
        for name in self.manifest.files:
            self.file(name)

    def resolve(self, artifact: Artifact) -> Artifact:
        """The artifact with an absolute path, its sha256 checked and, where it is executable, its origin."""
        path = self.file(artifact.path)
        if artifact.format in EXECUTABLE and not (self.made_here or self.trust):
            raise Untrusted(
                f"{path}: can run code of its own and this bundle was not made here; "
                "add --trust if you trust where it came from, or --public-key to check who signed it"
            )
        return replace(artifact, path=str(path.resolve()))

    def append(self, kind: str, record: Mapping[str, Any]) -> None:
        """Adds one record to records/<kind>.jsonl: whole and on the disk when this returns, or not there at all."""
        body = {"payload": self.digest, "record": to_json(record)}
        line = canonical_json(body | {"checksum": digest_of(body)}) + b"\n"
        self.records.mkdir(parents=True, exist_ok=True)
        path = self.records / f"{kind}.jsonl"
        with path.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size and (stream.seek(size - 1), stream.read(1))[1] != b"\n":
                line = b"\n" + line
            try:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(size)
                raise

    def missing_files(self) -> list[str]:
        """Files of the manifest that are not there, by their path in the payload."""
        return [a.path for a in self.manifest.artifacts if not (self.payload / a.path).is_file()]

    def damaged(self) -> list[str]:
        """Lines of the records that are left out, as "measurement.jsonl line 3": cut short, or changed afterwards."""
        found = []
        for path in sorted(self.records.glob("*.jsonl")):
            for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
                if line and record_body(line) is None:
                    found.append(f"{path.name} line {number}")
        return found

    def read(self, kind: str) -> list[dict[str, Any]]:
        """The intact records of this payload, oldest first; a line that a kill cut short is passed over."""
        path = self.records / f"{kind}.jsonl"
        if not path.is_file():
            return []
        bodies = map(record_body, path.read_bytes().split(b"\n"))
        return [body["record"] for body in bodies if body is not None and body["payload"] == self.digest]
