"""What the tests of a page need beside a browser: the runtime's real files, and Node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _web_runtime


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """onnxruntime-web's files: of the folder in PIPELINE_WEB_RUNTIME, else of the cache, else by npm."""
    if named := os.environ.get("PIPELINE_WEB_RUNTIME"):
        return Path(named)
    try:
        files = _web_runtime.files(None)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("runtime")
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node here to run the page's scripts with")
    return found
