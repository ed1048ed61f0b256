"""The page's pure functions, run in Node: from strokes to pixels, from text to letters, ticks, and the verdict."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from serve_bench.embed._web_runtime import TEMPLATES

RUN = """
const vm = require("vm"), fs = require("fs");
const { files, code } = JSON.parse(fs.readFileSync(0, "utf8"));
for (const file of files) vm.runInThisContext(fs.readFileSync(file, "utf8"), file);
Promise.resolve(vm.runInThisContext(code)).then((found) => process.stdout.write(JSON.stringify(found)));
"""
MNIST = {"width": 28, "height": 28, "high": 255, "counted": False}
COUNTS = {"width": 8, "height": 8, "high": 16, "counted": True}


@pytest.fixture(scope="module")
def script(node):
    """`script(code, file)`: the value of JavaScript after the page's own file."""

    def run(code, *names):
        given = json.dumps({"files": [str(TEMPLATES / name) for name in names], "code": code})
        done = subprocess.run([node, "-e", RUN], input=given, capture_output=True, text=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def image(script):
    def made(strokes, wanted):
        found = script(f"Ink.image({json.dumps(strokes)}, {json.dumps(wanted)})", "ink.js")
        return None if found is None else np.reshape(found, (wanted["height"], wanted["width"]))

    return made


def stroke(*points, pen=20):
    return {"pen": pen, "points": points}


def test_every_script_is_valid_and_holds_nothing_that_ends_its_block(node):
    for path in TEMPLATES.glob("*.js"):
        subprocess.run([node, "--check", path], check=True, capture_output=True, timeout=60)
        assert "</script" not in path.read_text().lower()
        assert "<!--" not in path.read_text()


def test_a_stroke_covers_what_a_round_pen_covers(script):
    ink = np.reshape(
        script(f"Array.from(Ink.raster([{json.dumps(stroke((100, 140), (180, 140)))}]))", "ink.js"), (280, 280)
    )
    # a rectangle of 80 × 20 and a disc of diameter 20
    assert ink.sum() == pytest.approx(80 * 20 + np.pi * 100, rel=2e-3)
    assert ink[140, 140] == 1
    assert ink[128, 140] == ink[140, 88] == 0


def test_overlaps_are_the_means_of_equal_lengths(script):
    for source, target in ((7, 3), (3, 7), (20, 20), (200, 20)):
        found = np.zeros((target, source))
        for row, cells in enumerate(script(f"Ink.overlaps({source}, {target})", "ink.js")):
            for at, weight in cells:
                found[row, at] = weight
        fine = np.kron(np.eye(target), np.ones(source)) @ np.kron(np.eye(source), np.ones((target, 1))) / source
        np.testing.assert_allclose(found, fine, atol=1e-12)


def test_an_empty_paper_is_no_image(image):
    assert image([], MNIST) is None
    assert image([], COUNTS) is None


@pytest.mark.parametrize("place", [(60, 60), (200, 90), (140, 230)])
@pytest.mark.parametrize("pen", [10, 30])
def test_a_dot_fills_the_box_wherever_it_is(image, place, pen):
    found = image([stroke(place, pen=pen)], MNIST)
    inked = np.argwhere(found > 0)
    assert inked.min(0).tolist() == [4, 4]
    assert inked.max(0).tolist() == [23, 23]
    np.testing.assert_allclose(found, found[::-1], atol=1)
    np.testing.assert_allclose(found, found.T, atol=1)


def test_the_longer_side_is_20_pixels_and_the_shape_is_kept(image):
    found = image([stroke((40, 100), (240, 100), (240, 150))], MNIST)
    (top, left), (bottom, right) = np.argwhere(found > 0).min(0), np.argwhere(found > 0).max(0)
    assert right - left + 1 == 20
    assert bottom - top + 1 == round(20 * 71 / 221)  # with the pen, and the soft edge rounded up to whole units


def test_the_centre_of_mass_is_in_the_middle(image):
    found = image([stroke((60, 40), (60, 240), pen=40), stroke((60, 240), (200, 240), pen=12)], MNIST).astype(float)
    y, x = (np.argwhere(found + 1) * found.reshape(-1, 1)).sum(0) / found.sum() + 0.5
    assert x == pytest.approx(14, abs=0.5)
    assert y == pytest.approx(14, abs=0.5)


def test_counts_are_of_blocks_of_sixteen(image):
    rows = [stroke((60, y), (220, y), pen=24) for y in range(60, 221, 16)]
    found = image(rows, COUNTS)
    assert found[1:7, 1:7].tolist() == [[16] * 6] * 6
    assert found.max() <= 16
    tall = image([stroke((140, 40), (140, 240))], COUNTS)
    assert (tall.any(1)).all()
    assert tall[:, :2].sum() == tall[:, 6:].sum() == 0


LETTERS = json.dumps("abcdeoMuONz ',.")


@pytest.mark.parametrize(
    ("typed", "read", "unknown"),
    [
        ("Mube", "Mube", []),
        ("Mübè", "Mube", []),
        ("Mu\u0308be", "Mube", []),
        ("O’Nab", "O'Nab", []),
        ("  a \t b  ", "a b", []),
        ("Mu 1", "Mu", ["1"]),
        ("界a界ø", "a", ["界", "ø"]),
        ("😀a", "a", ["😀"]),
        ("", "", []),
        ("<b>", "b", ["<", ">"]),
    ],
)
def test_letters(script, typed, read, unknown):
    found = script(f"Letters.read({json.dumps(typed)}, {LETTERS})", "names.js")
    assert "".join(json.loads(LETTERS)[index] for index in found["indices"]) == read
    assert found["unknown"] == unknown


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 2 * np.pi, 6, [0, 2, 4, 6]),
        (-0.7, 2.2, 5, [0, 1, 2]),
        (1e-7, 3e-7, 2, [1e-7, 2e-7, 3e-7]),
    ],
)
def test_ticks_are_round(script, low, high, count, ticks):
    assert script(f"Axis.ticks({low}, {high}, {count})", "curve.js") == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 2 * np.pi, [0, 2, 4, 6]), (0, 1, [0, 0.5, 1]), (0.1, 3.9, [1, 2, 3]), (-1.9e-7, 1.9e-7, [-1e-7, 0, 1e-7])],
)
def test_a_narrow_axis_has_three_ticks_at_least(script, low, high, ticks):
    assert script(f"Axis.enough({low}, {high}, 2)", "curve.js") == pytest.approx(ticks)


