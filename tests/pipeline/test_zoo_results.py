"""Runs that are written down, the order in which they are made, and the table they are shown in."""

import dataclasses
import json
import math

import pytest

from export.bundle.errors import DataError
from export.bundle.types import Published
from pipeline import bench_zoo, many, reproduction, results
from pipeline.options import Options
from pipeline.reproduction import Ours, interval, judged
from pipeline.reproduction_html import page
from pipeline.reproduction_page import BRIEF, HEADINGS, all_remarks, brief, cells, markdown, remarks, write
from tests.conftest import ROOT

RUN = results.Run(
    id="mlp",
    variant="",
    recipe="fast",
    seed=0,
    metric="test_accuracy",
    figure=0.98,
    metrics={"test_accuracy": 0.98},
    seconds=4.0,
    epochs=4,
    content="c",
    commit="abc",
    machine="m",
    torch="2",
    date="2026-01-01",
)


def run(**changes):
    return dataclasses.replace(RUN, **changes)


def test_runs_are_read_as_written_and_the_last_of_a_key_counts(tmp_path):
    path = tmp_path / "results" / "zoo.jsonl"
    for figure in (0.5, 0.75):
        results.append(run(figure=figure), path)
    results.append(run(seed=1), path)
    found = results.read(path)
    assert [r.figure for r in found] == [0.5, 0.75, 0.98]
    assert {key[3]: r.figure for key, r in results.latest(found).items()} == {0: 0.75, 1: 0.98}
    assert results.read(tmp_path / "none.jsonl") == []


def test_a_line_that_is_no_run_is_named(tmp_path):
    path = tmp_path / "zoo.jsonl"
    results.append(RUN, path)
    path.write_text(path.read_text() + '{"id": "ml')
    with pytest.raises(DataError, match=r"zoo.jsonl, line 2: is no run .* delete the line"):
        results.read(path)


def test_the_interval_joins_test_set_and_seeds():
    # 0.9 over 100 samples: 1.96 · sqrt(0.09 / 100)
    published = Published(figure=0.9, metric="test_accuracy", source="")
    one, four = Ours(figures=(0.9,), seconds=1.0), Ours(figures=(0.86, 0.86, 0.94, 0.94), seconds=1.0)
    assert interval(published, one, 100) == pytest.approx(1.96 * 0.03)
    # standard deviation of four figures, each 0.04 from their mean: sqrt(4 · 0.0016 / 3)
    assert interval(published, four, 100) == pytest.approx(1.96 * math.sqrt(0.0009 + 4 * 0.0016 / 3 * 1.25))


def test_reproduced_is_inside_the_interval_and_the_words_say_by_how_much():
    published = Published(figure=0.9, metric="test_accuracy", source="")
    assert judged(published, Ours(figures=(0.85,), seconds=1.0), 100) == (True, "-5.00 points, ±5.88 allowed")
    other = Ours(figures=(0.84,), seconds=1.0)
    assert judged(published, other, 100) == (False, "-6.00 points, ±5.88 allowed")
    why = dataclasses.replace(published, differs="no rate is given")
    assert judged(why, other, 100) == (False, "-6.00 points, ±5.88 allowed: no rate is given")
    assert judged(why, Ours(figures=(0.85,), seconds=1.0), 100)[1] == "-5.00 points, ±5.88 allowed"


def test_a_squared_error_that_float32_cannot_show_is_zero():
    published = Published(figure=0.0, metric="test_mse", source="")
    assert judged(published, Ours(figures=(2.0**-46,), seconds=1.0), 1)[0]
    assert not judged(published, Ours(figures=(1e-12,), seconds=1.0), 1)[0]


def test_the_table_leaves_blank_what_was_not_run():
    runs = [run(figure=0.97 + 0.01 * seed, seed=seed, seconds=2.0) for seed in range(3)]
    runs.append(run(recipe="published", figure=0.976, seconds=20.0))
    every = reproduction.rows(runs, {}, ["mlp"])
    assert dict(zip(HEADINGS, cells(every[0]), strict=True)) == {
        "model": "mlp",
        "variant": "",
        "figure": "accuracy, higher is better",
        "published": "97.60 %",
        "ours, published recipe": "97.60 % (1)",
        "reproduced": "yes",
        "ours, fast": "98.00 % ± 1.00 % (3)",
        "reaches it": "yes",
        "training: published": "20 s",
        "fast": "2 s",
        "share": "0.10",
        "this folder's": "",
        "exported forms": "",
        "fastest at batch 1": "",
    }
    assert cells(every[1])[4:] == [""] * 10
    assert markdown(every).count("\n| mlp |") == len(every) == 4
    assert page(every).count("<svg") == 1
    assert "1 of 1 published figures are reproduced by their own recipe; fast reaches 1 of 1." in page(every)
    assert page(every).count("Runs of 2026-01-01, on m.") == markdown(every).count("Runs of 2026-01-01, on m.") == 1
    assert page(reproduction.rows([], {}, ["mlp"])).count("<svg") == 0


