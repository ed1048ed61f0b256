"""`--target python`: the app that is written answers rightly, refuses in one line, and its test can fail."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_kits import KITS, VECTOR_WEIGHTS, damage, vector_kit

from serve_bench.embed._base import EmbedOptions
from serve_bench.embed.python import ENTRIES, module_name

(TARGET,) = ENTRIES


@pytest.fixture(scope="module")
def apps(tmp_path_factory):
    """Kind → (kit, folder of the app)."""
    made = {}
    for kind, kit_in in KITS.items():
        kit = kit_in(tmp_path_factory.mktemp(f"kit-{kind}"))
        folder = tmp_path_factory.mktemp(f"app-{kind}")
        assert TARGET.missing(kit, EmbedOptions()) is None
        TARGET.write(kit, EmbedOptions(), folder)
        made[kind] = kit, folder
    return made


def run(folder, script, *words, stdin=""):
    command = [sys.executable, "-I", "-B", str(folder / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=60)


def model_of(kit, folder):
    """The app's module, as another app imports it."""
    import importlib.util

    name = module_name(kit.manifest.model)
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("names-rnn", "names_rnn"),
        ("2-Tiny vector", "model_2_tiny_vector"),
        ("json", "model_json"),
        ("if", "model_if"),
        ("numpy", "model_numpy"),
        ("日本", "model"),
    ],
)
def test_a_module_name_can_be_imported_and_hides_nothing(model, module):
    assert module_name(model) == module


@pytest.mark.parametrize("kind", KITS)
def test_the_apps_own_test_passes_and_fails_with_a_wrong_model(apps, kind, tmp_path):
    import shutil

    _, folder = apps[kind]
    passed = run(folder, "test_golden.py")
    assert passed.returncode == 0, passed.stderr
    assert "one by one" in passed.stdout
    wrong = shutil.copytree(folder, tmp_path / "wrong")
    damage(wrong / "app.onnx")
    failed = run(wrong, "test_golden.py")
    assert failed.returncode == 1
    assert "largest error" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", KITS)
def test_the_app_holds_what_it_says_and_no_placeholder(apps, kind):
    kit, folder = apps[kind]
    module = f"{module_name(kit.manifest.model)}.py"
    names = {"README.md", "app.onnx", "golden.npz", "requirements.txt", "test_golden.py", module}
    assert {p.name for p in folder.iterdir()} - {"__pycache__"} == names
    for name in ("README.md", "test_golden.py"):
        assert "@" not in (folder / name).read_text()
    assert "torch" not in (folder / module).read_text() + (folder / "requirements.txt").read_text()
    readme = (folder / "README.md").read_text()
    assert "95 % interval 25.00 % to 75.00 %" in readme
    assert r"CC0 \<1.0\>" in readme
    assert (r"\<b\>\|\`\*x\*" in readme) == (kind == "image")


@pytest.mark.parametrize("kind", KITS)
def test_the_code_in_the_readme_runs_as_it_is_printed(apps, kind):
    _, folder = apps[kind]
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_images_are_answered_from_arrays_and_files(apps, tmp_path):
    kit, folder = apps["image"]
    module = model_of(kit, folder)
    model = module.Model()
    golden = kit.golden
    answers = model.predict(golden.inputs["pixels"])
    assert [a.label for a in answers] == [kit.manifest.labels[i] for i in golden.labels]
    np.testing.assert_allclose([a.probabilities for a in answers], golden.outputs["probabilities"], atol=1e-5)
    assert model.predict(golden.inputs["pixels"][0]) == answers[:1]
    np.save(tmp_path / "two.npy", golden.inputs["pixels"][:2])
    printed = run(folder, "tiny_image.py", tmp_path / "two.npy", "--json")
    assert [a["label"] for a in json.loads(printed.stdout)] == [a.label for a in answers[:2]]


def test_a_paper_scan_is_resized_turned_and_says_so(apps, tmp_path):
    image = pytest.importorskip("PIL.Image")
    kit, folder = apps["image"]
    page = np.full((8, 8), 255, np.uint8)
    page[2:6, 2:6] = 0
    image.fromarray(page).save(tmp_path / "page.png")
    pixels, note = model_of(kit, folder).read_image(tmp_path / "page.png", 4, 4)
    assert "resized from 8×8 to 4×4; inverted" in note
    assert pixels[1:3, 1:3].min() > pixels[0].max()
    printed = run(folder, "tiny_image.py", tmp_path / "page.png")
    assert printed.returncode == 0
    assert "resized from 8×8 to 4×4" in printed.stdout


