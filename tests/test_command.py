"""The command as a user runs it: one bundle, every command, and every kind of bad input in one clear line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from export.bundle.files import sha256_of_file
from export.bundle.store import Bundle, manifest_bytes, read_manifest
from tests.conftest import QUICK


def one_line(result, status):
    """The error line of a command that must have ended with `status`; nothing else may look like an error."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == status, result.stderr
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_the_result_is_one_json_document(made):
    document = json.loads(made.result.stdout)
    text = json.dumps(document)
    for backend in ("eager", "torchscript", "onnxruntime-cpu"):
        assert f'"{backend}"' in text
    assert "digits" in text


def test_progress_names_every_stage(made):
    for stage in (
        "data digits",
        "train cnn",
        "export onnx",
        "export torchscript",
        "truth in float64",
        "measure",
        "report",
    ):
        assert f"✓ {stage}" in made.result.stderr
    for backend in ("eager", "torchscript", "onnxruntime-cpu", "onnxruntime-cpu float16"):
        assert f"✓ verify {backend} " in made.result.stderr


def test_the_bundle_holds_what_was_promised(made):
    bundle = Bundle.open(made.root)
    manifest = bundle.manifest
    assert {(a.format, a.precision) for a in bundle.artifacts} >= {
        ("weights", "float32"),
        ("exported_program", "float32"),
        ("torchscript", "float32"),
        ("onnx", "float32"),
        ("onnx", "float16"),
    }
    assert manifest.dataset.name == "digits"
    assert (manifest.dataset.train + manifest.dataset.validation, manifest.dataset.test) == (1437, 360)
    onnx = next(a for a in bundle.artifacts if a.format == "onnx")
    assert (onnx.facts["opset"], onnx.facts["ir_version"]) == (17, 8)
    for name in manifest.files:
        bundle.file(name)
    for report in ("report.html", "report.md", "report.json", "report.csv"):
        assert (made.root / report).stat().st_size > 500


def test_nothing_of_this_machine_is_in_the_payload(made):
    for path in (made.root / "payload").rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            data = path.read_bytes()
            assert str(made.run.folder).encode() not in data, path
            assert b"site-packages" not in data, path


def test_a_second_run_finds_everything_up_to_date(made, run):
    before = (made.root / "payload/manifest.json").read_bytes()
    records = {p.name: p.read_bytes() for p in (made.root / "records").iterdir()}
    reports = {p: p.stat().st_ino for p in made.root.glob("report.*")}
    result = run("train-export", "cnn", "--out", made.root.parent, *QUICK)
    assert result.returncode == 0, result.stderr
    done = [line for line in result.stderr.splitlines() if line.startswith("✓")]
    assert [line.split()[1] for line in done] == ["report"]
    assert (made.root / "payload/manifest.json").read_bytes() == before
    assert {p.name: p.read_bytes() for p in (made.root / "records").iterdir()} == records
    assert "report.html" in result.stdout
    assert {p: p.stat().st_ino for p in made.root.glob("report.*")} == reports


def test_a_small_run_neither_displaces_a_larger_one_nor_lets_it_be_measured_again(made, run, tmp_path):
    root = shutil.copytree(made.root, tmp_path / "cnn")
    first = Bundle.open(root).read("measurement")[0]["run"]
    small = run("bench", root, "--batch", "1", "--budget", "0.1", "--replicates", "2", "--backend", "onnxruntime-cpu")
    assert small.returncode == 0, small.stderr
    assert f"the report now shows this run; also kept: run {first} of " in small.stderr
    measured = len(Bundle.open(root).read("measurement"))
    again = run("train-export", "cnn", "--out", tmp_path, *QUICK, "--json")
    assert again.returncode == 0, again.stderr
    assert f"run {first} is shown again" in again.stderr
    assert len(Bundle.open(root).read("measurement")) == measured
    assert first in again.stdout
    other = Bundle.open(root).read("measurement")[-1]["run"]
    assert f'"run": "{other}"' in run("report", root, "--run", other[:9], "--format", "json").stdout
    assert f'"run": "{other}"' in (root / "report.json").read_text()
    assert first in one_line(run("report", root, "--run", "none"), 2)


