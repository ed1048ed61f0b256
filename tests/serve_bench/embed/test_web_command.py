"""`pipeline embed --target web` on a whole bundle."""

from __future__ import annotations

import json
import subprocess

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from serve_bench.embed import _web_runtime


def command(*words):
    return CliRunner().invoke(main, ["embed", *map(str, words)])


def test_the_command_writes_an_app_whose_test_passes(made, runtime, node, tmp_path):
    out = tmp_path / "my app"
    done = command(made.root, "--target", "web", "--out", out, "--runtime", runtime)
    assert done.exit_code == 0, done.output
    assert f"cd '{out}'" in done.output
    passed = subprocess.run([node, out / "test.mjs"], capture_output=True, text=True, timeout=60)
    assert passed.stdout.startswith("ok: 32 of 32 inside the float32 band")
    again = command(
        made.root, "--target", "web", "--out", out, "--runtime", runtime, "--single-file", "--force", "--json"
    )
    assert json.loads(again.output)["files"] == ["README.md", "index.html"]


@pytest.mark.usefixtures("made")
def test_a_folder_that_is_no_runtime_leaves_nothing_behind(run, made, tmp_path):
    done = run("embed", made.root, "--target", "web", "--out", tmp_path / "out", "--runtime", tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [
        f"error: web: {tmp_path}: holds no {_web_runtime.MODULE}; name the dist folder of onnxruntime-web "
        f"{_web_runtime.release().version} with --runtime"
    ]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
