"""`pipeline embed` from a bundle to an app that runs, and `embed check`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_the_python_app_of_a_bundle_passes_its_own_test(made, run, tmp_path):
    result = run("embed", made.root, "--target", "python", "--out", tmp_path / "app")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[2] == "python test_golden.py"
    tested = subprocess.run([sys.executable, "-I", tmp_path / "app/test_golden.py"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    assert "label: right on 32 samples" in tested.stdout


def test_check_prints_a_row_a_runtime(made, run):
    result = run("embed", "check", made.root, "--runtime", "onnxruntime", "--runtime", "onnx-reference")
    assert result.returncode == 0, result.stderr
    assert "probabilities" in result.stdout
    assert result.stdout.count("passed") == 2


def test_check_as_json_is_one_document(made, run):
    result = run("embed", "check", made.root, "--json", "-q")
    assert result.returncode == 0, result.stderr
    rows = {row["runtime"]: row for row in json.loads(result.stdout)["rows"]}
    assert rows["onnxruntime"]["passed"] is True
    assert rows["onnxruntime"]["distances"][0]["error"] <= rows["onnxruntime"]["distances"][0]["tolerance"]
    assert all(row["reason"] for row in rows.values() if row["passed"] is None)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--runtime", "onnxrutime"), 2, "did you mean 'onnxruntime'"),
        (("--runtime", "onnxruntime-node"), 1, "onnxruntime-node: there is no node on the path"),
    ],
)
def test_what_cannot_be_checked_is_one_line(made, run, words, status, said):
    result = run("embed", "check", made.root, "-q", *words, PATH="/nowhere")
    assert result.returncode == status
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_damaged_app_is_found_before_it_is_run(copy, run):
    path = copy / "payload/app.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = run("embed", "check", copy)
    assert result.returncode == 1
    assert "app.onnx: is not what the manifest says" in result.stderr
