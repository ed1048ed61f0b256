"""A card says what manifest and records say, with intervals; the same bundle gives the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from export.bundle.errors import BundleCorrupt
from export.bundle.files import sha256_of_file
from export.bundle.store import Bundle, Training
from export.bundle.types import DatasetFacts, Published, Recipe
from export.registry import entries
from serve_bench.cards._facts import card_of, share_interval
from tests.conftest import ROOT
from tests.export.small_bundle import make
from tests.serve_bench.equivalence.fake_bundle import model, write_truth
from tests.serve_bench.reports.report_records import verification

RECIPE = Recipe(name="fast", epochs=4, batch_size=128, optimizer="adamw", learning_rate=0.01)
FILES = {"model.onnx": "graph", "model.torchscript": "code", "engines/sm80/model.tensorrt": "engine"}


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


def training(**metrics: float) -> Training:
    return Training(recipe=RECIPE, seed=3, seconds=1.0, metrics=metrics)


def data(test: int, note: str = "") -> DatasetFacts:
    return DatasetFacts(name="digits", digest="d" * 64, train=1400, validation=100, test=test, note=note)


def form(bundle: Bundle, path: str):
    return next(a for a in bundle.artifacts if a.path == path)


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A classifier, right in 295 of 297; ONNX verified on two backends, TorchScript failed, the engine was not run."""
    made = make(
        tmp_path / "b",
        FILES,
        model="tiny | <net>",
        labels=("a", "b"),
        dataset=data(297, "MNIST is not here"),
        training=training(test_accuracy=295 / 297, test_loss=0.1),
        published=Published(figure=0.9937, metric="test_accuracy", source="a document", differs="no rate is named"),
    )
    onnx = verification(form(made, "model.onnx"), "onnxruntime-cpu", 2e-7, 8e-7, metric={"test_accuracy": 294 / 297})
    fall = {"lost": 1, "gained": 0, "p_value": 1.0, "drop": 1 / 297, "drop_low": -0.003, "drop_high": 0.01}
    half = replace(onnx, backend="openvino", precision_asked="float16", against_truth=fall)
    made.append("verification", onnx)
    made.append("verification", half)
    made.append("verification", verification(form(made, "model.torchscript"), "torchscript", 1.0, 8e-7))
    absent = {"backend": "tensorrt", "artifact": "", "device": "cuda", "reason": "no NVIDIA GPU found"}
    made.append("absent", {"environment": "env1", "missing": [absent], "not_built": []})
    return Bundle.open(tmp_path / "b")


def render(name: str, bundle: Bundle) -> str:
    return entries("serve_bench.cards")[name].render(card_of(bundle))


def test_intervals_of_accuracies_are_clopper_and_pearsons(bundle):
    from scipy.stats import beta

    figures = {f.subject: f for f in card_of(bundle).figures}
    assert list(figures) == ["", "onnx on onnxruntime-cpu (cpu)", "onnx on openvino (cpu)"]
    for subject, right in (("", 295), ("onnx on onnxruntime-cpu (cpu)", 294)):
        found = figures[subject]
        assert (found.metric, found.value, found.samples) == ("test_accuracy", right / 297, 297)
        assert found.low == pytest.approx(beta.ppf(0.025, right, 297 - right + 1), abs=1e-9)
        assert found.high == pytest.approx(beta.ppf(0.975, right + 1, 297 - right), abs=1e-9)


@pytest.mark.parametrize(("share", "samples"), [(0.5, 0), (0.5, 3), (0.99411, 297)])
def test_what_is_no_share_of_the_samples_has_no_interval(share, samples):
    assert share_interval(share, samples) is None


def regression(root: Path, targets, value: float) -> Bundle:
    root.mkdir(parents=True)
    write_truth(root / "truth.npz", labels=False, arrays={"test/target": targets})
    files = {"truth.npz": (root / "truth.npz").read_bytes()}
    (root / "truth.npz").unlink()
    return make(root / "b", files, task="regression", dataset=data(80), training=training(test_mse=value))


