"""One file from one of several mirrors: whole and right, or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from export.bundle.errors import DataError
from export.bundle.files import write_atomic
from export.progress import Progress

_SILENCE_S = 10.0
_LIMIT_S = 300.0
_ROUNDS = 2
_CHUNK_BYTES = 1 << 16
_LARGEST_BYTES = 1 << 28


class Unreachable(Exception):
    """No mirror gave the file; the message is the second half of a sentence."""


class _Broken(Exception):
    """What came is not the file."""


def download(
    urls: Sequence[str],
    path: Path,
    *,
    md5: str = "",
    wrong: Callable[[bytes], str] | None = None,
    progress: Progress,
    silence_s: float = _SILENCE_S,
    limit_s: float = _LIMIT_S,
) -> None:
    """Writes `path` from the first mirror that gives bytes with this md5 sum, or with which nothing is `wrong`.

    A mirror that answered wrongly is asked once more after the others; one that could not be reached is not.
    A mirror is given up after `silence_s` without a byte, or `limit_s` in all.
    Raises Unreachable where none gave it, DataError where it cannot be written.
    """
    reasons: dict[str, str] = {}
    remaining, check = list(urls), wrong or partial(_other_sum, md5)
    for _ in range(_ROUNDS):
        for url in tuple(remaining):
            try:
                _fetch(url, path, check, progress, silence_s, limit_s)
                return
            except (_Broken, TimeoutError, http.client.HTTPException, ConnectionError) as error:
                reasons[url] = str(error) or type(error).__name__
            except urllib.error.HTTPError as error:
                reasons[url] = f"status {error.code}"
            except urllib.error.URLError as error:
                reasons[url] = str(getattr(error.reason, "strerror", None) or error.reason)
                remaining.remove(url)
    told = "; ".join(f"{urlsplit(url).hostname}: {reason}" for url, reason in reasons.items())
    raise Unreachable(f"{path.name} cannot be downloaded ({told})")


def _other_sum(md5: str, data: bytes) -> str:
    own = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return "" if own == md5 else f"{len(data):,} bytes whose md5 sum is not {md5}"


def _fetch(
    url: str,
    path: Path,
    wrong: Callable[[bytes], str],
    progress: Progress,
    silence_s: float,
    limit_s: float,
) -> None:
    started, data = time.monotonic(), bytearray()
    with (
        urllib.request.urlopen(url, timeout=silence_s) as answer,
        progress.stage(f"download {path.name}") as bar,
    ):
        total = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read1(_CHUNK_BYTES):
            data += chunk
            bar.advance(len(data), total or None, f"{len(data) / 1e6:.1f} MB")
            if time.monotonic() - started > limit_s:
                raise TimeoutError(f"{len(data) / 1e6:.1f} MB in {limit_s:.0f} s, too slow")
            if len(data) > _LARGEST_BYTES:
                raise _Broken("sends without end")
        if said := wrong(bytes(data)):
            raise _Broken(f"sent {said}")
    try:
        write_atomic(path, bytes(data))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); make room there, or name another folder with --data-dir"
        ) from error
