"""Answers for files: what is read as what, and what is said where a file does not fit."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from verdicts import verdict

from export.bundle.errors import BundleError, DataError
from export.bundle.types import Preprocess, TensorSpec
from export.progress import Silent
from serve_bench.inputs import takes_text, text_as_input
from serve_bench.predict import doubts, model_of, predict, probabilities

LABELS = ("a", "b", "c", "d", "e")


@pytest.fixture
def bundle(tiny_onnx):
    """Preprocessing as an image model has it: (x / 255 - 0.5) / 0.25."""
    manifest = SimpleNamespace(
        task="classification", labels=LABELS, preprocess=Preprocess(scale=1 / 255, mean=0.5, std=0.25)
    )
    return SimpleNamespace(
        root=Path("bundle"),
        artifacts=tuple(tiny_onnx.artifacts.values()),
        manifest=manifest,
        resolve=lambda a: a,
        read=lambda kind: [],
    )


def test_stored_and_model_ready_arrays_give_the_same_answers(bundle, tmp_path):
    from tiny_network import truth_of

    stored = np.random.default_rng(3).integers(0, 256, (5, 8, 8)).astype(np.uint8)
    ready = ((stored / 255 - 0.5) / 0.25).astype(np.float32)[:, None]
    np.savez(tmp_path / "stored.npz", image=stored)
    np.save(tmp_path / "ready.npy", ready)
    answers = list(predict(bundle, [tmp_path / "stored.npz", tmp_path / "ready.npy"], batch=2))
    truth = truth_of(ready)
    assert [a.label for a in answers] == 2 * [LABELS[i] for i in truth.argmax(1)]
    assert [a.sample for a in answers] == [0, 1, 2, 3, 4] * 2
    for answer, row in zip(answers, np.concatenate([truth, truth]), strict=True):
        assert answer.probability == pytest.approx(math.exp(row.max()), rel=1e-4)
    assert str(answers[1]).startswith(f"{tmp_path / 'stored.npz'}[1]  {answers[1].label}  0.")


def test_an_image_becomes_light_on_dark_of_the_models_size_and_says_so(bundle, tmp_path):
    from PIL import Image
    from tiny_network import truth_of

    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:6, 3:5] = 200
    Image.fromarray(drawn).save(tmp_path / "dark.png")
    Image.fromarray(255 - drawn).save(tmp_path / "paper.png")
    Image.fromarray(255 - drawn).resize((40, 20)).save(tmp_path / "large.jpg")
    dark, paper, large = predict(bundle, [tmp_path / n for n in ("dark.png", "paper.png", "large.jpg")])
    ready = ((drawn / 255 - 0.5) / 0.25).astype(np.float32)[None, None]
    assert dark.probability == pytest.approx(math.exp(truth_of(ready).max()), rel=1e-4)
    assert dark.note == ""
    assert (paper.label, paper.probability) == (dark.label, dark.probability)
    assert paper.note.startswith("inverted, since its border is bright")
    assert large.note.startswith("resized from 40×20 to 8×8; inverted")


def test_a_transparent_background_is_paper(bundle, tmp_path):
    from PIL import Image

    picture = np.zeros((8, 8, 4), np.uint8)
    picture[2:6, 3:5, 3] = 255
    Image.fromarray(picture, "RGBA").save(tmp_path / "ink.png")
    (answer,) = predict(bundle, [tmp_path / "ink.png"])
    assert "inverted" in answer.note


def test_how_an_array_was_understood_is_said_once_a_file_and_with_every_answer(bundle, tmp_path):
    np.save(tmp_path / "raw.npy", np.zeros((2, 8, 8), np.uint8))
    np.save(tmp_path / "ready.npy", np.zeros((8, 8), np.float32))
    said: list[str] = []
    progress = Silent()
    progress.note = said.append
    answers = list(predict(bundle, [tmp_path / "raw.npy", tmp_path / "ready.npy"], progress=progress))
    raw = "uint8 taken as stored, so (x / 255 − 0.5) / 0.25 is applied"
    ready = "float32 taken as model-ready, so no preprocessing is applied; raw values are given as integers"
    assert said == [f"{tmp_path / 'raw.npy'}: {raw}", f"{tmp_path / 'ready.npy'}: {ready}"]
    assert [a.read_as for a in answers] == [raw, raw, ready]


def test_a_model_that_is_not_float32_or_did_not_pass_is_said(bundle, tiny_onnx):
    whole, half = tiny_onnx.named("onnx", "onnx float16")
    assert model_of(bundle) == whole
    assert doubts(bundle, whole) == []
    assert doubts(bundle, half) == ["bundle: holds no float32 ONNX model; its float16 one answers"]
    good = verdict(whole.sha256, "onnxruntime-cpu", passed=True)
    bad = verdict(whole.sha256, "onnxruntime-cpu", passed=False, reason="off by 1")
    records = [good, bad, verdict(whole.sha256, "openvino", passed=True), good | {"unknown": 1}]
    bundle.read = lambda kind: records
    assert doubts(bundle, whole) == ["bundle: the model that answers did not pass `pipeline verify`: off by 1"]
    records.append(good)
    assert doubts(bundle, whole) == []


def test_an_answer_of_nan_does_not_stop_the_others(bundle, tmp_path, monkeypatch):
    scores = np.zeros((3, 5), np.float32)
    scores[1, 3] = np.nan
    deeds = dict.fromkeys(("bind", "run", "close"), lambda *_: None)
    session = SimpleNamespace(outputs=lambda: {"scores": scores}, **deeds)
    backend = SimpleNamespace(missing=lambda device: None, open=lambda *_: session)
    monkeypatch.setattr("serve_bench.predict.backend_named", lambda name: backend)
    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8), np.float32))
    refused: list[DataError] = []
    assert [a.sample for a in predict(bundle, [tmp_path / "x.npy"], refused=refused.append)] == [0, 2]
    assert len(refused) == 1


def test_an_answer_of_nan_is_an_error(bundle, tmp_path, monkeypatch):
    scores = np.zeros((2, 5), np.float32)
    scores[1, 3] = np.nan
    deeds = dict.fromkeys(("bind", "run", "close"), lambda *_: None)
    session = SimpleNamespace(outputs=lambda: {"scores": scores}, **deeds)
    backend = SimpleNamespace(missing=lambda device: None, open=lambda *_: session)
    monkeypatch.setattr("serve_bench.predict.backend_named", lambda name: backend)
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"x.npy: the model answers sample 1 with NaN in 'scores'"):
        list(predict(bundle, [tmp_path / "x.npy"]))


def test_models_without_labels_give_their_outputs(bundle, tmp_path, tiny_onnx):
    bundle.manifest.task = "unlabelled"
    np.savez(tmp_path / "x.npz", image=tiny_onnx.images[:2])
    first, second = predict(bundle, [tmp_path / "x.npz"])
    assert first.label is None
    assert np.abs(np.array(second.outputs["scores"]) - tiny_onnx.truth[1]).max() < 1e-5
    assert str(first).count("scores") == 1


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("none.npz", None, "no such file"),
        ("x.toml", lambda p: p.write_text("1,2"), r"\.toml is not read; known are \.npz, \.npy, \.csv, \.bmp"),
        ("x.npz", lambda p: p.write_bytes(b"PK broken"), r"is not a whole \.npz"),
        ("x.npy", lambda p: np.save(p, np.array([{}], dtype=object)), r"is not a whole \.npy of numbers"),
        ("x.npz", lambda p: np.savez(p, a=np.zeros(1), b=np.zeros(1)), "holds a, b, but the model wants 'image'"),
        ("x.npy", lambda p: np.save(p, np.zeros((4, 9, 9))), r"has shape \(4, 9, 9\), the model wants"),
        ("x.npy", lambda p: np.save(p, np.full((8, 8), "x")), "not numbers"),
        ("x.png", lambda p: p.write_bytes(b"no image"), "no readable image"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(bundle, tmp_path, name, write, said):
    if write:
        write(tmp_path / name)
    with pytest.raises(DataError, match=said) as caught:
        list(predict(bundle, [tmp_path / name]))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_an_input_that_cannot_be_read_does_not_stop_the_others(bundle, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((8, 8), np.float32))
    refused: list[DataError] = []
    given = [tmp_path / "none.npz", tmp_path / "x.npy", tmp_path / "none.npy"]
    (answer,) = predict(bundle, given, refused=refused.append)
    assert (answer.source, answer.samples) == (str(tmp_path / "x.npy"), 1)
    assert str(answer).startswith(f"{tmp_path / 'x.npy'}  {answer.label}")
    assert [str(error) for error in refused] == [f"{tmp_path / n}: no such file" for n in ("none.npz", "none.npy")]


def test_images_for_a_model_that_takes_none(bundle, tmp_path, tiny_onnx):
    spec = TensorSpec(name="image", dtype="float32", shape=("batch", 3, 8, 8))
    bundle.artifacts = (replace(tiny_onnx.artifacts["onnx"], inputs=(spec,)),)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="takes no one-channel images"):
        list(predict(bundle, [tmp_path / "x.png"]))


def test_a_bundle_without_onnx(bundle):
    bundle.artifacts = ()
    with pytest.raises(BundleError, match="holds no ONNX model"):
        list(predict(bundle, [Path("x.npz")]))


def test_probabilities_of_each_kind_of_scores():
    expected = np.array([0.5, 0.25, 0.25])
    for scores in (np.log(expected), np.log(expected) + 3, expected):
        assert probabilities(scores) == pytest.approx(expected)


TEXT = (
    TensorSpec(name="letters", dtype="int64", shape=("batch", "length"), symbols="ab O'"),
    TensorSpec(name="lengths", dtype="int64", shape=("batch",)),
)


def test_a_text_becomes_the_numbers_of_its_characters_without_marks():
    read = text_as_input("bà O'", TEXT)
    assert read.arrays["letters"].tolist() == [[1, 0, 2, 3, 4]]
    assert read.arrays["lengths"].tolist() == [5]
    assert read.note == "read as ba O'"
    assert text_as_input("a", TEXT).note == ""
    assert takes_text(TEXT)
    assert not takes_text(TEXT[:1])
    assert not takes_text((replace(TEXT[0], symbols=""), TEXT[1]))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no letter"), ("  ", "holds no letter"), ("abc", "'c' is none of the 5 characters known: ab O'")],
)
def test_a_text_that_cannot_be_read_is_one_line(text, said):
    with pytest.raises(DataError, match=said) as caught:
        text_as_input(text, TEXT)
    assert "\n" not in str(caught.value)
