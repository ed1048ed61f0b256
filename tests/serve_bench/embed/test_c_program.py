"""The C app built and run: it answers as the model does, and every bad input ends in one line.

The program is built with the sanitizers, so that every test looks for memory errors and leaks too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_bundles import KINDS, LABELS, SAMPLES, bundle

from export.bundle.errors import BackendUnavailable
from serve_bench.embed import _c_build, c
from serve_bench.embed._base import kit_of


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def kits(tmp_path_factory):
    return {kind: kit_of(bundle(kind, tmp_path_factory.mktemp(kind) / "b")) for kind in KINDS}


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toolchain():
    if not sys.platform.startswith("linux"):
        pytest.skip("the sanitizers are used as Linux has them")
    try:
        return _c_build.toolchain()
    except BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def programs(kits, toolchain, tmp_path_factory):
    """Kind → program; built once."""
    folder = tmp_path_factory.mktemp("c")
    return {kind: c.build(kit, folder / kind, *toolchain, sanitize=True) for kind, kit in kits.items()}


def ran(program, *words, given=b""):
    folder = program.parent.parent
    done = subprocess.run([program, *map(str, words)], input=given, capture_output=True, cwd=folder)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_golden_answers_are_inside_their_bands(kind, kits, programs):
    status, _, said = ran(programs[kind], "--golden", "golden")
    assert status == 0, said
    assert f"all {SAMPLES} samples are inside" in said
    found = c.answers(programs[kind], kits[kind])
    golden = kits[kind].golden
    for name, wanted in golden.outputs.items():
        assert found[name].dtype == np.float32
        assert np.abs(found[name] - wanted).max() <= golden.tolerance[name]
    if golden.labels is not None:
        assert found["label"].tolist() == golden.labels.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_model_fails_the_golden_test(kind, kits, programs, tmp_path):
    other = kit_of(bundle(kind, tmp_path / "b", wrong=True))
    status, out, said = ran(programs[kind], "--golden", "golden", "--model", other.app.path)
    assert (status, out) == (1, "")
    assert "where float64 has" in said
    asked = replace(kits[kind], app=replace(kits[kind].app, path=other.app.path))
    assert c.answers(programs[kind], asked).keys() == {s.name for s in kits[kind].app.outputs}


def test_lines_of_numbers_in_batches_that_do_not_divide_them(kits, programs, tmp_path):
    golden = kits["images"].golden
    rows = golden.inputs["pixels"].reshape(SAMPLES, 16)
    (tmp_path / "x.csv").write_text("\n".join(", ".join(map(str, r)) for r in rows) + "\r\n\n")
    status, out, said = ran(programs["images"], tmp_path / "x.csv", "--batch", "4", "--threads", "2")
    assert status == 0, said
    answers = [json.loads(line) for line in out.splitlines()]
    assert [a["label"] for a in answers] == golden.labels.tolist()
    assert [a["name"] for a in answers] == [LABELS[i] for i in golden.labels]
    found = np.array([a["probabilities"] for a in answers])
    assert np.abs(found - golden.outputs["probabilities"]).max() <= golden.tolerance["probabilities"]
    assert ran(programs["images"], "--binary", "-", given=rows.tobytes())[1] == out


def test_texts_of_unequal_lengths_in_one_batch(kits, programs):
    status, out, said = ran(programs["texts"], "-", given="a\nbß' \n".encode())
    assert status == 0, said
    from small_bundles import TABLE, _softmax

    wanted = _softmax(np.stack([TABLE[0], TABLE[[1, 3, 4, 2]].sum(axis=0)]))
    found = np.array([json.loads(line)["probabilities"] for line in out.splitlines()])
    assert np.abs(found - wanted).max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("images", b"1 2 3", ":1: holds 3 values; pixels takes 16 a sample"),
        ("images", b"1," * 16 + b"1", ":1: holds 17 values"),
        ("images", b"1," * 16, ":1: ends with a comma"),
        ("images", b"1,,2", ":1: a field is empty"),
        ("images", b"\n\n256", ":3: value 1, '256', is not a whole number from 0 to 255"),
        ("images", b"-1", "is not a whole number from 0 to 255"),
        ("images", b"1.5", "is not a whole number"),
        ("images", b"9" * 70, "a number has more than 63 characters"),
        ("images", b"9" * 30, "is not a whole number"),
        ("images", b"0x10", "is not a whole number"),
        ("images", b"\x00", "holds a zero byte"),
        ("images", b"\x1b[31m", "is not a whole number"),
        ("images", b"1 " * 600_000, ":1: is longer than 1048576 bytes"),
        ("images", b"", "standard input: holds no sample"),
        ("vectors", b"nan 0 0 0 0", "is not a number of float32's range"),
        ("vectors", b"1e39 0 0 0 0", "is not a number of float32's range"),
        ("vectors", b"- 0 0 0 0", "is not a number of float32's range"),
        ("texts", b"\nax", ":2: 'x' is none of the 5 characters known"),
        ("texts", b"a\xff", ":1: is not UTF-8"),
        ("texts", b"a\xc3", ":1: is not UTF-8"),
        ("texts", b"a" * 7, ":1: has more than 6 characters"),
    ],
)
def test_malformed_input_is_one_line(kind, given, said, programs):
    status, out, error = ran(programs[kind], "-", given=given)
    assert (status, out) == (1, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert "\x1b" not in error


def values_of(out):
    return [
        next(v for k, v in json.loads(line).items() if k in ("value", "probabilities")) for line in out.splitlines()
    ]


@pytest.mark.parametrize("batch", [1, 2, 64])
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("vectors", [b"1 2 3 4 5", b"0 0 0 0 1", b"-1,0,.5,0,0"], b"1 2 x 4 5"),
        ("vectors", [b"1 2 3 4 5", b"0 0 0 0 1"], b"1 2 3 4 5 6"),
        ("vectors", [b"1 2 3 4 5", b"0 0 0 0 1"], b"1 2 \0 4 5"),
        ("vectors", [b"1 2 3 4 5", b"0 0 0 0 1"], b"1 " * 600_000),
        ("texts", [b"ab", b"a", "bß' ".encode()], b"abx"),
        ("texts", [b"ab", b"a"], b"a" * 7),
    ],
)
def test_a_malformed_line_costs_no_other_its_answer(kind, good, bad, batch, programs):
    status, wanted, said = ran(programs[kind], "-", given=b"\n".join(good))
    assert (status, said) == (0, "")
    mixed = b"\n".join([bad, good[0], bad, *good[1:], bad])
    status, out, said = ran(programs[kind], "-", "--batch", batch, given=mixed)
    assert status == 1
    np.testing.assert_allclose(np.array(values_of(out)), np.array(values_of(wanted)), rtol=1e-6)
    lines = [1, 3, len(good) + 3]
    assert [line.split(": ")[1] for line in said.splitlines()] == [f"standard input:{n}" for n in lines]


def test_a_file_that_cannot_be_read_costs_no_other_its_answers(programs, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text("1 2 3 4 5\n")
    status, out, said = ran(programs["vectors"], tmp_path / "one", tmp_path / "none", tmp_path / "two")
    assert status == 1
    assert len(out.splitlines()) == 2
    assert said.splitlines() == [f"error: {tmp_path / 'none'}: cannot be opened: No such file or directory"]


def test_the_model_is_found_here_beside_the_program_and_in_the_folder_above(programs, kits, tmp_path):
    program = tmp_path / "app" / "build" / "answer"
    program.parent.mkdir(parents=True)
    shutil.copy(programs["vectors"], program)

    def asked(folder, called=program):
        done = subprocess.run([called, "-"], input=b"1 2 3 4 5", capture_output=True, cwd=folder)
        return done.returncode, done.stderr.decode()

    status, said = asked(tmp_path)
    assert status == 1
    assert said.startswith("error: app.onnx lies neither here, ")
    assert said.endswith("name it with --model\n")
    for place in (tmp_path / "app", program.parent, tmp_path):
        model = place / "app.onnx"
        shutil.copy(kits["vectors"].app.path, model)
        assert asked(tmp_path) == (0, "")
        assert asked(tmp_path, "app/build/answer") == (0, "")
        model.unlink()
    (program.parent / "app.onnx").write_bytes(b"")
    shutil.copy(kits["vectors"].app.path, tmp_path / "app")
    assert "app/build/app.onnx: is empty" in asked(tmp_path, "app/build/answer")[1]


@pytest.mark.parametrize(
    ("kind", "words", "given", "status", "said"),
    [
        ("images", ["--binary", "-"], b"x" * 20, 1, "4 bytes are left, a sample has 16"),
        ("vectors", ["--binary", "-"], b"\xff" * 20, 1, "sample 1 holds a value that is not finite"),
        ("texts", ["--binary", "-"], b"", 1, "this one takes a text a line"),
        ("images", ["none.csv"], b"", 1, "none.csv: cannot be opened: No such file"),
        ("images", ["/"], b"", 1, "cannot be read: Is a directory"),
        ("images", ["-m", "README.md", "-"], b"", 1, "README.md: "),
        ("images", ["-m", "none.onnx", "-"], b"", 1, "none.onnx: cannot be opened"),
        ("images", ["--golden", "none"], b"", 1, "none/output0.bin: cannot be opened"),
        ("images", ["--golden", "n" * 5000], b"", 1, "too long a path"),
        ("images", ["-m", "../vectors/app.onnx", "-"], b"", 1, "they do not belong together"),
        ("images", ["-m", "../texts/app.onnx", "-"], b"", 1, "takes neither one input of a known shape"),
        ("images", [], b"", 2, "name a file of samples"),
        ("images", ["--golden", "golden", "-"], b"", 2, "name a file of samples"),
        ("images", ["--speed", "-"], b"", 2, "--speed: no such option"),
        ("images", ["--threads"], b"", 2, "--threads: a value is missing"),
        ("images", ["--threads", "0", "-"], b"", 2, "is no whole number from 1 to 1024"),
        ("images", ["--batch", "1x", "-"], b"", 2, "is no whole number from 1 to 65536"),
    ],
)
def test_wrong_use_is_one_line(kind, words, given, status, said, programs):
    found, out, error = ran(programs[kind], *words, given=given)
    assert (found, out) == (status, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize("cut", ["input0.bin", "output0.bin", "label0.bin"])
def test_a_damaged_golden_file_fails(cut, kits, programs, tmp_path):
    kit = kits["images"]
    c.write_golden(kit.golden, kit.app, tmp_path / "golden")
    path = tmp_path / "golden" / cut
    path.write_bytes(path.read_bytes()[:-1])
    status, _, said = ran(programs["images"], "--golden", tmp_path / "golden")
    assert status == 1
    assert said.startswith("error: ")


def test_a_wrong_golden_label_fails(kits, programs, tmp_path):
    kit = kits["images"]
    golden = replace(kit.golden, labels=(kit.golden.labels + 1) % 3)
    c.write_golden(golden, kit.app, tmp_path / "golden")
    status, _, said = ran(programs["images"], "--golden", tmp_path / "golden")
    assert status == 1
    assert "sample 0 has label" in said


def test_ctest_runs_the_golden_pairs(programs):
    done = subprocess.run(["ctest", "--test-dir", programs["vectors"].parent], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "1 tests passed" in done.stdout or "0 tests failed out of 1" in done.stdout


def test_it_compiles_without_a_warning(programs, toolchain, tmp_path):
    folder = programs["texts"].parent.parent
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-isystem", toolchain[0]]
    done = subprocess.run(["cc", *flags, *sorted(folder.glob("*.c"))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
