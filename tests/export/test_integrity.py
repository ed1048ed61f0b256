"""Every byte counts: what was changed, added, taken out or exchanged is named, and what is whole passes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.bundle.errors import BundleCorrupt, BundleError, BundleTooNew
from export.bundle.files import digest_of
from export.bundle.integrity import check_file, check_integrity, compare
from export.bundle.store import Bundle
from tests.conftest import ROOT
from tests.export.small_bundle import make

FILES = {"model.onnx": "graph", "engines/sm80/model.engine": "code", "truth.npz": "answers"}


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path) -> Path:
    bundle = make(tmp_path / "b", FILES)
    bundle.append("verification", {"error": 1e-07, "said": "ESC \u001b"})
    bundle.append("verification", {"error": 2.5})
    bundle.append("measurement", {"latencies_ns": [1, 2, 3]})
    return tmp_path / "b"


def kinds(root: Path) -> dict[str, str]:
    return {finding.path: finding.kind for finding in check_integrity(root).findings}


def said(root: Path) -> str:
    return "; ".join(map(str, check_integrity(root).findings))


def test_a_whole_bundle_passes(root):
    found = check_integrity(root)
    assert (found.findings, found.files, found.records, found.earlier) == ((), 4, 3, 0)
    assert found.digest == Bundle.open(root).digest
    found.raise_for_findings(root)


def test_changed_added_missing_and_swapped_are_told_apart(root):
    payload = root / "payload"
    (payload / "model.onnx").write_text("grapX")
    assert kinds(root) == {"payload/model.onnx": "changed"}
    (payload / "model.onnx").write_text("graph")
    (payload / "extra").write_text("x")
    assert kinds(root) == {"payload/extra": "added"}
    (payload / "extra").unlink()
    (payload / "truth.npz").unlink()
    assert kinds(root) == {"payload/truth.npz": "missing"}
    (payload / "truth.npz").write_text("graph")
    (payload / "model.onnx").write_text("answers")
    assert kinds(root) == {"payload/model.onnx": "swapped", "payload/truth.npz": "swapped"}
    assert "payload/model.onnx: was swapped with truth.npz" in said(root)


def test_a_renamed_file_and_a_copy_over_another_are_named():
    wanted = {"a": "1", "b": "2", "c": "3"}
    assert [str(f) for f in compare(wanted, {"a": "1", "x": "2", "c": "1"})] == [
        "payload/b: is missing",
        "payload/c: was changed: it is a copy of a",
        "payload/x: was added; it is the missing b",
    ]
    assert compare(wanted, wanted) == []


def test_a_cycle_of_three_is_no_swap():
    found = compare({"a": "1", "b": "2", "c": "3"}, {"a": "2", "b": "3", "c": "1"})
    assert [(f.path, f.kind) for f in found] == [(f"payload/{n}", "changed") for n in "abc"]


def test_links_and_other_things_in_the_payload_are_findings(root, tmp_path):
    (root / "payload/model.onnx").unlink()
    (root / "payload/model.onnx").symlink_to(tmp_path / "elsewhere")
    (root / "payload/folder").symlink_to(tmp_path)
    os.mkfifo(root / "payload/pipe")
    text = said(root)
    for path in ("model.onnx: is a link", "folder: is a link", "pipe: is no regular file", "model.onnx: is missing"):
        assert f"payload/{path}" in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'\n "model"', b'\n  "model"'),
        (b'"model": "tiny"', b'"model":"tiny"'),
        (b'"tiny"', b'"t\\u0069ny"'),
        (b'"seconds": 0.0', b'"seconds": 0.00'),
        (b"\n}\n", b"\n}"),
        (b"\n}\n", b"\n}\n\n"),
        (b"{", b"\xef\xbb\xbf{"),
    ],
)
def test_bytes_of_the_manifest_that_leave_its_values_alone_count(root, old, new):
    path = root / "payload/manifest.json"
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    assert kinds(root) == {"payload/manifest.json": "changed"}


def test_a_damaged_manifest_is_a_finding_and_records_are_checked_all_the_same(root):
    path = root / "payload/manifest.json"
    path.write_bytes(path.read_bytes()[:-100])
    (root / "records/measurement.jsonl").write_bytes(b"x\n")
    assert kinds(root) == {"payload/manifest.json": "changed", "records/measurement.jsonl line 1": "damaged"}


def test_a_manifest_of_endless_brackets_is_one_finding(root):
    (root / "payload/manifest.json").write_bytes(b"[" * 200_000)
    assert kinds(root) == {"payload/manifest.json": "changed"}


def test_a_manifest_that_gives_a_file_two_digests_is_a_finding(root):
    path = root / "payload/manifest.json"
    value = json.loads(path.read_bytes())
    del value["digest"]
    value["artifacts"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(value | {"digest": digest_of(value)}, indent=1, ensure_ascii=False) + "\n")
    assert "gives model.onnx two different sha256" in said(root)


def test_no_bundle_and_a_later_version_are_errors(root, tmp_path):
    with pytest.raises(BundleError, match="no bundle there"):
        check_integrity(tmp_path / "nothing")
    path = root / "payload/manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(BundleTooNew, match="upgrade"):
        check_integrity(root)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda d: d.replace(b"1e-07", b"1E-07"), {1}),
        (lambda d: d.replace(b"\\u001b", b"\\u001B"), {1}),
        (lambda d: d.replace(b',"record"', b', "record"'), {1, 2}),
        (lambda d: d.replace(b'"checksum"', b'"Checksum"', 1), {1}),
        (lambda d: d.replace(b"2.5", b"2.6"), {2}),
        (lambda d: d.replace(b"\n", b" \n", 1), {1}),
        (lambda d: d.replace(b"\n", b"\r\n", 1), {1}),
        (lambda d: d.replace(b"\n", b"\n\n", 1), {2}),
        (lambda d: d.replace(b"\n", b" ", 1), {1}),
        (lambda d: d + b"\n", {3}),
        (lambda d: d + b" ", {3}),
        (lambda d: d[:-1], {2}),
        (lambda d: d[:-30], {2}),
    ],
)
def test_each_damaged_line_is_named(root, change, lines):
    path = root / "records/verification.jsonl"
    path.write_bytes(change(path.read_bytes()))
    assert kinds(root) == {f"records/verification.jsonl line {n}": "damaged" for n in lines}


def test_what_is_damaged_is_not_read_either(root):
    path = root / "records/verification.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1e-07", b"1E-07"))
    bundle = Bundle.open(root)
    assert bundle.damaged() == ["verification.jsonl line 1"]
    assert [r["error"] for r in bundle.read("verification")] == [2.5]


def test_a_file_that_holds_no_records_is_a_finding(root):
    (root / "records/notes.txt").write_text("x")
    (root / "records/deep").mkdir()
    shutil.copy(root / "records/verification.jsonl", root / "records/deep")
    assert kinds(root) == {"records/notes.txt": "added", "records/deep/verification.jsonl": "added"}


def test_records_of_an_earlier_payload_are_counted_and_no_finding(root):
    make(root, FILES | {"model.onnx": "graph 2"})
    found = check_integrity(root)
    assert (found.findings, found.records, found.earlier) == ((), 3, 3)


def test_a_cut_by_a_kill_is_named_and_the_next_record_stands(root):
    path = root / "records/measurement.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    Bundle.open(root).append("measurement", {"n": 2})
    assert kinds(root) == {"records/measurement.jsonl line 1": "damaged"}


def test_every_flipped_bit_is_found(root):
    """All bits of small files, some of larger ones; one file's check finds what the whole one does."""
    bundle = Bundle.open(root)
    draw = random.Random(0)
    for path in [p for folder in ("payload", "records") for p in (root / folder).rglob("*") if p.is_file()]:
        name, data = path.relative_to(root).as_posix(), path.read_bytes()
        for bit in draw.sample(range(8 * len(data)), min(8 * len(data), 300)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert check_file(root, name, bundle.manifest, bundle.digest), (name, bit)
            if bit % 50 == 0:
                assert kinds(root), (name, bit)
        path.write_bytes(data)
        assert check_file(root, name, bundle.manifest, bundle.digest) == []
    assert kinds(root) == {}


def test_all_findings_are_on_one_line(root):
    (root / "payload/model.onnx").write_text("x")
    (root / "payload/extra").write_text("x")
    with pytest.raises(BundleCorrupt, match=r"extra: was added; .*model\.onnx: was changed: its sha256 is another$"):
        check_integrity(root).raise_for_findings(root)


def command(*words: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """`pipeline …` in a process that says afterwards which heavy libraries it has loaded."""
    program = (
        "import sys, pipeline.cli\n"
        "try: pipeline.cli.main()\n"
        "finally: print([m for m in ('torch', 'onnx', 'onnxruntime', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    given = [sys.executable, "-c", code or program, *map(str, words)]
    return subprocess.run(given, capture_output=True, text=True, cwd=ROOT)


def test_the_command_says_what_it_checked_and_loads_nothing_heavy(root):
    done = command("verify", root, "--integrity")
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout == "as written: 4 files of payload/, 3 records\n"
    found = json.loads(command("verify", root, "--integrity", "--json").stdout)
    assert (found["findings"], found["files"], found["signed_by"]) == ([], 4, None)


def test_the_command_prints_a_line_for_each_finding_and_fails(root):
    (root / "payload/model.onnx").write_text("x")
    (root / "records/measurement.jsonl").write_bytes(b"x\n")
    done = command("verify", root, "--integrity")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "payload/model.onnx: was changed: its sha256 is another",
        "records/measurement.jsonl line 1: is damaged: its checksum is not that of its bytes",
    ]
    assert done.stderr.splitlines()[0] == f"error: {root}: is not as it was written: 2 findings"
    found = json.loads(command("verify", root, "--integrity", "--json").stdout)
    assert [f["kind"] for f in found["findings"]] == ["changed", "damaged"]


@pytest.mark.parametrize("words", [["--self-test"], ["--reference", "m.pt2", "--inputs", "x.npz"]])
def test_integrity_runs_nothing_else(root, words):
    done = command("verify", root, "--integrity", *words)
    assert done.returncode == 2
    assert "--integrity runs nothing" in done.stderr
