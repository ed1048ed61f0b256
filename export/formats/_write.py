"""What every format does alike: silence, the library's own words, and the record of a written file."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from export.bundle.environment import versions
from export.bundle.errors import BundleError, ExportError, PipelineError
from export.bundle.files import sha256_of_file
from export.bundle.types import Artifact, Json, Precision
from export.formats._base import Source

CHATTER = (
    "torch.onnx",
    "torch.export",
    "torch._export",
    "torch._inductor",
    "torch.jit",
    "torch.utils.cpp_extension",
    "onnxscript",
    "onnx_ir",
)


def words_of(error: BaseException) -> str:
    """The library's own words in one line: the deepest cause that says something."""
    deepest: BaseException = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    for candidate in (deepest, error):
        lines = [line.strip() for line in str(candidate).splitlines() if line.strip()]
        if lines:
            text = " ".join(lines[:2])
            return f"{type(candidate).__name__}: {text[:400]}"
    return type(error).__name__


@contextmanager
def exporting(what: str) -> Iterator[None]:
    """Silences a library's warnings, logs and prints to stdout; its errors become one ExportError named `what`.

    stdout is closed off at the file descriptor, since exporters and native code print there; stderr, where progress is
    drawn, is left alone. A full disk is no property of the format: it raises BundleError.
    """
    loggers = [logging.getLogger(name) for name in CHATTER]
    levels = [logger.level for logger in loggers]
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PipelineError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BundleError(f"{what}: the disk is full; free some space, or choose another with --out") from error
        raise ExportError(f"{what}: {words_of(error)}") from error
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def producers(*names: str) -> dict[str, str]:
    """Library → version of those that wrote the file; of names that only one platform has, the one that is here."""
    known = versions()
    return {name: known[name] for name in names if name in known}


def parent_content(source: Source, needs: str) -> str:
    """`content` of the artifact made before; raises ExportError where it was not."""
    if needs not in source.files:
        raise ExportError(f"{needs} is not written yet; write the formats in the order that export.run.order gives")
    return source.files[needs][1].content


def record(
    source: Source,
    destination: Path,
    *,
    form: str,
    path: str,
    started: float,
    parent: str | None,
    libraries: Sequence[str],
    precision: Precision = "float32",
    target: str = "any",
    content: str | None = None,
    facts: Mapping[str, Json] | None = None,
) -> Artifact:
    """The Artifact of the file just written at `destination`; `started` is `time.perf_counter()` of its beginning."""
    sha256 = sha256_of_file(destination)
    return Artifact(
        format=form,
        precision=precision,
        target=target,
        path=path,
        sha256=sha256,
        content=content or sha256,
        bytes=destination.stat().st_size,
        parent=parent,
        producers=producers(*libraries),
        build_seconds=time.perf_counter() - started,
        inputs=source.trained.spec.inputs,
        outputs=source.trained.spec.outputs,
        facts=dict(facts or {}),
    )


def needs_torch() -> str | None:
    """Why a format that torch writes cannot be written here."""
    from importlib.util import find_spec

    return None if find_spec("torch") else "torch is not installed: pip install '.[train]' in the clone"
