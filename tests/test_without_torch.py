"""The core reads, verifies, measures and answers in an environment that has no torch at all."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def core(run, without_torch):
    def command(*words):
        return run(*words, python=without_torch)

    return command


def test_that_environment_has_no_torch(without_torch):
    answer = subprocess.run([without_torch, "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in answer.stderr


def test_help_and_doctor(core):
    assert "train-export" in core("--help").stdout
    found = json.loads(core("doctor", "--json").stdout)
    backends = {b["name"]: b for b in found["backends"] if b["device"] == "cpu"}
    assert backends["onnxruntime-cpu"]["ready"]
    assert not backends["eager"]["ready"]
    assert ".[train]" in backends["eager"]["reason"]
    assert ".[train]" in found["formats"]["exported_program"]


def test_verify_on_onnx_runtime_against_the_stored_truth(core, copy):
    result = core("verify", copy, "--backend", "onnxruntime-cpu", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["verifications"]
    assert [(v["artifact"], v["passed"], v["decisions"]) for v in found] == [
        ("onnx", True, 360),
        ("onnx float16", True, 360),
        ("app", True, 360),
    ]
    assert found[0]["constants"]["mismatched"] == []


def test_bench_measures_what_is_ready_and_says_what_is_not(core, copy):
    result = core("bench", copy, "--batch", "1", "--budget", "0.3", "--replicates", "2", "--json")
    assert result.returncode == 0, result.stderr
    text = json.dumps(json.loads(result.stdout))
    assert "eager needs torch, which is not installed" in text


def test_predict(core, made):
    result = core("predict", made.root, made.root / "payload/golden.npz", "--json")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)) == 32


def test_a_backend_asked_for_by_name_is_an_error(core, copy):
    result = core("verify", copy, "--backend", "eager")
    assert result.returncode == 1
    assert "error: eager: eager needs torch, which is not installed: pip install '.[train]'" in result.stderr


def test_training_says_what_to_install(core, tmp_path):
    result = core("train-export", "cnn", "--out", tmp_path)
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert "pip install '.[train]'" in lines[-1]
    assert lines[-1].startswith("error: ")