def test_without_a_published_figure_the_best_run_of_its_recipe_stands_in():
    runs = [
        run(id="gp-tanh", metric="test_mse", recipe="published", figure=f, seed=i) for i, f in enumerate((0.3, 0.2))
    ]
    runs += [run(id="gp-tanh", metric="test_mse", figure=0.25)]
    (row,) = reproduction.rows(runs, {}, ["gp-tanh"])
    assert (row.standard, row.reached, row.reproduced) == (0.2, False, None)
    assert cells(row)[3] == "(ours: 0.2)"
    assert row.source.startswith("Lecture 23")
    (row,) = reproduction.rows([*runs, run(id="gp-tanh", metric="test_mse", figure=0.19)], {}, ["gp-tanh"])
    assert row.reached is True


def test_what_the_brief_table_has_no_room_for_is_said_below_it():
    elsewhere = "trained on digits, not on mnist"
    deployed = reproduction.Deployed(
        verdict="", backend="", ratio=None, reason="there is no bundle", data=elsewhere, figure=0.38
    )
    runs = [run(recipe="published", figure=0.5), run(figure=0.4)]
    missed = reproduction.rows(runs, {("mlp", ""): deployed}, ["mlp"])[0]
    assert brief(missed) == ["mlp", "97.60 %", "50.00 % (1)", "40.00 % (1)", "38.00 %*", "no bundle", ""]
    assert len(brief(missed)) == len(BRIEF)
    told = remarks(missed)
    assert told[0].startswith("not reproduced: -47.60 points")
    assert told[1:] == ["fast stays below the published figure", elsewhere, "no bundle: there is no bundle"]
    assert f"mlp, mlp1: {elsewhere}" in all_remarks([missed, dataclasses.replace(missed, id="mlp1")])
    assert f"- mlp: {elsewhere}" in markdown([missed])
    assert f"<li>mlp: {elsewhere}</li>" in page([missed])
    assert remarks(reproduction.rows([run()], {}, ["mlp"])[0]) == []


def test_a_narrow_table_has_parameters_below_the_model_and_means_alone():
    runs = [
        run(id="cnn-flat", recipe=r, figure=f, seed=s) for r in ("published", "fast") for s, f in ((0, 0.9), (1, 1))
    ]
    assert brief(reproduction.rows(runs, {}, ["cnn-flat"])[0], narrow=True)[:4] == [
        *("cnn-flat", "91.20 %", "95.00 %", "95.00 %")
    ]
    wide = [row for row in reproduction.rows([], {}, ["cnn-pool3"]) if row.variant.count("=") == 3]
    assert brief(wide[0], narrow=True)[0] == "cnn-pool3\n  channels=9\n  rate=0.1\n  epochs=10"


def test_the_reports_are_written_and_the_json_is_whole(tmp_path):
    paths = write(reproduction.rows([RUN], {}, ["mlp"]), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths.values())
    assert json.loads(paths["json"].read_text())[0]["recipes"]["fast"]["figures"] == [0.98]


def test_first_seeds_come_first_and_the_long_runs_last():
    names = [job.name for job in bench_zoo.jobs([])]
    assert names.index("mlp fast seed 0") < names.index("mlp published seed 0") < names.index("mlp fast seed 1")
    assert names[-1].endswith("seed 4")
    assert names.index("cnn published seed 0") > names.index("convnet fast seed 4")
    assert names.index("mlp1 width=50000 fast seed 0") > names.index("mlp1 width=5000 fast seed 4")


def test_slow_runs_have_fewer_seeds():
    done = [run(recipe=recipe, seconds=61.0) for recipe in ("fast", "published")]
    seeds = [(job.recipe.name, job.seed) for job in bench_zoo.jobs(done) if job.key[:2] == ("mlp", "")]
    assert sorted(seeds) == [("fast", 0), ("fast", 1), ("fast", 2), ("published", 0)]


def test_a_changed_recipe_is_another_run():
    job = next(iter(bench_zoo.jobs([])))
    other = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, learning_rate=0.123))
    noted = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, notes="words"))
    assert job.content("data") != other.content("data")
    assert job.content("data") == noted.content("data")
    assert job.content("data") != job.content("other data")


def test_the_time_is_over():
    with bench_zoo.Deadline(0.0).stage("train") as bar, pytest.raises(bench_zoo.OutOfTime):
        bar.advance(0.1, 1.0)


def test_the_committed_results_can_be_read():
    results.read(ROOT / "results" / "zoo.jsonl")


class Said:
    def __init__(self):
        self.lines = []

    def finished(self, title, note, *, well=True):
        self.lines.append((title, well, note))

    def stage(self, title):
        from export.progress import Silent

        return Silent().stage(title)


