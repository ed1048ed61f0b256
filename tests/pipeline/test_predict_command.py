"""What `predict` takes and what it writes. Needs no torch."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_bundles import ROW, errors, lines, notes, picture

from export.bundle.files import sha256_of_file
from export.bundle.types import Preprocess
from tests.conftest import ROOT


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
