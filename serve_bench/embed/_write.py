"""Writing an app: whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import cast

from export.bundle.errors import BackendUnavailable, UsageError
from export.bundle.store import Bundle
from export.registry import entries, entry
from serve_bench.embed._base import EmbedOptions, Target, kit_of

PACKAGE = "serve_bench.embed"


MARK = ".pipeline-embed"
"""A file in every app's folder: only a folder with it is ever replaced."""


def _may_replace(out: Path, *, force: bool) -> None:
    """Raises UsageError where the folder holds what no app of ours is, or may not be replaced."""
    if not (out / MARK).is_file():
        raise UsageError(f"{out}: holds files that are no app of `pipeline embed`; name another folder with --out")
    if not force:
        raise UsageError(f"{out}: holds an app already; name another folder with --out, or replace it with --force")


def targets() -> dict[str, Target]:
    return cast("dict[str, Target]", entries(PACKAGE))


def check_options(target: str, options: EmbedOptions) -> Target:
    """The target of this name; raises UnknownName, and UsageError for an option that means nothing to it."""
    chosen = cast(Target, entry(PACKAGE, "target", target))
    for field in fields(options):
        if getattr(options, field.name) == field.default or field.name in chosen.heeds:
            continue
        owners = " or ".join(name for name, other in targets().items() if field.name in other.heeds)
        option = "--" + field.name.replace("_", "-")
        raise UsageError(f"{option} is of --target {owners}, not of {chosen.name}; leave it out")
    return chosen


def embed(bundle: Bundle, target: str, options: EmbedOptions, out: Path, *, force: bool = False) -> str:
    """Writes the app `target` around the bundle to the folder `out`, and returns what to type now.

    The folder is made beside its place and renamed, so that a failure leaves nothing. Raises UnknownName, UsageError
    for an option of another target and where `out` is a file, holds something else than an app, or holds one and
    `force` is not given; BackendUnavailable where the app cannot be written here.
    """
    chosen = check_options(target, options)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder with --out")
    if out.is_dir() and any(out.iterdir()):
        _may_replace(out, force=force)
    kit = kit_of(bundle)
    if reason := chosen.missing(kit, options):
        raise BackendUnavailable(f"{target}: {reason}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        made = Path(folder) / "app"
        made.mkdir()
        chosen.write(kit, options, made)
        (made / MARK).write_text(f"{target}: an app around {kit.manifest.title}, written by pipeline embed\n")
        if out.exists():
            out.rename(Path(folder) / "before")
        shutil.move(made, out)
    return chosen.first_steps(kit, options, out)