def test_a_failure_does_not_stop_the_rest(tmp_path, monkeypatch):
    import sys

    script = (
        "import sys; n = sys.argv[1]; print('error: no data', file=sys.stderr) if n == 'b' else 0; sys.exit(n == 'b')"
    )
    monkeypatch.setattr(many, "COMMAND", (sys.executable, "-c", script))
    said = Said()
    finished = many.run_many(["a", "b", "c"], ["--quiet"], 1, tmp_path, said)
    assert [(one.id, one.status) for one in finished] == [("a", 0), ("b", 1), ("c", 0)]
    assert ("b", False, f"error: no data (log: {tmp_path / 'b.log'})") in said.lines
    with pytest.raises(Exception, match="1 of 3 models failed: b"):
        many.raise_for(finished)


def test_measuring_waits_until_no_other_model_is_at_work(tmp_path, monkeypatch):
    import sys

    script = (
        "import sys; from pathlib import Path; n, *words = sys.argv[1:]; "
        f"open({str(tmp_path / 'order')!r}, 'a').write(' '.join([n, *words]) + '\\n'); print(n, *words); "
        "sys.exit(n == 'mlp1')"
    )
    monkeypatch.setattr(many, "COMMAND", (sys.executable, "-c", script))
    options = Options(out=tmp_path / "out")
    outcome = many.train_export_many(["mlp", "mlp1", "cnn"], False, ["--seed", "1"], 2, options, Said())
    order = (tmp_path / "order").read_text().splitlines()
    assert sorted(order[:3]) == ["cnn --seed 1 --no-bench", "mlp --seed 1 --no-bench", "mlp1 --seed 1 --no-bench"]
    assert order[3:] == ["mlp --seed 1", "cnn --seed 1"]
    assert (tmp_path / "out" / "mlp.log").read_text() == "mlp --seed 1 --no-bench\nmlp --seed 1\n"
    assert [(one.id, one.status) for one in outcome.finished] == [("mlp", 0), ("mlp1", 1), ("cnn", 0)]
    (tmp_path / "order").unlink()
    many.train_export_many(["mlp", "cnn"], False, [], 2, options, Said(), bench=False)
    assert sorted((tmp_path / "order").read_text().splitlines()) == ["cnn --no-bench", "mlp --no-bench"]


@pytest.mark.parametrize(
    ("dataset", "metric", "wanted"), [("mnist", "", 0.9), ("digits", "", None), ("mnist", "changed recipe", None)]
)
def test_a_bundle_brings_its_own_training_unless_by_another_recipe_or_on_other_data(dataset, metric, wanted):
    from types import SimpleNamespace

    from export.registry import entry
    from pipeline.variants import with_params

    spec = with_params(entry("pipeline.models", "model", "mlp"), {})
    recipe = dataclasses.replace(spec.recipes[0], seed=3, epochs=spec.recipes[0].epochs + (metric == "changed recipe"))
    metrics = {"test_accuracy": 0.9}
    training = SimpleNamespace(recipe=recipe, seed=3, seconds=1.5, metrics=metrics, history=(1, 2))
    where = SimpleNamespace(gpus=(), cores=2, cpu="C", versions={"torch": "2"})
    manifest = SimpleNamespace(
        training=training,
        dataset=SimpleNamespace(name=dataset, digest="d"),
        environment=where,
        created="2026-01-02T03:04:05+00:00",
    )
    found = results.run_of_bundle(spec, manifest)
    if wanted is None:
        assert found is None
    else:
        assert (found.key, found.figure, found.epochs) == (("mlp", "", "fast", 3), wanted, 2)
        assert (found.machine, found.date) == ("2 × C, no GPU", "2026-01-02")


def test_the_table_covers_every_bundle_of_the_folder(tmp_path):
    for name in ("mlp", "mlp1-width=100", "cnn-pool3-channels=4"):
        (tmp_path / name / "payload").mkdir(parents=True)
        (tmp_path / name / "payload" / "manifest.json").write_text("{}")
    found = {(row.id, row.variant): row.deployed for row in many._rows(["sine"], tmp_path)}
    assert {id_ for id_, _ in found} == {"sine", "mlp", "mlp1", "cnn-pool3"}
    there = {key for key, deployed in found.items() if deployed}
    assert there == {("sine", ""), ("mlp", ""), ("mlp1", "width=100"), ("cnn-pool3", "channels=4")}


def test_two_benches_do_not_run_at_once(tmp_path, monkeypatch):
    from export.bundle.errors import BundleBusy
    from export.bundle.files import locked

    monkeypatch.setattr(bench_zoo, "WORK", tmp_path / ".work")
    with locked(tmp_path / ".work"), pytest.raises(BundleBusy, match="another run"):
        bench_zoo.main(["--results", str(tmp_path / "zoo.jsonl")])
    assert not (tmp_path / "zoo.jsonl").exists()
