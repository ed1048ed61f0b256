"""`predict` on bundles of three tiny graphs whose answers can be worked out by hand. Needs no torch."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from export.bundle.environment import environment
from export.bundle.files import sha256_of_file
from export.bundle.store import SCHEMA, Manifest, Training
from export.bundle.types import LENGTH, LENGTHS, Artifact, DatasetFacts, Preprocess, TensorSpec, to_json
from export.bundle.workspace import workspace
from pipeline.cli import main
from tests.conftest import ROOT

IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 2, 2), low=0.0, high=1.0)
ROW = TensorSpec(name="x", dtype="float32", shape=("batch", 3), low=-100.0, high=100.0)
LETTERS = TensorSpec(name="letters", dtype="int64", shape=("batch", LENGTH), symbols="abc '")
COUNTS = TensorSpec(name=LENGTHS, dtype="int64", shape=("batch",))


def published(root, task, inputs, output, nodes, constants, labels=(), preprocess=Preprocess()):  # noqa: B008
    """A bundle of one ONNX graph, written as the pipeline writes one."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    ends = [
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], list(s.shape)) for s in specs]
        for specs in (inputs, (output,))
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([helper.make_node(*node[:-1], **node[-1]) for node in nodes], "tiny", *ends, weights)
    with workspace(root) as place:
        with place.writing("model.onnx") as temporary:
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            onnx.save(model, temporary)
        stages = {"onnx": place.commit("onnx", "key", ["model.onnx"], {})}

        def manifest(made):
            sha256 = next(iter(made["onnx"].files.values()))
            facts = {"parent": None, "producers": {}, "build_seconds": 0.0, "bytes": 1}
            shown = {"format": "onnx", "precision": "float32", "path": "model.onnx", "inputs": inputs}
            artifact = Artifact(**facts, **shown, outputs=(output,), sha256=sha256, content=sha256)
            data = DatasetFacts(name="user", digest="d", train=0, validation=0, test=0)
            return Manifest(
                schema=SCHEMA,
                model=root.name,
                task=task,
                description="",
                inputs=inputs,
                outputs=(output,),
                preprocess=preprocess,
                labels=labels,
                published=None,
                dataset=data,
                training=Training(recipe=None, seed=0, seconds=0.0, metrics={}),
                artifacts=(artifact,),
                stages=to_json(made),
                environment=environment(),
                created="2026-01-01T00:00:00+00:00",
            )

        place.publish(stages, manifest)
    return root


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    value = TensorSpec(name="y", dtype="float32", shape=("batch", 1))
    scores = TensorSpec(name="scores", dtype="float32", shape=("batch", 3))
    counts = TensorSpec(name="counts", dtype="float32", shape=("batch", 2))
    weights = np.float32([[1], [10], [100]])
    published(folder / "sum", "regression", (ROW,), value, [("MatMul", ["x", "w"], ["y"], {})], {"w": weights})
    # Of pixels p0 … p3, each 0 to 1, the logits are 4 p0, 4 p1 and 4 (p2 + p3).
    published(
        folder / "spots",
        "classification",
        (IMAGE,),
        scores,
        [("Flatten", ["image"], ["flat"], {"axis": 1}), ("MatMul", ["flat", "w"], ["scores"], {})],
        {"w": np.float32([[4, 0, 0], [0, 4, 0], [0, 0, 4], [0, 0, 4]])},
        labels=("left", "right", "below"),
        preprocess=Preprocess(scale=1 / 255),
    )
    # The sum of the letters' numbers, and their count: an a, which padding looks like, counts for the second alone.
    published(
        folder / "texts",
        "regression",
        (LETTERS, COUNTS),
        counts,
        [
            ("ReduceSum", ["letters", "one"], ["sum"], {"keepdims": 1}),
            ("Unsqueeze", ["lengths", "one"], ["many"], {}),
            ("Concat", ["sum", "many"], ["both"], {"axis": 1}),
            ("Cast", ["both"], ["counts"], {"to": 1}),
        ],
        {"one": np.int64([1])},
    )
    return folder