def test_what_the_readme_prints_for_an_image_is_in_the_requirements(apps):
    named = {kind: (folder / "requirements.txt").read_text() for kind, (_, folder) in apps.items()}
    assert "pillow" in named["image"]
    assert {kind for kind, text in named.items() if "pillow" in text} == {"image"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that break as POSIX's do")
@pytest.mark.parametrize("words", [["--json"], []])
def test_a_reader_that_leaves_early_is_no_traceback(apps, words):
    _, folder = apps["text"]
    command = [sys.executable, "-I", "-B", str(folder / "tiny_text.py"), "a", "b", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_texts_of_unlike_length_are_answered_together(apps):
    kit, folder = apps["text"]
    answers = model_of(kit, folder).Model().predict(["ab", "a", "cab"])
    wanted = kit.golden.outputs["probabilities"][:3]
    np.testing.assert_allclose([a.probabilities for a in answers], wanted, atol=1e-5)
    printed = run(folder, "tiny_text.py", "-", "--json", stdin="ab\n\ncáb\n")
    found = json.loads(printed.stdout)
    assert [(a["input"], a["note"]) for a in found] == [("ab", ""), ("cáb", "read as cab")]
    assert run(folder, "tiny_text.py", "cáb").stdout.endswith("  (read as cab)\n")
    np.testing.assert_allclose(found[1]["probabilities"], wanted[2], atol=1e-5)


def test_the_longest_text_is_answered(apps):
    kit, folder = apps["text"]
    (answer,) = model_of(kit, folder).Model().predict("a" * 9)
    (short,) = model_of(kit, folder).Model().predict("a")
    np.testing.assert_allclose(answer.probabilities, short.probabilities, atol=1e-6)


def test_numbers_are_answered(apps):
    kit, folder = apps["vector"]
    module = model_of(kit, folder)
    assert module.Model().predict([[0.5, 1.0], [1, 0]]) == [module.Answer(value=[0.0]), module.Answer(value=[2.0])]
    assert (np.array([-0.5, 0.25]) @ VECTOR_WEIGHTS).tolist() == [-1.25]
    printed = run(folder, f"{module.__name__}.py", "-0.5,0.25", "3,0")
    assert printed.stdout.splitlines() == [
        "-0.5,0.25  -1.25",
        "3,0  6  (3 is outside the range it was trained on, -1 to 1)",
    ]


@pytest.mark.parametrize(
    ("kind", "word", "said"),
    [
        ("vector", "1,2,3", "1,2,3: holds 3 numbers, a sample is 2"),
        ("vector", "one", "one: is neither numbers with commas between nor an .npy file"),
        ("vector", "nan,1", "nan,1: x: holds nan, which is no float32"),
        ("vector", "none.npy", "none.npy: no such file"),
        ("text", "ax", "'ax': 'x' is none of the characters known:  abcü"),
        ("text", " ", "' ': holds no letter"),
        ("text", "á" * 10, "'áááááááááá': has 10 characters, the model takes 9 at most"),
        ("text", "a" * 99, f"'{'a' * 60}…': has 99 characters, the model takes 9 at most"),
        ("image", "digit.tiff", "digit.tiff: is no image; known are .npy"),
    ],
)
def test_bad_input_is_one_line_and_status_1(apps, kind, word, said):
    kit, folder = apps[kind]
    failed = run(folder, f"{module_name(kit.manifest.model)}.py", word)
    assert failed.returncode == 1
    assert failed.stderr.startswith(said)
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stdout == ""


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((1, 4, 4), 0.5), "holds 0.5, which is no uint8 from 0 to 255"),
        (np.full((1, 4, 4), 256), "holds 256, which is no uint8 from 0 to 255"),
        (np.full((1, 4, 4), -1), "holds -1, which is no uint8 from 0 to 255"),
        (np.zeros((1, 4, 5), np.uint8), "has shape (1, 4, 5), a sample is 4 × 4"),
        (np.zeros((0, 4, 4), np.uint8), "it holds no sample"),
        (np.full((1, 4, 4), "a"), "holds <U1, not numbers"),
    ],
)
def test_arrays_that_are_no_images_are_refused(apps, array, said):
    kit, folder = apps["image"]
    module = model_of(kit, folder)
    with pytest.raises(module.InputError, match="pixels") as caught:
        module.Model().predict(array)
    assert said in str(caught.value)


def test_one_bad_word_does_not_stop_the_others(apps):
    _, folder = apps["vector"]
    result = run(folder, "model_2_tiny_vector.py", "1,1", "oops", "0,1")
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["1,1  1", "0,1  -1"]


def test_a_file_that_is_no_app_is_one_line(apps, tmp_path):
    import shutil

    folder = shutil.copytree(apps["vector"][1], tmp_path / "broken")
    (folder / "app.onnx").write_bytes(b"nothing")
    result = run(folder, "model_2_tiny_vector.py", "1,1")
    assert result.returncode == 1
    assert "is no app.onnx that can be opened" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_importing_the_module_loads_no_library(apps):
    _, folder = apps["image"]
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import tiny_image; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_model_that_no_app_can_be_written_around_says_so(tmp_path):
    from dataclasses import replace

    kit = vector_kit(tmp_path)
    fixed = replace(kit.app.inputs[0], shape=(1, 2))
    assert "its batch is fixed" in TARGET.missing(replace(kit, app=replace(kit.app, inputs=(fixed,))), EmbedOptions())
    two = replace(kit.app, inputs=(kit.app.inputs[0], replace(kit.app.inputs[0], name="z")))
    assert "it takes x, z" in TARGET.missing(replace(kit, app=two), EmbedOptions())
    other = replace(kit.app, outputs=(replace(kit.app.outputs[0], name="boxes"),))
    assert "it gives boxes" in TARGET.missing(replace(kit, app=other), EmbedOptions())


def test_the_module_is_python_3_9():
    import ast

    from serve_bench.embed.python import TEMPLATES

    for name in ("model.py", "test_golden.py"):
        ast.parse((TEMPLATES / name).read_text(), feature_version=(3, 9))


def test_markdown_says_what_the_metadata_say_and_no_more():
    from export.bundle.errors import ExportError
    from serve_bench.embed._templates import filled
    from serve_bench.embed._words import coded, escaped

    assert escaped("a <b>\n| [x](y) `c` @NAME@") == r"a \<b\> \| \[x\](y) \`c\` @NAME@"
    assert (coded("a`b"), coded("`")) == ("``a`b``", "`` ` ``")
    assert filled("@ONE@ @TWO@", {"ONE": "@TWO@", "TWO": "2"}) == "@TWO@ 2"
    with pytest.raises(ExportError, match="@TWO@ has no value"):
        filled("@ONE@ @TWO@", {"ONE": "1"})
