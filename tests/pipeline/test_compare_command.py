"""`compare`: what can be compared, what is refused, and when the gate closes."""

import json
import math
import shutil
from dataclasses import replace

import pytest

from export.bundle.errors import BackendFailed, UsageError
from export.bundle.store import Bundle, manifest_bytes
from export.bundle.types import to_json
from export.progress import Silent
from pipeline.compare import alternate, compared
from pipeline.compare_sides import Side, side_of
from pipeline.comparison import Comparison, Row, Slower
from pipeline.options import Options
from serve_bench.latency.records import whole_runs
from serve_bench.latency.stats import Interval


def test_a_bundle_and_its_printed_measurements_are_the_same(made, run, tmp_path):
    printed = run("report", made.root, "--format", "json", "-o", tmp_path / "base.json")
    assert printed.returncode == 0, printed.stderr
    one, other = side_of(made.root), side_of(tmp_path / "base.json")
    assert (one.model, one.environment) == (other.model, other.environment)
    assert {c: dict(one.of(c)) for c in one.cells} == {c: dict(other.of(c)) for c in other.cells}
    found = compared(one, other, anyway=False)
    assert {row.word for row in found.rows} == {"indistinguishable"}
    assert all(row.ratio.value == 1.0 for row in found.rows)
    assert f"both sides hold run {one.run}: it is compared with itself" in found.notes
    found.raise_if_slower(0.0)


def test_a_bundle_and_a_file_know_the_same_of_their_environment(made, base):
    assert side_of(made.root).where == side_of(base).where
    assert side_of(base).where["cores"] > 0


def slower(path, factor, backend="onnxruntime-cpu", **more):
    document = json.loads(path.read_text())
    (report,) = document["reports"]
    for row in report["rows"]:
        if row["subject"] == backend:
            row["latencies_ns"] = [int(v * factor) for v in row["latencies_ns"]]
    report.update(more)
    made = path.with_name(f"{factor}.json")
    made.write_text(json.dumps(document))
    return made


@pytest.fixture
def base(made, run, tmp_path):
    """What the bundle's report holds, with latencies of a machine that never stirs: five replicates, 0.04 % apart."""
    path = tmp_path / "base.json"
    assert run("report", made.root, "--format", "json", "-o", path).returncode == 0
    document = json.loads(path.read_text())
    for row in document["reports"][0]["rows"]:
        row["of_replicate"] = [r for r in range(5) for _ in range(4)]
        row["latencies_ns"] = [100_000 * row["batch"] + 10 * r for r in row["of_replicate"]]
    path.write_text(json.dumps(document))
    return path


def test_the_gate_is_an_exit_status(base, run):
    new = slower(base, 3)
    result = run("compare", base, new, "--fail-if-slower", "5%", "--json")
    assert result.returncode == 1
    assert "slower by more than 5%" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    document = json.loads(result.stdout)
    gate = document["gate"]
    assert (gate["share"], gate["passed"], gate["lacking"]) == (0.05, False, [])
    assert ["onnxruntime-cpu", 1, "host"] in gate["slower"]
    rows = {(r["backend"], r["batch"]): r for r in document["rows"]}
    assert rows["onnxruntime-cpu", 1]["word"] == "slower"
    assert rows["onnxruntime-cpu", 1]["ratio"]["value"] == pytest.approx(1 / 3, rel=0.01)
    assert rows["torchscript", 1]["word"] == "indistinguishable"
    quicker = run("compare", new, base, "--fail-if-slower", "0.05")
    assert quicker.returncode == 0, quicker.stderr
    assert "faster" in quicker.stdout


