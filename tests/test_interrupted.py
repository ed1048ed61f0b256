"""Kills and Ctrl-C at any moment: nothing half-written is accepted, and the next run completes the bundle."""

from __future__ import annotations

import json
import os
import signal

import pytest

from export.bundle.errors import BundleError
from export.bundle.store import Bundle
from tests.conftest import QUICK


def stop_at(process, sign, stage):
    """Sends `sign` when the progress shows `stage`; returns everything that was said until the end."""
    said = []
    for line in process.stderr:
        said.append(line)
        if stage in line:
            process.send_signal(sign)
            break
    said.append(process.stderr.read())
    process.wait(timeout=60)
    return "".join(said)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_bundle_is_completed_after_kills_and_ctrl_c(run, tmp_path):
    words = ("train-export", "cnn", "--out", tmp_path, *QUICK[:2], "--epochs", "2", *QUICK[4:])
    moments = [
        (signal.SIGKILL, "✓ data digits", False),
        (signal.SIGKILL, "✓ export onnx ", False),
        (signal.SIGINT, "✓ export torchscript", False),
        (signal.SIGKILL, "✓ truth in float64", None),
        (signal.SIGTERM, "✓ verify eager", True),
    ]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for sign, stage, published in moments:
        before = set(temporary.glob("pipeline-*"))
        process = run.start(*words, TMPDIR=str(temporary))
        said = stop_at(process, sign, stage)
        assert stage in said, said
        assert "Traceback" not in said
        if sign in (signal.SIGINT, signal.SIGTERM):
            assert "error: interrupted; run the same command again" in said
            assert process.returncode == 128 + sign
            assert set(temporary.glob("pipeline-*")) <= before
        if published is False:
            with pytest.raises(BundleError, match="no bundle there"):
                Bundle.open(tmp_path / "cnn")
        elif published:
            assert Bundle.open(tmp_path / "cnn").read("measurement") == []
    kept = {v["backend"] for v in Bundle.open(tmp_path / "cnn").read("verification")}
    assert "eager" in kept

    result = run(*words, "--json")
    assert result.returncode == 0, result.stderr
    assert "weights" in result.stderr
    done_anew = [line for line in result.stderr.splitlines() if line.startswith("✓")]
    assert not [line for line in done_anew if line.startswith(("✓ train", "✓ export", "✓ verify eager"))]
    bundle = Bundle.open(tmp_path / "cnn")
    for name in bundle.manifest.files:
        bundle.file(name)
    assert json.loads(result.stdout)
    leftovers = [p for p in (tmp_path / "cnn").rglob("*") if ".tmp" in p.name or p.name == ".work"]
    assert leftovers == []


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_interrupted_training_gives_the_same_weights(run, tmp_path):
    words = ("train", "cnn", *QUICK[:2], "--epochs", "3", "--json")
    whole = run(*words, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    process = run.start(*words, "--out", tmp_path / "cut")
    checkpoint = tmp_path / "cut/cnn/.work/checkpoints"
    while process.poll() is None and not list(checkpoint.glob("*.safetensors")):
        os.sched_yield()
    process.kill()
    process.wait(timeout=60)
    process.stdout.close()
    process.stderr.close()
    resumed = run(*words, "--out", tmp_path / "cut")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["facts"]["resumed_from_epoch"] in (1, 2)
    paths = [tmp_path / name / "cnn/.work/payload/weights.safetensors" for name in ("whole", "cut")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