def test_the_interval_of_a_mean_square_is_students(tmp_path):
    from scipy import stats

    angle = np.linspace(0.1, 3.0, 80)
    answers = model((4 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32))
    targets = answers + np.random.default_rng(0).normal(size=answers.shape)
    squares = np.square(answers - targets).mean(1)
    (found,) = card_of(regression(tmp_path / "a", targets, float(squares.mean()))).figures
    low, high = stats.t.interval(0.95, 79, squares.mean(), stats.sem(squares))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    (other,) = card_of(regression(tmp_path / "c", targets, 2 * float(squares.mean()))).figures
    assert (other.value, other.low, other.high) == (2 * float(squares.mean()), None, None)
    (exact,) = card_of(regression(tmp_path / "d", answers, 0.0)).figures
    assert (exact.value, exact.low) == (0.0, None)


def test_limits_name_what_was_not_verified_and_what_the_figures_do_not_say(bundle):
    text = "\n".join(card_of(bundle).limits)
    for said in (
        "Data: MNIST is not here.",
        "Figures are of 297 test samples of digits.",
        "no rate is named",
        "Not verified on any backend: tensorrt.",
        "torchscript on torchscript (cpu) is not the same: probe 'test'",
        "Not run: tensorrt: no NVIDIA GPU found",
        "model.torchscript, engines/sm80/model.tensorrt can run code when opened",
        "states no licence of the weights, nor of the data.",
    ):
        assert said in text
    assert card_of(bundle).tradeoffs == (
        "onnx on openvino (cpu), in float32 (float16 asked): 1 lost, 0 gained (p 1.00), -0.34 points [-1.00, +0.30] "
        "against float64",
    )


def test_a_bundle_without_test_data_says_so(tmp_path):
    text = "\n".join(card_of(make(tmp_path / "b", {"model.onnx": "graph"})).limits)
    assert "no labelled test data" in text
    assert "Figures are of" not in text


def with_app(root: Path, metadata: dict[str, str]) -> Bundle:
    import onnx

    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, metadata)
    return make(root, {"model.app": model.SerializeToString()})


def test_the_licence_of_the_data_is_what_the_app_states(tmp_path):
    stated = with_app(tmp_path / "a", {"dataset": '{"licence": "CC BY 4.0"}'})
    assert card_of(stated).licence == "CC BY 4.0"
    assert card_of(stated).limits[-1] == "The bundle states no licence of the weights."
    assert "- **Licence of the data**: CC BY 4.0" in render("markdown", stated)
    assert '"pipeline:licence"' in render("cyclonedx", stated)
    assert card_of(with_app(tmp_path / "b", {})).licence == ""
    for number, words in enumerate(("[]", "x")):
        with pytest.raises(BundleCorrupt, match="cannot be read as onnx"):
            card_of(with_app(tmp_path / f"c{number}", {"dataset": words}))


def test_a_damaged_payload_has_no_card(bundle):
    (bundle.payload / "model.onnx").write_text("x")
    with pytest.raises(BundleCorrupt, match="not what the manifest says"):
        card_of(Bundle.open(bundle.root))