def test_verify_says_the_same_again(copy, run):
    result = run("verify", copy, "--fresh", "--backend", "onnxruntime-cpu", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["verifications"]
    assert [(v["artifact"], v["passed"]) for v in found] == [("onnx", True), ("onnx float16", True), ("app", True)]
    assert found[0]["decisions"] == 360


def reseal(root, monkeypatch, state):
    """Makes the manifest fit the payload's files again, as if this user had made it so."""
    from dataclasses import replace

    from export.bundle.trust import seal

    monkeypatch.setenv("PIPELINE_STATE", str(state))
    manifest, _ = read_manifest(root / "payload")
    shas = {name: sha256_of_file(root / "payload" / name) for name in manifest.files}
    stages = {n: s | {"files": {f: shas[f] for f in s["files"]}} for n, s in manifest.stages.items()}
    artifacts = tuple(replace(a, sha256=shas[a.path]) for a in manifest.artifacts)
    (root / "payload/manifest.json").write_bytes(manifest_bytes(replace(manifest, stages=stages, artifacts=artifacts)))
    seal(root, read_manifest(root / "payload")[1])


def test_one_changed_weight_fails_and_is_not_measured(copy, run, monkeypatch):
    import onnx
    from onnx import numpy_helper

    path = copy / "payload/model.onnx"
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if numpy_helper.to_array(t).shape == (30, 20, 5, 5))
    values = numpy_helper.to_array(tensor).copy()
    values[3, 5, 2, 2] *= 1.0 + 2.0**-20
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    reseal(copy, monkeypatch, run.folder / "state")
    line = one_line(run("verify", copy, "--backend", "onnxruntime-cpu", "--precision", "float32"), 1)
    assert "onnx on onnxruntime-cpu is not the same model" in line
    assert "conv2.weight" in line
    result = run("bench", copy, "--backend", "onnxruntime-cpu", "--precision", "float32", *QUICK[4:])
    one_line(result, 1)
    assert Bundle.open(copy).read("measurement") == []
    assert "not the same: " in result.stdout


def test_a_report_says_on_stderr_which_records_are_damaged(copy, run):
    records = copy / "records/measurement.jsonl"
    first, *rest = records.read_bytes().split(b"\n")
    records.write_bytes(b"\n".join([first[:-9], *rest]))
    result = run("report", copy, "-o", copy / "x.md")
    assert result.returncode == 0
    assert result.stderr.count("Damaged records are left out: measurement.jsonl line 1, cut short or changed") == 1
    assert str(copy) in result.stderr
    assert run("report", copy, "-o", copy / "x.md", "--quiet").stderr == ""


def test_the_document_keeps_every_verdict_whatever_is_asked_for_now(copy, run):
    every = json.loads((copy / "verification.json").read_text())
    assert run("verify", copy, "--backend", "onnxruntime-cpu", "--precision", "float32").returncode == 0
    after = json.loads((copy / "verification.json").read_text())
    assert len(after["verifications"]) == len(every["verifications"]) > 1
    assert run("verify", copy, "--backend", "null").returncode == 1
    assert run("report", copy, "--format", "html", "-o", copy / "x.html").returncode == 0
    assert "are not the same model" not in (copy / "x.html").read_text()


def test_several_bundles_are_one_json_document(copy, made, run, tmp_path):
    other = shutil.copytree(copy, tmp_path / "other")
    words = ["--backend", "onnxruntime-cpu", "--batch", "1", "--budget", "0.2", "--replicates", "2"]
    result = run("bench", copy, other, *words, "--json")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["reports"]) == 2


