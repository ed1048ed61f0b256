"""onnxruntime-web's two files: fetched once with npm, held to the digests that we ship, kept in the user's cache."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from export.bundle.errors import BackendUnavailable
from export.bundle.files import write_atomic

TEMPLATES = Path(__file__).parent / "_web"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
LONGEST = 540
"""Seconds that npm may take."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """The release of onnxruntime-web that pages are written for."""

    version: str
    files: dict[str, str]
    """File of its dist/ → digest, as npm writes them: "sha512-…" in base64."""


@cache
def release() -> Release:
    return Release(**json.loads((TEMPLATES / "runtime.json").read_text("utf-8")))


def cache_folder() -> Path:
    """Where the files are kept between calls."""
    from platformdirs import user_cache_path

    return user_cache_path("pipeline") / "onnxruntime-web" / release().version


def missing(folder: Path | None) -> str | None:
    """Why the files cannot be had, in one sentence with the remedy; `folder` is --runtime."""
    if folder is not None:
        if wrong := wrong_in(folder):
            return f"{folder}: {wrong}; name the dist folder of onnxruntime-web {release().version} with --runtime"
        return None
    if wrong_in(cache_folder()) and shutil.which("npm") is None:
        return (
            f"its runtime, onnxruntime-web {release().version}, is fetched with npm, which is not here; "
            f"install Node.js, or name a folder that holds {MODULE} and {WASM} with --runtime"
        )
    return None


def wrong_in(folder: Path) -> str | None:
    """What a folder lacks to be the runtime's; None where it holds both files, whole and of the right release."""
    for name, digest in release().files.items():
        try:
            found = integrity((folder / name).read_bytes())
        except OSError:
            return f"holds no {name}"
        if found != digest:
            return f"{name} is not that of onnxruntime-web {release().version}"
    return None


def integrity(data: bytes) -> str:
    """ "sha512-…", as npm's lock file writes a digest."""
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def files(folder: Path | None) -> dict[str, bytes]:
    """Name → bytes, from `folder`, else from the cache, filled with npm where it is not. Raises BackendUnavailable."""
    if reason := missing(folder):
        raise BackendUnavailable(f"web: {reason}")
    if folder is None:
        folder = cache_folder()
        if wrong_in(folder):
            _fetch(folder)
    return {name: (folder / name).read_bytes() for name in release().files}


def _fetch(folder: Path) -> None:
    """`npm ci` by our lock file, which holds every package to its sha512; no script of a package is run."""
    with tempfile.TemporaryDirectory(prefix="onnxruntime-web.") as name:
        work = Path(name)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(TEMPLATES / file, work / file)
        _npm(work)
        dist = work / "node_modules" / "onnxruntime-web" / "dist"
        if wrong := wrong_in(dist):
            raise BackendUnavailable(f"web: npm gave another onnxruntime-web: {wrong}")
        for file in release().files:
            write_atomic(folder / file, (dist / file).read_bytes())


def _npm(work: Path) -> None:
    words = [str(shutil.which("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(
            words, cwd=work, capture_output=True, text=True, timeout=LONGEST, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendUnavailable(f"web: npm cannot fetch onnxruntime-web: {error}") from error
    if done.returncode:
        raise BackendUnavailable(
            f"web: npm cannot fetch onnxruntime-web {release().version}: {_reason(done.stderr)}; "
            "or name a folder that holds its files with --runtime"
        )


def _reason(stderr: str) -> str:
    """The line of npm's own words that says most."""
    lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines() if line.startswith("npm error")]
    told = [line for line in lines if line and line.split()[0] not in ("code", "errno", "syscall")]
    return next(iter(told or lines), "it gave no reason").rstrip(".")