GOLDEN = {
    "samples": 2,
    "outputs": {"probabilities": {"shape": [2, 2], "data": [0.9, 0.1, 0.50001, 0.49999]}},
    "tolerance": {"probabilities": 1e-4},
    "labels": [0, 0],
}


@pytest.mark.parametrize(
    ("shares", "labels", "inside"),
    [
        ([0.9, 0.1, 0.5, 0.5], [0, 0], 2),
        ([0.90009, 0.09991, 0.5, 0.5], [0, 0], 2),
        ([0.90011, 0.1, 0.5, 0.5], [0, 0], 1),
        ([0.9, 0.1, 0.5, 0.5], [0, 1], 2),  # the band cannot tell these two apart
        ([0.9, 0.1, 0.5, 0.5], [1, 0], 1),
        ([0.9, "NaN", 0.5, 0.5], [0, 0], 1),
        ([0.9, 0.1], [0, 0], 1),
        ([], [], 0),
    ],
)
def test_the_verdict(script, shares, labels, inside):
    given = "{" + f"probabilities: {{data: [{', '.join(map(str, shares))}]}}, label: {{data: {labels}}}" + "}"
    found = script(f"Model.compare({json.dumps(GOLDEN)}, {given})", "model.js")
    assert (found["samples"], found["inside"]) == (2, inside)


def test_an_output_that_is_not_there_is_outside(script):
    assert script(f"Model.compare({json.dumps(GOLDEN)}, {{}})", "model.js")["inside"] == 0