def test_good_answers_are_printed_beside_a_bad_input(made, run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((28, 28), np.uint8))
    result = run("predict", made.root, tmp_path / "none.npy", tmp_path / "x.npy", "--json")
    assert result.returncode == 1
    assert [a["source"] for a in json.loads(result.stdout)] == [str(tmp_path / "x.npy")]
    assert "1 of 2 inputs could not be answered" in result.stderr


def test_a_corrupt_file_is_named(copy, run):
    path = copy / "payload/model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    line = one_line(run("verify", copy), 1)
    assert "model.onnx" in line
    assert "not what the manifest says" in line
    path.unlink()
    assert "model.onnx: is missing" in one_line(run("verify", copy, "--backend", "eager"), 1)


def test_a_strangers_bundle_needs_trust_for_executable_forms_only(copy, run, tmp_path):
    elsewhere = {"PIPELINE_STATE": str(tmp_path / "another user")}
    line = one_line(run("verify", copy, "--backend", "torchscript", "--fresh", **elsewhere), 1)
    assert "--trust" in line
    assert run("verify", copy, "--backend", "onnxruntime-cpu", "--fresh", **elsewhere).returncode == 0
    assert run("verify", copy, "--backend", "torchscript", "--fresh", "--trust", **elsewhere).returncode == 0


def test_predict_answers_an_image(made, run, tmp_path):
    from PIL import Image

    truth = np.load(made.root / "payload/golden.npz")
    image = truth["test/input/image"][0, 0]
    Image.fromarray(image).save(tmp_path / "digit.png")
    result = run("predict", made.root, tmp_path / "digit.png", "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)[0]
    expected = truth["test/output/log_probabilities"][0]
    assert answer["label"] == str(expected.argmax())
    assert answer["probability"] == pytest.approx(np.exp(expected.max()), abs=1e-5)


def test_report_writes_each_format(made, run, tmp_path):
    for name in ("markdown", "html", "json", "csv"):
        result = run("report", made.root, made.root, "--format", name, "-o", tmp_path / name)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / name).read_text().count("cnn") >= 2


def test_export_of_the_zoo_model_with_given_weights(made, run, tmp_path):
    weights = made.root / "payload/weights.safetensors"
    words = ("--weights", weights, "--out", tmp_path, "--dataset", "digits", "--no-bench", "--precision", "float32")
    result = run("export", "cnn", *words, "--backend", "onnxruntime-cpu")
    assert result.returncode == 0, result.stderr
    ours, theirs = Bundle.open(tmp_path / "cnn").manifest, Bundle.open(made.root).manifest
    assert ours.training.metrics["test_accuracy"] == theirs.training.metrics["test_accuracy"]
    contents = {a.content for a in theirs.artifacts if a.format == "onnx"}
    assert {a.content for a in ours.artifacts if a.format == "onnx"} <= contents


def test_doctor_says_of_each_backend_whether_it_is_ready(run):
    found = json.loads(run("doctor", "--json").stdout)
    backends = {(b["name"], b["device"]): b for b in found["backends"]}
    assert backends["onnxruntime-cpu", "cpu"]["ready"]
    for b in backends.values():
        assert b["ready"] == (b["reason"] is None)
    assert {"weights", "onnx", "tensorrt"} <= set(found["formats"])
    assert backends["null", "cpu"]["note"].startswith("computes nothing")
    assert "null: computes nothing" in run("doctor").stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["train-export", "cnm"], 2, "unknown model 'cnm': did you mean 'cnn'? known are"),
        (["trian-export", "cnn"], 2, "unknown command 'trian-export': did you mean 'train-export'?"),
        (["train-export", "cnn", "--dataset", "minst"], 2, "unknown dataset 'minst': did you mean 'mnist'?"),
        (["train-export", "cnn", "--precision", "fp16"], 2, "unknown precision 'fp16': "),
        (["train-export", "cnn", "--target", "h200x"], 2, "unknown target 'h200x'"),
        (["train-export", "cnn", "--dataset", "digits", "--recipe", "slow"], 2, "its recipes are fast, published"),
        (["train-export", "cnn", "--dataset", "digits", "--device", "cuda"], 1, "--device cuda: no NVIDIA GPU found"),
        (["verify", "nowhere"], 2, "nowhere: no bundle there"),
        (["bench", "nowhere"], 2, "nowhere: no bundle there"),
        (["report", "nowhere"], 2, "nowhere: no bundle there"),
        (["predict", "nowhere", "x.png"], 2, "nowhere: no bundle there"),
        (["export", "net.py:build"], 2, "--inputs is needed"),
        (["export", "cnn"], 2, "needs --weights"),
        (["export", "net.py:build", "--inputs", "x.npz", "--name", "../x"], 2, "--name ../x: is not a plain name"),
        (["verify", "model.onnx", "--inputs", "x.npz"], 2, "--reference MODEL.pt2 and --inputs"),
    ],
)
def test_bad_words_are_one_line(run, words, status, said, request):
    from export.bundle.environment import gpus

    if "cuda" in words and gpus():
        pytest.skip("a GPU is here: --device cuda is no error")
    line = one_line(run(*words), status)
    assert said in line


