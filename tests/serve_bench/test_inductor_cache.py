"""Libraries that were cut short in inductor's cache: found by their own headers, and compiled again."""

import os
import subprocess
from pathlib import Path

import pytest

from export.bundle.environment import cxx_compiler
from serve_bench.backends import _inductor_cache as cache
from serve_bench.backends._helpers import first_line
from serve_bench.backends.compiled import CompiledSession


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    """A shared library in a cache of its own."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    compiler = cxx_compiler()
    if compiler is None:
        pytest.skip("no compiler here")
    made = tmp_path / "ab" / "x.main.so"
    made.parent.mkdir()
    words = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(made)]
    subprocess.run(words, input=b"int f(void) { return 1; }", check=True)
    return made


@pytest.mark.parametrize("left", [0, 3, 20, 64, 5000])
def test_a_library_that_was_cut_short_is_cleared_away(library, left):
    now = library.stat().st_mtime + 2 * cache.WRITTEN_S
    cache.clear_away(now)
    assert cache.is_whole(library)
    os.truncate(library, left)
    written = library.stat().st_mtime
    cache.clear_away(written + cache.WRITTEN_S / 2)
    assert library.exists(), "it may still be being written"
    cache.clear_away(written + 2 * cache.WRITTEN_S)
    assert not library.exists()


def test_the_byte_before_the_end_counts(library):
    os.truncate(library, library.stat().st_size - 1)
    assert not cache.is_whole(library)


def test_a_library_that_does_not_load_is_compiled_again_once(library, tmp_path):
    session = CompiledSession("compiled", None, None, "cpu")
    error = RuntimeError(f"backend='inductor' raised:\nImportError: {library}: file too short\n\nSet TORCHDYNAMO")
    assert cache.CUT_SHORT.search(str(error))[1] == str(library)
    assert session._mended(error)
    assert not library.exists()
    assert not session._mended(error)
    elsewhere = tmp_path.parent / "other.so"
    elsewhere.touch()
    assert not session._mended(RuntimeError(f"x:\nImportError: {elsewhere}: file too short"))
    assert first_line(error).startswith("backend='inductor' raised: ImportError: ")
