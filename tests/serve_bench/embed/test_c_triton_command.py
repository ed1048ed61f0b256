"""`pipeline embed` with the targets c and triton, as a user types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_bundles import bundle

from pipeline.cli import main
from serve_bench.embed._triton_config import missing_schema


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


def embed(tmp_path, *words):
    return CliRunner().invoke(main, ["embed", str(tmp_path / "b"), "--out", str(tmp_path / "app"), *words])


def test_c_as_json(tmp_path):
    bundle("texts", tmp_path / "b")
    result = embed(tmp_path, "--target", "c", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["target"] == "c"
    assert {"CMakeLists.txt", "main.c", "app.onnx", "golden/input1.bin"} <= set(told["files"])


@pytest.mark.skipif(missing_schema() is not None, reason=f"triton: {missing_schema()}")
def test_triton_on_the_cpu_and_with_trust(tmp_path, monkeypatch):
    bundle("images", tmp_path / "b")
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "another user"))
    result = embed(tmp_path, "--target", "triton", "--instance", "cpu")
    assert result.exit_code == 0, result.output
    assert "tritonserver --model-repository=" in result.stdout
    assert "kind: KIND_CPU" in (tmp_path / "app/models/small/config.pbtxt").read_text()
    assert not (tmp_path / "app/models/small_torchscript").exists()
    assert embed(tmp_path, "--target", "triton", "--trust", "--force").exit_code == 0
    assert (tmp_path / "app/models/small_torchscript/1/model.pt").is_file()


def test_an_unknown_instance_is_wrong_use(tmp_path):
    bundle("images", tmp_path / "b")
    result = embed(tmp_path, "--target", "triton", "--instance", "tpu")
    assert result.exit_code == 2
    assert "'tpu' is not one of 'auto', 'cpu', 'gpu'" in result.stderr
