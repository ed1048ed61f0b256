"""The runtime's files: fetched once, held to their digests, or one clear line."""

from __future__ import annotations

import json
import os
import re
import stat

import pytest

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _web_runtime
from serve_bench.embed._web_runtime import MODULE, TEMPLATES, WASM, Release, files, integrity, missing

OURS = {MODULE: b"module", WASM: b"wasm"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a release whose files are OURS."""
    small = Release(version="9.9.9", files={name: integrity(data) for name, data in OURS.items()})
    monkeypatch.setattr(_web_runtime, "release", lambda: small)
    monkeypatch.setattr(_web_runtime, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """`npm(script)`: what npm does from now on; it runs in the folder that holds package.json."""
    if os.name == "nt":
        pytest.skip("the stand-in for npm is a shell script")

    def stands_in(script):
        path = tmp_path / "npm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(_web_runtime.shutil, "which", lambda name: str(path))

    return stands_in


def gives(module="module", wasm="wasm"):
    dist = "node_modules/onnxruntime-web/dist"
    return f"mkdir -p {dist} && printf {module} > {dist}/{MODULE} && printf {wasm} > {dist}/{WASM}"


def test_the_lock_names_digests_and_no_host():
    lock = json.loads((TEMPLATES / "package-lock.json").read_text())
    packages = {name: facts for name, facts in lock["packages"].items() if name}
    assert "resolved" not in (TEMPLATES / "package-lock.json").read_text()
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", facts["integrity"]) for facts in packages.values())
    asked = json.loads((TEMPLATES / "package.json").read_text())["dependencies"]
    version = json.loads((TEMPLATES / "runtime.json").read_text())["version"]
    assert asked == {"onnxruntime-web": version}
    assert packages["node_modules/onnxruntime-web"]["version"] == version


def test_npm_is_asked_once(cache, npm):
    npm(f'test "$1" = ci && test -f package-lock.json && {gives()}')
    assert files(None) == OURS
    npm("exit 1")
    assert missing(None) is None
    assert files(None) == OURS


def test_a_damaged_cache_is_fetched_again(cache, npm):
    cache.mkdir()
    (cache / MODULE).write_bytes(b"module")
    (cache / WASM).write_bytes(b"was")
    npm(gives())
    assert files(None) == OURS


def test_what_npm_gives_is_held_to_the_digests(cache, npm):
    npm(gives(wasm="other"))
    with pytest.raises(BackendUnavailable, match=re.escape(f"{WASM} is not that of onnxruntime-web 9.9.9")):
        files(None)
    assert not cache.exists()


def test_the_reason_that_npm_gives_is_in_the_line(cache, npm):
    npm('echo "npm error code ENOTFOUND" >&2; echo "npm error network request failed." >&2; exit 1')
    with pytest.raises(BackendUnavailable) as error:
        files(None)
    assert "npm cannot fetch onnxruntime-web 9.9.9: network request failed; or name" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_npm_the_line_says_what_to_do(cache, monkeypatch):
    monkeypatch.setattr(_web_runtime.shutil, "which", lambda name: None)
    said = missing(None)
    assert "install Node.js" in said
    assert f"{MODULE} and {WASM} with --runtime" in said
    with pytest.raises(BackendUnavailable):
        files(None)


def test_a_folder_of_ones_own_needs_no_npm(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(_web_runtime.shutil, "which", lambda name: None)
    assert f"holds no {MODULE}" in missing(tmp_path)
    for name, data in OURS.items():
        (tmp_path / name).write_bytes(data)
    assert missing(tmp_path) is None
    assert files(tmp_path) == OURS
    (tmp_path / WASM).write_bytes(b"another")
    assert f"{WASM} is not that of onnxruntime-web 9.9.9" in missing(tmp_path)
