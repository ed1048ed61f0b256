"""`bench --sweep` as a user gives it, on a small real bundle."""

import json

import pytest

from export.bundle.store import Bundle

WORDS = ("--backend", "onnxruntime-cpu", "--budget", "0.5")


def test_batch_and_threads_of_a_real_bundle(copy, run):
    before = len(Bundle.open(copy).read("measurement"))
    words = ("--sweep", "batch", "--sweep-limit", "4", "--sweep", "threads", "--batch", "2", "--replicates", "2")
    result = run("bench", copy, *words, *WORDS, "--json")
    assert result.returncode == 0, result.stderr
    (report,) = json.loads(result.stdout)["reports"]
    batch, threads = report["sweeps"]
    float32 = [row for row in batch["rows"] if row["label"] == "onnxruntime-cpu"]
    assert [row["batch"] for row in float32] in ([1, 2, 4], [1, 2])
    assert float32[-1]["ended"] in ("limit 4", "throughput stopped rising", "budget")
    assert all(set(row["of_replicate"]) == {0, 1} for row in batch["rows"] if not row["error"])
    assert {(row["batch"], row["threads"]) for row in threads["rows"]} >= {(2, 1)}
    assert len(Bundle.open(copy).read("measurement")) == before
    assert "Sweep: threads" in (copy / "report.html").read_text()


def test_concurrency_prints_a_table_and_takes_three_replicates_unless_told(copy, run):
    words = ("--sweep", "concurrency", "--concurrency", "2", "--precision", "float32")
    result = run("bench", copy, *words, *WORDS)
    assert result.returncode == 0, result.stderr
    assert "cnn: sweep: concurrency" in result.stdout
    assert "against one process" in (copy / "report.md").read_text(), "a terminal may fold the heading"
    points = Bundle.open(copy).read("sweep")
    assert [p["processes"] for p in points] == [1, 2]
    assert {w["replicate"] for w in points[1]["windows"]} == {0, 1, 2}
    assert set(points[1]["process_of"]) == {0, 1}


def test_a_length_sweep_of_an_image_model_is_one_clear_line(copy, run):
    alone = run("bench", copy, "--sweep", "length", *WORDS)
    assert alone.returncode == 1
    (line,) = alone.stderr.strip().splitlines()
    assert "--sweep length: this model has no sequence axis: its inputs are image (batch, 1, 28, 28)" in line
    words = ("--sweep", "length", "--sweep", "batch", "--sweep-limit", "1", "--precision", "float32")
    among = run("bench", copy, *words, *WORDS)
    assert among.returncode == 0, among.stderr
    assert "has no sequence axis" in among.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep", "lenght"), "did you mean 'length'? known are batch, concurrency, length, precision, threads"),
        (("--sweep-limit", "8"), "--sweep-limit: is for --sweep batch, which was not asked for"),
        (("--sweep", "batch", "--concurrency", "8"), "--concurrency: is for --sweep concurrency"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_before_any_work(made, run, words, said):
    result = run("bench", made.root, *words)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_form_that_was_never_made_is_one_line(copy, run):
    result = run("bench", copy, "--precision", "bfloat16")
    assert result.returncode == 1
    assert "holds no bfloat16 form; make it with `pipeline train-export … --precision bfloat16`" in result.stderr
    assert result.stdout == ""