def test_unlike_things_are_not_compared_unless_told(base, tmp_path):
    document = json.loads(base.read_text())
    report = document["reports"][0]
    elsewhere = {
        **report["environment"],
        "cpu": "Another CPU",
        "versions": {**report["environment"]["versions"], "numpy": "9"},
    }
    other = side_of(slower(base, 1.5, environment_id="other", environment=elsewhere))
    with pytest.raises(UsageError, match=r"unlike environments \(cpu: .* and Another CPU; numpy: .* and 9\); --anyway"):
        compared(side_of(base), other, anyway=False)
    found = compared(side_of(base), other, anyway=True)
    assert any("unlike environments" in note for note in found.notes)
    with pytest.raises(UsageError, match=r"measures cnn and .* mlp; --anyway"):
        compared(side_of(base), side_of(slower(base, 1.25, model="mlp")), anyway=False)
    with pytest.raises(UsageError, match=r"measures cnn and .* cnn width=2; --anyway"):
        compared(side_of(base), side_of(slower(base, 1.25, model="cnn width=2")), anyway=False)


def with_latencies(values):
    row = f'{{"subject": "eager", "batch": 1, "boundary": "host", "latencies_ns": {values}, "of_replicate": [0, 1]}}'
    return f'{{"schema": 1, "reports": [{{"rows": [{row}], "model": "m", "environment_id": "e", "subjects": []}}]}}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is cut off or no JSON"),
        ("[1]", "is no measurement file of schema 1"),
        ('{"schema": 2, "reports": []}', "is no measurement file of schema 1"),
        ('{"schema": 1, "reports": []}', "is no measurement file of one bundle"),
        (
            '{"schema": 1, "reports": [{"rows": [{}], "model": "m", "environment_id": "e"}]}',
            "no measurement file of one",
        ),
        ('{"schema": 1, "reports": [{"rows": [], "model": "m", "environment_id": "e"}]}', "holds no measurements"),
        (with_latencies("[100, 0]"), "a latency of 0 ns"),
        (with_latencies("[100, -5]"), "a latency of -5 ns"),
        (with_latencies("[100, Infinity]"), "a latency of inf ns"),
        (with_latencies("[NaN, 100]"), "a latency of nan ns"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        side_of(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no such bundle or file"):
        side_of(tmp_path / "none.json")


def fixed(name, run, latest_ns, earlier_ns=()):
    """A side of one cell: ten replicates of the run that counts, and of earlier ones."""
    runs = {run: latest_ns} | {f"{run} {i}": ns for i, ns in enumerate(earlier_ns)}
    medians = {n: {r: ns * (1 + r / 1e4) for r in range(10)} for n, ns in runs.items()}
    return Side(name=name, model="m", environment="e", run=run, cells={("eager", 1, "host"): medians})


def test_earlier_runs_do_not_hide_that_the_latest_is_slower():
    found = compared(fixed("base", "a", 100e3), fixed("new", "b", 400e3, [100e3]), anyway=False)
    assert found.rows[0].ratio.value == pytest.approx(0.25)
    assert found.rows[0].ratio.high < 0.27
    with pytest.raises(Slower):
        found.raise_if_slower(0.05)


def test_earlier_runs_say_how_far_runs_lie_apart():
    new = fixed("new", "b", 90e3)
    steady = compared(fixed("base", "a", 100e3, [100e3] * 4), new, anyway=False)
    assert any("(from 4 repeated runs here, and 1.0% that is given" in note for note in steady.notes)
    assert steady.rows[0].word == "faster"
    moving = compared(fixed("base", "a", 100e3, [80e3, 120e3, 90e3]), new, anyway=False)
    assert moving.rows[0].word == "indistinguishable"
    alone = compared(fixed("base", "a", 100e3), new, anyway=False)
    assert any("(given, for want of repeated runs)" in note for note in alone.notes)


def test_cells_of_one_side_alone_are_named(base):
    document = json.loads(base.read_text())
    document["reports"][0]["rows"] = [r for r in document["reports"][0]["rows"] if r["subject"] != "torchscript"]
    less = base.with_name("less.json")
    less.write_text(json.dumps(document))
    found = compared(side_of(base), side_of(less), anyway=False)
    assert found.only_base == ("torchscript at batch 1", "torchscript at batch 8")
    document["reports"][0]["rows"] = [{**r, "subject": "mine"} for r in document["reports"][0]["rows"]]
    less.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="no backend and batch in common"):
        compared(side_of(base), side_of(less), anyway=False)


def changed(path, name, **conditions):
    """The same file, its run taken under other conditions."""
    document = json.loads(path.read_text())
    document["reports"][0]["conditions"] |= conditions
    made = path.with_name(name)
    made.write_text(json.dumps(document))
    return made


def test_a_slower_machine_is_not_called_a_slower_form(base, run):
    machine = json.loads(base.read_text())["reports"][0]["conditions"]["machine_ns"]
    new = changed(slower(base, 1.5), "busy.json", machine_ns={name: 1.6 * ns for name, ns in machine.items()})
    found = compared(side_of(base), side_of(new), anyway=False)
    (row,) = (r for r in found.rows if (r.backend, r.batch) == ("onnxruntime-cpu", 1))
    assert row.word == "indistinguishable"
    assert row.ratio.low < row.ratio.value < 0.7 < 1 < row.ratio.high
    assert any("took in" in note and "a fixed loop +60.0 %, a copy of 8 MiB +60.0 %" in note for note in found.notes)
    quiet = compared(side_of(base), side_of(slower(base, 1.5)), anyway=False)
    assert {r.word for r in quiet.rows if r.backend == "onnxruntime-cpu"} == {"slower"}
    gate = run("compare", base, new, "--fail-if-slower", "5%")
    assert gate.returncode == 0, gate.stderr
    (told,) = [line for line in gate.stdout.splitlines() if "the gate at 5% closes only where" in line]
    assert told.startswith("! ")
    assert "--alternate measures both in turns" in told


def told_of_gate(half, share, **given):
    """What is said of a gate over one row whose log ratio is known to ± `half`."""
    row = Row(
        backend="x",
        batch=1,
        boundary="host",
        base_ns=1.0,
        new_ns=1.0,
        ratio=Interval(1.0, math.exp(-half), math.exp(half)),
        word="indistinguishable",
    )
    return Comparison(base="a", new="b", rows=(row,), only_base=(), only_new=(), notes=(), **given).seen_from(share)


def test_a_gate_says_what_it_can_see_and_how_many_pairs_see_more():
    # e^0.01 · 1.05 = 1.0605: below twice the share
    assert told_of_gate(0.01, 0.05) == (
        "the gate at 5% closes only where a form has become slower by 6.1% or more (median of 1 row; 6.1% for x at "
        "batch 1)"
    )
    # Of 3 pairs ± 0.248 = t(2) s/√3 with t(2) = 4.303: s = 0.0998. 1.10/1.05 leaves ± 0.0465; t(n − 1)·s/√n is 0.0474
    # for 20 pairs (t = 2.093·0.0998/4.472 = 0.0467) and 0.0454 for 21 (2.086·0.0998/4.583).
    told = told_of_gate(0.248, 0.05, pairs=3)
    assert told.startswith("! ")
    assert told.endswith("to see 10%, take --alternate 21 if pairs go on differing as these 3 did")
    assert told_of_gate(2.0, 0.05, pairs=3).endswith("50 pairs like these would not do")


def test_runs_taken_otherwise_are_not_compared_unless_told(base):
    other = side_of(changed(base, "two.json", threads=2))
    with pytest.raises(UsageError, match=r"unlike conditions \(threads: 1 and 2\); --anyway"):
        compared(side_of(base), other, anyway=False)
    assert "unlike conditions: threads: 1 and 2" in compared(side_of(base), other, anyway=True).notes
    document = json.loads(base.read_text())
    del document["reports"][0]["conditions"]
    base.with_name("old.json").write_text(json.dumps(document))
    old = compared(side_of(base), side_of(base.with_name("old.json")), anyway=False)
    assert any("is not known of" in note and "old.json" in note for note in old.notes)


def test_a_row_that_the_new_side_lacks_passes_no_gate(base, run):
    document = json.loads(base.read_text())
    for row in document["reports"][0]["rows"]:
        if row["subject"] == "torchscript":
            row["latencies_ns"], row["error"] = [], "died"
    less = base.with_name("died.json")
    less.write_text(json.dumps(document))
    gate = run("compare", base, less, "--fail-if-slower", "5%")
    assert gate.returncode == 2
    assert "lacks torchscript at batch 1, torchscript at batch 8, which " in gate.stderr
    assert len(gate.stderr.strip().splitlines()) == 1
    assert run("compare", less, base, "--fail-if-slower", "5%").returncode == 0
    assert run("compare", base, less).returncode == 0
    named = run("compare", base, less, "--fail-if-slower", "5%", "--backend", "onnxruntime-cpu")
    assert named.returncode == 0, named.stderr


def test_a_row_of_one_replicate_passes_no_gate(base, run):
    document = json.loads(base.read_text())
    for row in document["reports"][0]["rows"]:
        if row["subject"] == "torchscript":
            row["of_replicate"] = [0] * len(row["latencies_ns"])
    few = base.with_name("few.json")
    few.write_text(json.dumps(document))
    gate = run("compare", base, few, "--fail-if-slower", "5%", "--json")
    assert gate.returncode == 2
    assert "torchscript at batch 1, torchscript at batch 8: fewer than two replicates on a side" in gate.stderr
    assert json.loads(gate.stdout)["gate"]["passed"] is False
    assert run("compare", base, few).returncode == 0


def test_a_form_that_dies_in_a_later_pair_passes_no_gate(made, monkeypatch, tmp_path):
    one, other = (shutil.copytree(made.root, tmp_path / name) for name in ("one", "other"))
    cells = {name: {"r": {r: 1e5 + r for r in range(3)}} for name in (("eager", 1, "host"), ("torchscript", 1, "host"))}
    whole = Side(name="", model="m", environment="e", run="r", cells=cells)
    broken = replace(whole, cells={("eager", 1, "host"): cells["eager", 1, "host"]})
    taken = {one: [whole, whole], other: [whole, broken]}
    monkeypatch.setattr("pipeline.run.bench_paths", lambda paths, options, progress: iter(()))
    monkeypatch.setattr("pipeline.compare.newest", lambda path: taken[path].pop(0))
    found = alternate(one, other, 2, Options(), Silent())
    assert (found.only_base, found.only_new) == (("torchscript at batch 1",), ())
    assert [(row.backend, row.word) for row in found.rows] == [("eager", "indistinguishable")]
    assert found.gate(0.05)["passed"] is False
    with pytest.raises(UsageError, match="lacks torchscript at batch 1"):
        found.raise_if_slower(0.05)


def test_other_models_are_not_measured_in_turns_unless_told(made, tmp_path, run):
    one = shutil.copytree(made.root, tmp_path / "one")
    manifest = one / "payload/manifest.json"
    manifest.write_bytes(manifest_bytes(replace(Bundle.open(one).manifest, variant="width=2")))
    result = run("compare", made.root, one, "--alternate", "2")
    assert result.returncode == 2
    assert "measures cnn and" in result.stderr
    assert "cnn width=2; --anyway" in result.stderr


def in_turns(run, one, other, *words):
    """What `compare --alternate 2` prints of two bundles."""
    quick = ("--batch", "1", "--budget", "0.3", "--replicates", "2", "--json")
    result = run("compare", one, other, "--alternate", "2", *words, *quick)
    assert result.returncode == 0, result.stderr
    assert "the report now shows this run" not in result.stderr
    assert result.stderr.count("as before; those of now are kept too") == len({one, other})
    return json.loads(result.stdout)


def test_a_bundle_against_itself_is_measured_twice(made, run, tmp_path):
    one = shutil.copytree(made.root, tmp_path / "one")
    shown = whole_runs(Bundle.open(one))[-1][0].run
    (row,) = in_turns(run, one, one, "--backend", "onnxruntime-cpu", "--precision", "float32")["rows"]
    assert row["base_ns"] != row["new_ns"]
    runs = whole_runs(Bundle.open(one))
    assert (len(runs), runs[-1][0].run) == (5, shown), "the runs are kept, and the report shows what it showed"
    assert json.loads((one / "report.json").read_text())["reports"][0]["run"] == shown


def test_slower_names_the_worst(base):
    found = compared(side_of(base), side_of(slower(base, 2)), anyway=False)
    with pytest.raises(
        Slower, match=r"onnxruntime-cpu at batch \d runs at 0\.\d+× .* slower by more than 10% \(and 1 more\)"
    ):
        found.raise_if_slower(0.1)
    found.raise_if_slower(None)


def test_both_are_measured_in_turns(made, run, tmp_path):
    one, other = (shutil.copytree(made.root, tmp_path / name) for name in ("one", "other"))
    document = in_turns(run, one, other, "--backend", "eager", "--backend", "onnxruntime-cpu")
    cells = {(r["backend"], r["batch"]) for r in document["rows"]}
    assert cells == {("eager", 1), ("onnxruntime-cpu", 1), ("onnxruntime-cpu float16", 1)}
    for row in document["rows"]:
        assert row["ratio"]["value"] == pytest.approx(row["base_ns"] / row["new_ns"])
    assert document["notes"] == [
        "base and new are geometric means over runs, and the ratio is their quotient: the mean over pairs",
        "2 runs of each, in turns; the interval is over pairs, 9 times as wide as --alternate 6 makes it",
    ]
    assert document["gate"] is None


def test_what_is_not_asked_for_closes_no_gate(base, run):
    new = slower(base, 3)
    other = run("compare", base, new, "--fail-if-slower", "5%", "--backend", "torchscript")
    assert other.returncode == 0, other.stderr
    assert "onnxruntime" not in other.stdout
    none = run("compare", base, new, "--batch", "512")
    assert none.returncode == 2
    assert "holds no measurement of batch 512" in none.stderr
    share = run("compare", base, new, "--fail-if-slower", "5")
    assert share.returncode == 2
    assert "5 is no share such as 5% or 0.05" in share.stderr


def test_only_a_slower_one_ends_with_status_1(base, run, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("compare", base, tmp_path / "empty", "--fail-if-slower", "5%")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_of_several_bundles_is_refused(base):
    document = json.loads(base.read_text())
    document["reports"] *= 2
    base.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="holds 2 bundles; name a file of one"):
        side_of(base)


def test_what_only_measuring_heeds_is_refused_without_it(base, run):
    for words in (("--threads", "2"), ("--precision", "float16"), ("--budget", "3")):
        result = run("compare", base, base, *words)
        assert result.returncode == 2
        assert f"{words[0]}: is for --alternate, which measures" in result.stderr


def test_a_broken_run_in_turns_leaves_the_report_as_it_was(made, monkeypatch, tmp_path):
    one = shutil.copytree(made.root, tmp_path / "one")
    before = whole_runs(Bundle.open(one))[-1]

    def broken(paths, options, progress):
        bundle = Bundle.open(paths[0])
        for record in before:
            bundle.append("measurement", to_json(replace(record, run="short", started="2999-01-01T00:00:00+00:00")))
        raise BackendFailed("no")

    monkeypatch.setattr("pipeline.run.bench_paths", broken)
    with pytest.raises(BackendFailed):
        alternate(one, one, 2, Options(), Silent())
    assert whole_runs(Bundle.open(one))[-1][0].run == before[0].run


def test_only_bundles_are_measured_in_turns(made, base, run):
    before = (made.root / "report.html").read_bytes()
    result = run("compare", made.root, base, "--alternate", "2")
    assert result.returncode == 2
    assert f"{base}: is no bundle, and --alternate measures two" in result.stderr
    assert (made.root / "report.html").read_bytes() == before