@pytest.mark.parametrize("name", ["markdown", "cyclonedx"])
def test_the_same_bundle_gives_the_same_bytes(bundle, tmp_path, name):
    other = Path(shutil.copytree(bundle.root, tmp_path / "elsewhere/other"))
    assert render(name, bundle) == render(name, Bundle.open(other))
    code = (
        "import sys; from tests.serve_bench.test_cards import *\n"
        "print(render(sys.argv[1], Bundle.open(Path(sys.argv[2]))), end='')"
    )
    words = [sys.executable, "-c", code, name, str(other)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == render(name, bundle)
    assert str(tmp_path) not in done.stdout


def test_markdown_shows_the_tables_and_lets_no_name_break_out(bundle):
    text = render("markdown", bundle)
    assert text.startswith("# tiny \\| &lt;net>\n")
    assert "| the trained model | test accuracy | 99.33 % | 97.59 % to 99.92 % |" in text
    assert "| onnx on openvino (cpu) | float32 (float16 asked) |" in text
    sha = sha256_of_file(bundle.payload / "model.onnx")
    assert f"| model.onnx | onnx | {sha} | 5 B |" in text
    assert "by a document" in text


def test_the_official_validator_accepts_the_ml_bom(bundle, tmp_path):
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed: pip install '.[dev]'")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    bare = make(tmp_path / "bare", {"model.onnx": "graph"})
    for one in (bundle, bare):
        assert validator.validate_str(render("cyclonedx", one)) is None
    assert validator.validate_str(render("cyclonedx", bundle).replace('"modelCard"', '"modelcard"')) is not None


def test_the_ml_bom_names_every_file_library_and_figure(bundle):
    document = json.loads(render("cyclonedx", bundle))
    component = document["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    files = {f["name"]: f["hashes"][0]["content"] for f in component["components"]}
    payload = bundle.payload
    assert files == {
        f"payload/{p.relative_to(payload).as_posix()}": sha256_of_file(p) for p in payload.rglob("*") if p.is_file()
    }
    parameters = component["modelCard"]["modelParameters"]
    assert (parameters["task"], parameters["datasets"][0]["name"]) == ("classification", "digits")
    assert parameters["inputs"] == [{"format": "x: float32 [batch, 2]"}]
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metrics[0]["value"] == repr(295 / 297)
    assert float(metrics[0]["confidenceInterval"]["lowerBound"]) == pytest.approx(
        share_interval(295 / 297, 297)[0], abs=1e-6
    )
    versions = bundle.manifest.environment.versions
    assert {c["purl"] for c in document["components"]} >= {f"pkg:pypi/numpy@{versions['numpy']}"}
    assert document["metadata"]["timestamp"] == bundle.manifest.created


def test_more_records_make_a_later_version_of_the_same_document(bundle):
    before = json.loads(render("cyclonedx", bundle))
    bundle.append("verification", verification(form(bundle, "model.onnx"), "onnxruntime-cpu", 1e-7, 8e-7))
    after = json.loads(render("cyclonedx", Bundle.open(bundle.root)))
    assert (after["serialNumber"], after["version"]) == (before["serialNumber"], before["version"] + 1)


def pipeline(*words):
    from pipeline.cli import main

    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command(bundle, tmp_path):
    done = pipeline("card", bundle.root)
    assert (done.exit_code, done.stdout) == (0, render("markdown", bundle))
    assert pipeline("card", bundle.root, "--json").stdout == render("cyclonedx", bundle)
    pipeline("card", bundle.root, "--format", "cyclonedx", "-o", tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == render("cyclonedx", bundle)
    for words, status, said in (
        ([bundle.root, "--format", "spdx"], 2, "unknown card format 'spdx'"),
        ([bundle.root, "-o", tmp_path], 2, "is a folder"),
        ([bundle.root, "-o", bundle.payload / "card.md"], 2, "lies inside payload/"),
        ([tmp_path / "nothing"], 2, "no bundle there"),
    ):
        done = pipeline("card", *words)
        assert (done.exit_code, said in done.stderr, done.stderr.count("\n")) == (status, True, 1)


def test_a_card_needs_neither_torch_nor_a_runtime(bundle):
    code = (
        "import sys, pipeline.cli\n"
        "try: pipeline.cli.main()\n"
        "finally: print([m for m in ('torch', 'onnx', 'onnxruntime') if m in sys.modules], file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "card", str(bundle.root)]
    assert subprocess.run(words, capture_output=True, text=True, cwd=ROOT).stderr == "[]\n"