@pytest.fixture
def ask(bundles, tmp_path, monkeypatch):
    """Runs `predict` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def asked(bundle, *words, stdin=None):
        return CliRunner().invoke(main, ["predict", str(bundles / bundle), *map(str, words)], input=stdin)

    return asked


def errors(result):
    return [line.removeprefix("error: ") for line in result.stderr.splitlines() if line.startswith("error: ")]


def notes(result):
    return [line.removeprefix("! ") for line in result.stderr.splitlines() if line.startswith("! ")]


def picture(path, *pixels, mode="L"):
    Image.fromarray(np.uint8(pixels).reshape(2, 2)).convert(mode).save(path)


def lines(result):
    assert "Traceback" not in result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_folder_is_its_images_in_order_and_the_rest_is_counted(ask, tmp_path):
    (tmp_path / "scans/more").mkdir(parents=True)
    for name, pixels in {"b.png": (0, 255, 0, 0), "a.PNG": (255, 0, 0, 0), "more/c.png": (0, 0, 99, 99)}.items():
        picture(tmp_path / "scans" / name, *pixels)
    for name in ("notes.md", ".hidden.png"):
        (tmp_path / "scans" / name).write_text("")
    result = ask("spots", "scans", "--format", "jsonl")
    assert result.exit_code == 0, result.stderr
    assert [(a["source"], a["label"]) for a in lines(result)] == [("scans/a.PNG", "left"), ("scans/b.png", "right")]
    said = "scans: 2 images; skipped: 2 other files, 1 folder (--recursive reads them)"
    assert notes(result) == [said, "scans: image of grey values 0 to 255, so (x / 255 − 0) / 1 is applied"]
    result = ask("spots", "scans", "--recursive", "--format", "jsonl")
    assert [a["label"] for a in lines(result)] == ["left", "right", "below"]
    assert notes(result)[0] == "scans: 3 images; skipped: 2 other files"


def test_a_csv_of_features_in_any_order_and_either_spelling(ask, tmp_path):
    (tmp_path / "a.csv").write_text("x2,x0,x1\n3,1,2\n-1,0.5,0\n")
    (tmp_path / "b.csv").write_text('\ufeff"x[0]", x[1] ,x[2]\r\n1e0,2,3\r\n', encoding="utf-8")
    result = ask("sum", "a.csv", "b.csv", "--format", "csv")
    assert result.exit_code == 0, result.stderr
    # y = x0 + 10 x1 + 100 x2
    assert result.stdout.splitlines() == ["source,sample,y,note", "a.csv,0,321.0,", "a.csv,1,-99.5,", "b.csv,0,321.0,"]
    taken = "CSV taken as it is: this model has no preprocessing"
    assert notes(result) == [f"a.csv: {taken}", f"b.csv: {taken}"]


def test_pixels_of_a_csv_are_stored_values(ask, tmp_path):
    (tmp_path / "p.csv").write_text("pixel0,pixel1,pixel2,pixel3\n0,0,51,0\n")
    result = ask("spots", "p.csv", "--top", "3", "--format", "jsonl")
    # 51 / 255 · 4 = 0.8: softmax of 0, 0, 0.8
    best, other = np.exp(0.8) / (2 + np.exp(0.8)), 1 / (2 + np.exp(0.8))
    (answer,) = lines(result)
    assert [c["label"] for c in answer["top"]] == ["below", "left", "right"]
    assert [c["probability"] for c in answer["top"]] == pytest.approx([best, other, other], rel=1e-6)
    assert (answer["label"], answer["probability"]) == ("below", answer["top"][0]["probability"])
    assert answer["read_as"] == "CSV taken as stored, so (x / 255 − 0) / 1 is applied"


def test_texts_by_word_file_table_and_standard_input_agree_and_padding_does_not_count(ask, tmp_path):
    (tmp_path / "t.txt").write_text("b\nbca'\n")
    (tmp_path / "t.csv").write_text('name\nb\n"bca\'"\n')
    expected = [{"counts": [1.0, 1.0]}, {"counts": [1 + 2 + 0 + 4.0, 4.0]}]
    for words, stdin in ((["b", "bca'"], None), (["t.txt"], None), (["t.csv"], None), (["-"], "b\nbca'")):
        result = ask("texts", *words, "--format", "jsonl", stdin=stdin)
        assert result.exit_code == 0, result.stderr
        assert [a["outputs"] for a in lines(result)] == expected
        assert [a["text"] for a in lines(result)] == ["b", "bca'"]
    assert ask("texts", "t.txt").stdout.splitlines()[1] == "t.txt[1]  bca'  counts 7 4"
    assert ask("texts", "t.txt", "--format", "csv").stdout.splitlines()[2] == "t.txt,1,bca',7.0,4.0,"


def test_standard_input_is_a_csv_for_other_models(ask):
    result = ask("sum", "-", stdin="x0,x1,x2\n1,1,1\n")
    assert result.stdout == "-[0]  y 111\n"
    assert notes(result) == ["standard input: CSV taken as it is: this model has no preprocessing"]


def test_batches_run_across_inputs_and_the_bar_counts(ask, tmp_path):
    for number in range(7):
        picture(tmp_path / f"{number}.png", *((255, 0, 0, 0) if number % 2 else (0, 255, 0, 0)))
    runs = [ask("spots", *(f"{n}.png" for n in range(7)), "--json", "--batch", b) for b in (1, 3, 64)]
    for result in runs:
        assert [a["label"] for a in json.loads(result.stdout)] == ["right", "left"] * 3 + ["right"]
        assert len(notes(result)) == 1
    counted = [line for result in runs for line in result.stderr.splitlines() if "7 answers" in line]
    assert len(counted) == 2


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    """The rows of an endless table are answered as they come, at most a batch behind."""
    from serve_bench import sources

    def endless():
        yield "x0,x1,x2\n"
        while True:
            asked.append(1)
            yield "1,2,3\n"

    asked: list[int] = []
    monkeypatch.setattr(sources, "opened", lambda given: contextlib.nullcontext(endless()))
    reader = sources.Reader(specs=(ROW,), preprocess=Preprocess(), refuse=pytest.fail, say=lambda _: None, batch=5)
    first = next(reader.read(["-"]))
    assert (list(first.numbers), len(asked)) == ([0, 1, 2, 3, 4], 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty, or its first line is; that names the columns: x0, x1, x2"),
        ("x0,x1,x2\n", "holds a header and no rows"),
        ("1,2,3\n4,5,6\n", "has no header: its first line must name the columns, x0, x1, x2"),
        ("x0,x1\n1,2\n", "column 'x2' is missing"),
        ("x0,x1,x2,label\n1,2,3,4\n", "column 'label' is not the model's; the header must name x0, x1, x2"),
        ("x0,x1,y\n1,2,3\n", "column 'y' is not the model's and column 'x2' is missing"),
        ("x0,x1,x1,x2\n1,2,3,4\n", "column 'x1' stands twice"),
        ("x0;x1;x2\n1;2;3\n", "separated by semicolons; save it with commas"),
        ('x0,x1,x2\n1,"2,3\n', "line 2: is no CSV from here on: unexpected end of data"),
    ],
)
def test_a_csv_with_other_columns_is_one_line(ask, tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    result = ask("sum", "t.csv")
    (line,) = errors(result)
    assert (result.exit_code, result.stdout) == (1, "")
    assert line.startswith("t.csv: ")
    assert said in line


def test_a_csv_that_is_no_text_a_folder_or_not_there(ask, tmp_path):
    (tmp_path / "t.csv").write_bytes(b"x0,x1,x2\n\xff,1,2\n")
    assert errors(ask("sum", "t.csv")) == ["t.csv: is no UTF-8 text (invalid start byte); save it as UTF-8"]
    assert errors(ask("sum", "none.csv")) == ["none.csv: no such file"]
    (tmp_path / "d.csv").mkdir()
    assert errors(ask("sum", "d.csv")) == ["d.csv: is a folder; name a file"]


def test_a_bad_row_names_line_and_column_and_the_others_are_answered(ask, tmp_path):
    rows = ["0,0,1", "a,0,1", "1_0,0,1", ",0,1", "nan,0,1", "1e39,0,1", "1,2", "", "0,0,2"]
    (tmp_path / "t.csv").write_text("\n".join(["x0,x1,x2", *rows, ""]))
    result = ask("sum", "t.csv", "--format", "jsonl")
    assert result.exit_code == 1
    assert [(a["sample"], a["outputs"]["y"]) for a in lines(result)] == [(0, [100.0]), (8, [200.0])]
    assert sorted(errors(result)) == [
        "7 of 9 inputs could not be answered",
        "t.csv: line 3, column 'x0': 'a' is no number",
        "t.csv: line 4, column 'x0': '1_0' is no number",
        "t.csv: line 5, column 'x0': is empty",
        "t.csv: line 6, column 'x0': 'nan' is no finite float32",
        "t.csv: line 7, column 'x0': '1e39' is no finite float32",
        "t.csv: line 8 has 2 cells, the header names 3",
        "t.csv: line 9 is empty; leave it out",
    ]


@pytest.mark.parametrize("cell", ["0.5", "-1", "256"])
def test_pixels_that_no_image_stores(ask, tmp_path, cell):
    (tmp_path / "p.csv").write_text(f"pixel0,pixel1,pixel2,pixel3\n0,0,0,{cell}\n")
    why = "is no whole number from 0 to 255, as pixels are stored"
    assert errors(ask("spots", "p.csv")) == [f"p.csv: line 2, column 'pixel3': '{cell}' {why}"]


def test_values_outside_the_range_are_said_once_a_file(ask, tmp_path):
    (tmp_path / "t.csv").write_text("x0,x1,x2\n1,1,1\n999,1,1\n999,1,1\n")
    result = ask("sum", "t.csv", "--batch", "1")
    outside = [note for note in notes(result) if "outside its range" in note]
    assert outside == [
        "t.csv: lines 3 to 3: that gives the model 1 to 999, outside its range of -100 to 100; said once a file"
    ]


def test_bad_texts_are_named_by_line(ask, tmp_path):
    (tmp_path / "t.txt").write_text("a\n\nabz\nà\n", encoding="utf-8")
    result = ask("texts", "t.txt")
    assert result.stdout.splitlines() == ["t.txt[0]  a  counts 0 1", "t.txt[3]  à  counts 0 1  (read as a)"]
    empty, unknown, summary = errors(result)
    assert empty.startswith("t.txt: line 2: '': holds no letter")
    assert unknown == "t.txt: line 3: 'abz': 'z' is none of the 5 characters known: abc '"
    assert summary == "2 of 4 inputs could not be answered"
    (tmp_path / "e.txt").write_text("")
    assert errors(ask("texts", "e.txt")) == ["e.txt: is empty; give at least one text, one a line"]
    assert errors(ask("texts", "none.txt")) == ["none.txt: no such file"]
    assert errors(ask("texts", "à", "--strict")) == [
        "'à': does not fit as it is and would be read as a; --strict refuses that"
    ]


def test_a_folder_of_the_name_of_a_text_is_said(ask, tmp_path):
    (tmp_path / "abc").mkdir()
    assert notes(ask("texts", "abc")) == ["abc: taken as a text, although a folder of that name lies here"]


def test_a_folder_without_images_or_for_another_model(ask, tmp_path):
    (tmp_path / "d/e").mkdir(parents=True)
    assert errors(ask("spots", "d")) == ["d: holds no image; skipped: 1 folder (--recursive reads them)"]
    assert errors(ask("spots", "d/e")) == ["d/e: holds no image"]
    (line,) = errors(ask("sum", "d"))
    assert line == "d: is a folder, and this model takes no one-channel images but x ('batch', 3)"


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (lambda: Image.new("L", (4, 3)), "resized from 4×3 to 2×2"),
        (lambda: Image.new("L", (2, 2), 255), "inverted, since its border is bright"),
        (lambda: Image.new("RGB", (2, 2)), "converted from RGB to grey"),
        (lambda: Image.new("P", (2, 2)), "converted from P to grey"),
        (lambda: Image.fromarray(np.full((2, 2), 25700, np.uint16)), "converted from 16 to 8 bits"),
    ],
)
def test_what_was_done_to_an_image_is_noted_or_refused(ask, tmp_path, make, note):
    make().save(tmp_path / "i.png")
    (answer,) = json.loads(ask("spots", "i.png", "--json").stdout)
    assert answer["note"].startswith(note)
    result = ask("spots", "i.png", "--strict")
    assert (result.exit_code, result.stdout) == (1, "")
    assert errors(result)[0].startswith(f"i.png: does not fit as it is and would be {note}")


def test_strict_takes_what_fits(ask, tmp_path):
    picture(tmp_path / "i.png", 255, 0, 0, 0)
    assert ask("spots", "i.png", "--strict").stdout == "i.png  left  0.9647\n"


def test_sixteen_bits_become_eight(tmp_path):
    from serve_bench._images import image_as_stored

    Image.fromarray(np.uint16([[0, 257], [25700, 128]])).save(tmp_path / "i.png")
    assert image_as_stored(tmp_path / "i.png", 2, 2)[0].tolist() == [[0, 1], [100, 0]]


def test_a_photo_is_turned_upright_and_an_animation_gives_its_first_picture(tmp_path):
    from serve_bench._images import image_as_stored

    image, exif = Image.fromarray(np.uint8([[255, 0], [0, 0]])), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    # Orientation 6: to be turned a quarter clockwise, so that the upper left becomes the upper right.
    pixels, note = image_as_stored(tmp_path / "turned.png", 2, 2)
    assert (pixels.tolist(), note) == ([[0, 255], [0, 0]], "turned upright as its EXIF data say")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("L", (2, 2))])
    pixels, note = image_as_stored(tmp_path / "moving.gif", 2, 2)
    assert pixels.tolist() == [[255, 0], [0, 0]]
    assert note.startswith("taken from the first of its 2 pictures")


def test_no_image_and_a_decompression_bomb_do_not_stop_the_others(ask, tmp_path, monkeypatch):
    picture(tmp_path / "good.png", 255, 0, 0, 0)
    (tmp_path / "none.png").write_text("no image")
    Image.new("L", (60, 60)).save(tmp_path / "warned.png")
    Image.new("L", (90, 90)).save(tmp_path / "refused.png")
    Image.new("F", (2, 2)).save(tmp_path / "floats.tiff")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    names = ["none.png", "warned.png", "refused.png", "floats.tiff", "good.png"]
    result = ask("spots", *names)
    assert (result.exit_code, result.stdout) == (1, "good.png  left  0.9647\n")
    said = errors(result)
    assert said[0].startswith("none.png: no readable image: cannot identify image file")
    assert all("perhaps a decompression bomb; make it smaller first" in line for line in said[1:3])
    assert said[3].startswith("floats.tiff: holds numbers of no known range (mode F)")
    assert said[4:] == ["4 of 5 inputs could not be answered"]


def test_output_by_its_suffix_whole_even_where_an_input_was_refused(ask, tmp_path):
    (tmp_path / "t.csv").write_text("x0,x1,x2\n1,2,3\n")
    words = ["sum", "t.csv", "none.csv", "--output"]
    for name in ("o.csv", "o.jsonl", "o.json", "o.txt"):
        result = ask(*words, tmp_path / "new" / name)
        assert (result.exit_code, result.stdout) == (1, "")
    written = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert sorted(written) == ["o.csv", "o.json", "o.jsonl", "o.txt"]
    assert written["o.csv"] == "source,sample,y,note\nt.csv,0,321.0,\n"
    assert written["o.txt"] == "t.csv[0]  y 321\n"
    assert json.loads(written["o.json"]) == [json.loads(written["o.jsonl"])]
    assert json.loads(ask("sum", "t.csv", "--json").stdout) == json.loads(written["o.json"])


def test_csv_cells_are_quoted(ask, tmp_path):
    picture(tmp_path / 'a, "b".png', 255, 0, 0, 0)
    text = ask("spots", 'a, "b".png', "--format", "csv", "--top", "2").stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["source"] == 'a, "b".png'
    assert (row["label"], row["label2"]) == ("left", "right")
    assert float(row["probability"]) == pytest.approx(np.exp(4) / (np.exp(4) + 2))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sum", "-", "-"], "-: standard input can be read once"),
        (["sum", "t.csv", "--top", "2"], "does not classify, so it has no most probable classes"),
        (["sum", "t.csv", "--json", "--format", "csv"], "--json --format csv: choose one of them"),
        (["sum", "t.csv", "-o", "."], ".: is a folder; name a file with --output"),
        (["sum", "t.csv", "-o", "./t.csv"], "t.csv: is one of the inputs; choose another --output"),
    ],
)
def test_wrong_words_end_with_status_two(ask, tmp_path, words, said):
    (tmp_path / "t.csv").write_text("x0,x1,x2\n1,2,3\n")
    result = ask(*words)
    assert result.exit_code == 2
    assert said in errors(result)[0]
    assert (tmp_path / "t.csv").read_text() == "x0,x1,x2\n1,2,3\n"


def test_what_ends_early_leaves_no_half_file(ask, tmp_path, monkeypatch):
    from pipeline import answer_formats

    (tmp_path / "t.csv").write_text("x0,x1,x2\n1,2,3\n1,2,3\n")
    (tmp_path / "o.csv").write_text("before")
    write = answer_formats.Csv.write

    def interrupted(self, answer):
        write(self, answer)
        if answer.sample == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(answer_formats.Csv, "write", interrupted)
    assert ask("sum", "t.csv", "-o", "o.csv").exit_code == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.csv", "t.csv"]
    assert (tmp_path / "o.csv").read_text() == "before"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert ask("sum", "none.csv", "-o", "o.csv").exit_code == 1
    assert (tmp_path / "o.csv").read_text() == "before"


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX")
def test_a_reader_that_goes_away_ends_it_quietly_and_torch_is_never_imported(bundles, tmp_path):
    (tmp_path / "t.csv").write_text("x0,x1,x2\n" + "1,2,3\n" * 20000)
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(sorted({'torch', 'torchvision'} & sys.modules.keys()), file=sys.stderr))\n"
        "from pipeline.cli import main\n"
        "main(['predict', sys.argv[1], 't.csv', '--quiet'])"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code, bundles / "sum"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes) as process:
        assert process.stdout.readline() == "t.csv[0]  y 321\n"
        process.stdout.close()
        assert process.stderr.read() == "[]\n"
    assert process.returncode == 1


def test_the_model_is_the_one_that_was_published(bundles):
    from export.bundle.store import Bundle
    from serve_bench.predict import model_of

    found = model_of(Bundle.open(bundles / "sum"))
    assert (found.precision, sha256_of_file(bundles / "sum/payload/model.onnx")) == ("float32", found.sha256)