def test_bad_words_about_a_bundle_are_one_line(made, run, tmp_path):
    line = one_line(run("verify", made.root, "--backend", "onnxruntime-gpu"), 2)
    assert "unknown backend 'onnxruntime-gpu': did you mean 'onnxruntime-cpu'?" in line
    assert "is a folder" in one_line(run("report", made.root, "-o", "."), 2)
    assert "no report has the suffix .pdf" in one_line(run("report", made.root, "-o", "x.pdf"), 2)
    assert "--twin: is of an interleaved run" in one_line(run("bench", made.root, "--twin", "--sweep", "batch"), 2)
    line = one_line(run("verify", made.root / "payload/model.onnx"), 2)
    assert "--reference MODEL.pt2 --inputs X.npz" in line
    assert "unknown report format 'pdf'" in one_line(run("report", made.root, "--format", "pdf"), 2)
    assert "no such file" in one_line(run("predict", made.root, tmp_path / "none.png"), 1).lower()
    line = one_line(run("train-export", "cnn", *QUICK, "--out", made.root, "--target", "h100"), 2)
    assert "unknown" in line
    assert "sm80" in line


def test_an_unwritable_out_is_one_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    line = one_line(run("train-export", "cnn", *QUICK, "--out", tmp_path / "file"), 1)
    assert "choose another folder with --out" in line


def test_mnist_asked_for_by_name_never_falls_back(run, tmp_path):
    (tmp_path / "mnist/MNIST/raw").mkdir(parents=True)
    (tmp_path / "mnist/MNIST/raw/train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    result = run("train", "cnn", "--dataset", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "out", **offline)
    assert "no whole copy of mnist" in one_line(result, 1)
    assert not (tmp_path / "out/cnn/payload").exists()


def test_weights_of_another_model_are_named(run, tmp_path):
    from safetensors.numpy import save_file

    save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "other.safetensors")
    words = ("--weights", tmp_path / "other.safetensors", "--out", tmp_path / "o", "--dataset", "digits")
    assert "not the weights of cnn: " in one_line(run("export", "cnn", *words), 1)


def test_a_manifest_of_a_newer_version_is_one_line(copy, run):
    path = copy / "payload/manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    assert "upgrade pipeline" in one_line(run("verify", copy), 1)


def test_a_full_disk_is_one_line_and_the_next_run_completes(run, tmp_path):
    """The limit on a file's size stands for a full disk: the system refuses the write in the middle of it."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit (util-linux) is not here")
    import subprocess
    import sys

    words = ["train-export", "cnn", "--out", str(tmp_path), *QUICK[:4], "--precision", "float32"]
    command = ["prlimit", "--fsize=100000", sys.executable, "-m", "pipeline.cli", *words]
    result = subprocess.run(command, env=run.environment(), capture_output=True, text=True, timeout=200)
    line = one_line(result, 1)
    assert "File too large" in line
    assert not (tmp_path / "cnn/payload").exists()
