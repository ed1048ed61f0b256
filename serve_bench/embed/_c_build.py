"""Building the C app and asking it, where a compiler, CMake, ONNX Runtime's headers and library are at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.app import LABEL
from export.bundle.errors import BackendFailed, BackendUnavailable, BundleError
from serve_bench.embed._base import EmbedOptions, Kit

HEADER = "onnxruntime_c_api.h"
INCLUDE, LIBRARY = "ONNXRUNTIME_INCLUDE", "ONNXRUNTIME_LIB"
"""Environment variables: the folder of the header; the library or its folder."""
STANDARD = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/include", "/usr/local/include")
LIMIT_S = 300


def toolchain() -> tuple[Path, Path]:
    """Folder of ONNX Runtime's header, and its library: from the environment, standard places, the Python package.

    Raises BackendUnavailable that says what is missing and how to name it.
    """
    for tool in ("cmake", "cc"):
        if shutil.which(tool) is None:
            raise BackendUnavailable(f"c: {tool} is not installed; install it with a C compiler and CMake")
    include = next((p for p in _includes() if (p / HEADER).is_file()), None)
    if include is None:
        raise BackendUnavailable(
            f"c: {HEADER} was not found; install libonnxruntime-dev, or set {INCLUDE} to its folder"
        )
    library = next((p for p in _libraries() if p.is_file()), None)
    if library is None:
        raise BackendUnavailable(f"c: ONNX Runtime's library was not found; set {LIBRARY} to libonnxruntime.so")
    return include, library


def _includes() -> Iterable[Path]:
    if INCLUDE in os.environ:
        return [Path(os.environ[INCLUDE])]
    return [Path(name) for name in STANDARD]


def _libraries() -> list[Path]:
    if LIBRARY in os.environ:
        named = Path(os.environ[LIBRARY])
        return sorted(named.glob("libonnxruntime.so*")) if named.is_dir() else [named]
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "capi"
    return [*sorted(folder.glob("libonnxruntime.so*")), *sorted(folder.glob("libonnxruntime*.dylib"))]


def build(kit: Kit, folder: Path, include: Path, library: Path, *, sanitize: bool = False) -> Path:
    """Writes the app to `folder`, which is new or empty, builds it there, and returns the program.

    Raises BackendUnavailable where this model has no C app, BackendFailed with the build's own words where it fails.
    """
    from serve_bench.embed.c import C

    target, options = C(), EmbedOptions()
    if reason := target.missing(kit, options):
        raise BackendUnavailable(f"c: {reason}")
    folder.mkdir(parents=True, exist_ok=True)
    target.write(kit, options, folder)
    made = folder / "build"
    places = [f"-DONNXRUNTIME_INCLUDE={include}", f"-DONNXRUNTIME_LIB={library}"]
    _run("cmake", "-S", folder, "-B", made, *places, f"-DSANITIZE={'ON' if sanitize else 'OFF'}")
    _run("cmake", "--build", made, "--parallel")
    return made / "answer"


def _run(*words: object) -> None:
    try:
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendFailed(f"c: {' '.join(map(str, words[:2]))}: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
        raise BackendFailed(f"c: {words[0]} ended with status {done.returncode}: {said.strip()[:300]}")


def answers(program: Path, kit: Kit, batch: int = 64) -> dict[str, npt.NDArray[np.generic]]:
    """What the program answers to the golden samples, right or wrong, `batch` at a time: (N, …) float32 by output,
    "label" (N,) int64.

    Raises BackendFailed where it does not answer them all.
    """
    from serve_bench.embed.c import write_golden

    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / "golden"
        write_golden(kit.golden, kit.app, golden)
        words = [str(program), "--model", kit.app.path, "--golden", str(golden), "--show", "--batch", str(batch)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendFailed(f"c: {program}: {error}") from error
    lines = done.stdout.splitlines()
    if len(lines) != kit.golden.samples:
        said = done.stderr.strip().splitlines()
        raise BackendFailed(f"c: {program}: {said[-1] if said else f'ended with status {done.returncode}'}")
    return _arrays([json.loads(line) for line in lines], kit)


def _arrays(rows: list[dict[str, object]], kit: Kit) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[str, npt.NDArray[np.generic]] = {}
    for spec in kit.app.outputs:
        values = np.array([row[spec.name] for row in rows], np.int64 if spec.name == LABEL else np.float64)
        if spec.name == LABEL:
            found[spec.name] = values
            continue
        truth = kit.golden.outputs[spec.name]
        if values.size != truth.size:
            raise BundleError(f"c: {spec.name} has shape {values.shape}, the golden answers {truth.shape}")
        found[spec.name] = values.astype(np.float32).reshape(truth.shape)
    return found
