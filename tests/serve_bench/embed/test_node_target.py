"""`--target node`: what is written, and, where onnxruntime-node is in the cache, that it answers rightly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tiny_kits import HOSTILE, KITS, SYMBOLS, damage, vector_kit

from serve_bench.embed._base import EmbedOptions
from serve_bench.embed.node import ENTRIES, package_name
from serve_bench.embed.runtimes.node import ENTRIES as PACKAGES

(TARGET,) = ENTRIES
FILES = {"index.mjs", "index.d.mts", "files.mjs", "cli.mjs", "test.mjs", "package.json", "model.json", "golden.json"}


@pytest.fixture(scope="module")
def apps(tmp_path_factory):
    """Kind → (kit, folder of the app)."""
    made = {}
    for kind, kit_in in KITS.items():
        kit = kit_in(tmp_path_factory.mktemp(f"kit-{kind}"))
        folder = tmp_path_factory.mktemp(f"app-{kind}")
        TARGET.write(kit, EmbedOptions(), folder)
        made[kind] = kit, folder
    return made


@pytest.fixture(scope="module")
def installed(apps):
    """The apps with onnxruntime-node beside them."""
    package = next(p for p in PACKAGES if p.name == "onnxruntime-node")
    if reason := package.missing():
        pytest.skip(f"onnxruntime-node: {reason}")
    for _, folder in apps.values():
        (folder / "node_modules").symlink_to(package.cache / "node_modules")
    return apps


def run(folder, *words, stdin=""):
    command = ["node", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, input=stdin, timeout=60)


@pytest.mark.parametrize("kind", KITS)
def test_the_app_is_whole_and_its_facts_are_data(apps, kind):
    kit, folder = apps[kind]
    assert {p.name for p in folder.iterdir()} - {"node_modules"} == FILES | {"README.md", "app.onnx"}
    package, facts = (json.loads((folder / f).read_text()) for f in ("package.json", "model.json"))
    assert package["engines"] == {"node": ">=18.3"}
    assert set(package["dependencies"]) == {"onnxruntime-node"}
    assert facts["labels"] == list(kit.manifest.labels)
    assert facts["symbols"] == (SYMBOLS if kind == "text" else "")
    assert HOSTILE not in "".join((folder / f).read_text() for f in FILES - {"model.json"})
    assert "@" not in (folder / "README.md").read_text().replace("@types", "")


@pytest.mark.parametrize("kind", KITS)
def test_the_golden_document_holds_the_pairs(apps, kind):
    kit, folder = apps[kind]
    golden = json.loads((folder / "golden.json").read_text())
    assert golden["samples"] == 8
    for word in ("inputs", "outputs"):
        for name, values in getattr(kit.golden, word).items():
            stored = golden[word][name]
            np.testing.assert_array_equal(np.array(stored["data"], stored["dtype"]).reshape(stored["shape"]), values)
    assert golden["tolerance"] == dict(kit.golden.tolerance)


def test_a_package_name_is_one_that_npm_takes():
    assert [package_name(n) for n in ("names-rnn", "2-Tiny vector", "日本")] == ["names-rnn", "2-tiny-vector", "model"]


def test_a_type_without_an_array_is_refused(tmp_path):
    kit = vector_kit(tmp_path)
    half = replace(kit.app, inputs=(replace(kit.app.inputs[0], dtype="float16"),))
    assert "'x' is float16" in TARGET.missing(replace(kit, app=half), EmbedOptions())


@pytest.mark.parametrize("kind", KITS)
def test_the_apps_own_test_passes_and_fails_with_a_wrong_model(installed, kind, tmp_path):
    _, folder = installed[kind]
    passed = run(folder, "--test", "test.mjs")
    assert passed.returncode == 0, passed.stdout
    wrong = shutil.copytree(folder, tmp_path / "wrong", symlinks=True)
    damage(wrong / "app.onnx")
    failed = run(wrong, "--test", "test.mjs")
    assert failed.returncode == 1
    assert "largest error" in failed.stdout
    assert "# fail 2" in failed.stdout


def test_the_command_answers_texts_numbers_and_files(installed, tmp_path):
    kit, folder = installed["text"]
    found = json.loads(run(folder, "cli.mjs", "-", "--json", stdin="ab\n\ncáb\n").stdout)
    assert [(a["input"], a["note"]) for a in found] == [("ab", ""), ("cáb", "read as cab")]
    np.testing.assert_allclose(found[1]["probabilities"], kit.golden.outputs["probabilities"][2], atol=1e-5)
    kit, folder = installed["vector"]
    assert run(folder, "cli.mjs", "-0.5,0.25", "3,0").stdout.splitlines() == [
        "-0.5,0.25  -1.25",
        "3,0  6  (3 is outside the range it was trained on, -1 to 1)",
    ]
    kit, folder = installed["image"]
    pixels = kit.golden.inputs["pixels"]
    np.save(tmp_path / "two.npy", pixels[:2])
    (tmp_path / "one.json").write_text(json.dumps(pixels[0].tolist()))
    dark = np.zeros((4, 4), np.uint8)
    dark[1:3, 1:3] = 200
    for name, image in (("dark", dark), ("paper", 255 - dark)):
        (tmp_path / f"{name}.pgm").write_bytes(b"P5\n# made up\n4 4\n255\n" + image.tobytes())
    files = [tmp_path / f for f in ("two.npy", "one.json", "dark.pgm", "paper.pgm")]
    two, other, one, shown, turned = json.loads(run(folder, "cli.mjs", "--json", *files).stdout)
    assert two["label"] == kit.manifest.labels[kit.golden.labels[0]]
    assert other["label"] == kit.manifest.labels[kit.golden.labels[1]]
    assert one["probabilities"] == two["probabilities"]
    assert shown["probabilities"] == turned["probabilities"]
    assert (shown["note"], turned["note"][:8]) == ("", "inverted")


@pytest.mark.parametrize(
    ("kind", "word", "said"),
    [
        ("vector", "1,2,3", "1,2,3: holds 3 numbers, a sample is 2"),
        ("vector", "one", "one: is neither numbers"),
        ("vector", "none.npy", "none.npy: no such file"),
        ("vector", "--foo", "--foo: no such option"),
        ("text", "ax", '"ax": "x" is none of the characters known:  abcü'),
        ("text", "á" * 10, '"áááááááááá": has 10 characters, the model takes 9 at most'),
        ("text", "a" * 99, f'"{"a" * 60}…": has 99 characters, the model takes 9 at most'),
        (
            "image",
            "digit.png",
            "digit.png: is no file that is read here: .npy, .json or .pgm; ImageMagick makes one: magick",
        ),
        ("image", "index.json", "index.json: no such file"),
        ("image", "package.json", "package.json: pixels: has shape [], a sample is 4 × 4"),
    ],
)
def test_bad_input_is_one_line_and_status_1_or_2_for_an_option(installed, kind, word, said):
    _, folder = installed[kind]
    failed = run(folder, "cli.mjs", word)
    assert failed.returncode == (2 if word.startswith("--") else 1)
    assert failed.stderr.startswith(said)
    assert len(failed.stderr.splitlines()) == 1


def test_an_image_of_another_size_becomes_the_means_of_areas(installed, tmp_path):
    _, folder = installed["image"]
    page = np.full((6, 12), 250, np.uint8)
    page[2:5, 3:8] = np.arange(15).reshape(3, 5) * 10
    (tmp_path / "page.pgm").write_bytes(b"P5\n12 6\n250\n" + page.tobytes())
    found = json.loads(run(folder, "cli.mjs", tmp_path / "page.pgm", "--json").stdout)[0]
    assert found["note"].startswith("resized from 12×6 to 4×4; inverted")
    fine = np.repeat(page, 2, axis=0).astype(float) * 255 / 250  # 12 rows: each of 4 covers 3, that is 1.5 of the 6
    small = np.rint(255 - fine.reshape(4, 3, 4, 3).mean(axis=(1, 3)))
    (tmp_path / "small.json").write_text(json.dumps(small.astype(int).tolist()))
    (wanted,) = json.loads(run(folder, "cli.mjs", tmp_path / "small.json", "--json").stdout)
    assert found["probabilities"] == wanted["probabilities"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"P2\n1 1\n255\n0", "is no binary PGM (P5) of 8 bits"),
        (b"P5\n1 1\n65535\n00", "is no binary PGM (P5) of 8 bits"),
        (b"P5\n0 4\n255\n", "holds no pixel"),
        (b"P5\n4 4\n0\n" + bytes(16), "holds no pixel"),
        (b"P5\n4 4\n255\n" + bytes(15), "is cut off"),
    ],
)
def test_a_pgm_that_cannot_be_read_is_one_line(installed, data, said, tmp_path):
    _, folder = installed["image"]
    (tmp_path / "x.pgm").write_bytes(data)
    failed = run(folder, "cli.mjs", tmp_path / "x.pgm")
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"{tmp_path / 'x.pgm'}: {said}")
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that break as POSIX's do")
def test_a_reader_that_leaves_early_is_no_traceback(installed):
    _, folder = installed["text"]
    with subprocess.Popen(
        ["node", "cli.mjs", "a", "b"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ("[[0,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,256]]", "holds 256, which is no uint8 from 0 to 255"),
        ("[[0,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,0.5]]", "holds 0.5, which is no uint8 from 0 to 255"),
        ("[[0,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0,'1']]", 'holds "1", which is no uint8 from 0 to 255'),
        ("[[0,0,0,0],[0,0,0,0],[0,0,0,0],[0,0,0]]", "samples that differ in their shapes"),
        ("new Uint8Array(15)", "has shape [15], a sample is 4 × 4"),
    ],
)
def test_arrays_that_are_no_images_are_refused(installed, samples, said):
    _, folder = installed["image"]
    code = "import {Model} from './index.mjs'; const model = await Model.load();"
    code += f"await model.predict({samples}).catch((error) => console.log(error.message))"
    assert said in run(folder, "--input-type=module", "-e", code).stdout


def test_a_file_that_is_no_model_is_one_line(installed, tmp_path):
    folder = shutil.copytree(installed["vector"][1], tmp_path / "broken", symlinks=True)
    (folder / "app.onnx").write_bytes(b"nothing")
    failed = run(folder, "cli.mjs", "1,1")
    assert failed.returncode == 1
    assert "cannot be opened" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
