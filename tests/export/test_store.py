"""A bundle on disk: what is half-written is invisible, what was changed is refused, what was recorded stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.bundle.errors import BundleBusy, BundleCorrupt, BundleError, BundleTooNew, Untrusted
from export.bundle.files import canonical_json, digest_of, inside, write_atomic
from export.bundle.store import SCHEMA, Bundle
from export.bundle.workspace import workspace
from tests.export.small_bundle import make, manifest


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path) -> Path:
    make(tmp_path / "b", {"model.onnx": "graph", "model.torchscript": "code"})
    return tmp_path / "b"


def test_a_published_bundle_reads_back(root):
    bundle = Bundle.open(root)
    assert bundle.file("model.onnx").read_text() == "graph"
    assert bundle.manifest.inputs[0].shape == ("batch", 2)
    assert sorted(p.name for p in bundle.payload.iterdir()) == ["manifest.json", "model.onnx", "model.torchscript"]
    assert not (root / ".work").exists()


def test_publishing_the_same_stages_again_writes_nothing(root):
    before = (root / "payload/manifest.json").stat().st_mtime_ns
    with workspace(root) as place:
        kept = {
            n: place.reuse(n, f"key of {t}") for n, t in {"model.onnx": "graph", "model.torchscript": "code"}.items()
        }
        assert None not in kept.values()
        place.publish(kept, lambda _: pytest.fail("a manifest was made anew"))
    assert (root / "payload/manifest.json").stat().st_mtime_ns == before


def test_a_changed_stage_replaces_its_file_and_keeps_the_others(root):
    untouched = (root / "payload/model.torchscript").stat().st_ino
    bundle = make(root, {"model.onnx": "graph 2"})
    assert bundle.file("model.onnx").read_text() == "graph 2"
    with workspace(root) as place:
        assert place.reuse("model.torchscript", "key of code") is None
    bundle = make(root, {"model.onnx": "graph 3", "model.torchscript": "code"})
    with workspace(root) as place:
        stages = {
            n: place.reuse(n, k) for n, k in (("model.onnx", "key of graph 3"), ("model.torchscript", "key of code"))
        }
        with place.writing("new.onnx") as temporary:
            temporary.write_text("n")
        stages["new.onnx"] = place.commit("new.onnx", "k", ["new.onnx"], {"format": "onnx"})
        bundle = place.publish(stages, manifest)
    assert {a.path for a in bundle.artifacts} == {"model.onnx", "model.torchscript", "new.onnx"}
    assert untouched


def test_a_stage_is_not_reused_with_another_key_or_a_damaged_file(root):
    with workspace(root) as place:
        assert place.reuse("model.onnx", "another key") is None
        (root / "payload/model.onnx").write_text("grapX")
        assert place.reuse("model.onnx", "key of graph") is None


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_text("grapX"), lambda p: p.write_text("gr"), lambda p: p.unlink()]
)
def test_a_damaged_file_is_refused(root, damage):
    damage(root / "payload/model.onnx")
    with pytest.raises(BundleCorrupt, match=r"model\.onnx: is .*make the bundle again"):
        Bundle.open(root).file("model.onnx")


def test_a_cut_off_manifest_is_refused(root):
    path = root / "payload/manifest.json"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleCorrupt, match="cut off or damaged"):
        Bundle.open(root)


def test_a_manifest_with_a_number_beyond_all_numbers_is_refused(root):
    path = root / "payload/manifest.json"
    path.write_text(path.read_text().replace('"bytes": 1,', '"bytes": 1e999,', 1))
    with pytest.raises(BundleCorrupt, match="cut off or damaged"):
        Bundle.open(root)


def rewrite(root: Path, change, *, digest: bool) -> None:
    path = root / "payload/manifest.json"
    value = json.loads(path.read_text())
    old = value.pop("digest")
    change(value)
    path.write_text(json.dumps(value | {"digest": digest_of(value) if digest else old}))


def test_a_changed_manifest_is_refused(root):
    rewrite(root, lambda v: v.update(model="other"), digest=False)
    with pytest.raises(BundleCorrupt, match="was changed after it was written"):
        Bundle.open(root)


def test_a_manifest_of_a_later_version_says_so_first(root):
    rewrite(root, lambda v: v.update(schema=SCHEMA + 1, news=1), digest=True)
    with pytest.raises(BundleTooNew, match=f"has schema {SCHEMA + 1}.*upgrade"):
        Bundle.open(root)


def test_a_manifest_with_a_wrong_type_names_the_field(root):
    rewrite(root, lambda v: v["artifacts"][0].update(bytes="many"), digest=True)
    with pytest.raises(BundleCorrupt, match=r"artifacts\[0\]\.bytes: int was expected"):
        Bundle.open(root)


def test_no_bundle_is_one_line_with_the_remedy(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle there.*pipeline train-export"):
        Bundle.open(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\b", ""])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(BundleCorrupt, match="leads out of the bundle"):
        inside(tmp_path, name)


def test_a_link_out_of_the_bundle_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    with pytest.raises(BundleCorrupt, match="link out of the bundle"):
        inside(tmp_path / "in", "link")


def test_executable_forms_need_a_seal_of_this_user_or_trust(root, monkeypatch, tmp_path):
    def artifact(bundle, name):
        return next(a for a in bundle.artifacts if a.path == name)

    mine = Bundle.open(root)
    assert mine.resolve(artifact(mine, "model.torchscript")).path == str((root / "payload/model.torchscript").resolve())
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "another user"))
    theirs = Bundle.open(root)
    with pytest.raises(Untrusted, match="--trust"):
        theirs.resolve(artifact(theirs, "model.torchscript"))
    assert theirs.resolve(artifact(theirs, "model.onnx"))
    trusted = Bundle.open(root, trust=True)
    assert trusted.resolve(artifact(trusted, "model.torchscript"))


@pytest.mark.parametrize("form", ["exported_program", "torchscript", "aotinductor", "tensorrt"])
def test_each_executable_form_is_held_back_without_trust(tmp_path, monkeypatch, form):
    make(tmp_path / "b", {f"model.{form}": "code"})
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "another user"))
    bundle = Bundle.open(tmp_path / "b")
    with pytest.raises(Untrusted, match="--trust"):
        bundle.resolve(bundle.artifacts[0])


def test_a_seal_does_not_cover_another_manifest(root):
    rewrite(root, lambda v: v.update(description="changed"), digest=True)
    assert not Bundle.open(root).made_here


def test_records_are_added_and_belong_to_their_payload(root):
    bundle = Bundle.open(root)
    bundle.append("verification", {"error": float("nan"), "n": 1})
    bundle.append("verification", {"n": 2})
    assert [r["n"] for r in bundle.read("verification")] == [1, 2]
    assert bundle.read("verification")[0]["error"] == "nan"
    make(root, {"model.onnx": "another graph"})
    assert Bundle.open(root).read("verification") == []


def test_a_record_cut_short_by_a_kill_is_passed_over_and_the_next_one_stands(root):
    bundle = Bundle.open(root)
    bundle.append("m", {"n": 1})
    path = root / "records/m.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
    bundle.append("m", {"n": 2})
    assert [r["n"] for r in bundle.read("m")] == [1, 2]


def test_an_edited_record_does_not_count(root):
    bundle = Bundle.open(root)
    bundle.append("m", {"n": 1})
    path = root / "records/m.jsonl"
    path.write_text(path.read_text().replace('"n":1', '"n":2'))
    assert bundle.read("m") == []


def test_a_full_disk_leaves_no_half_record(root, monkeypatch):
    bundle = Bundle.open(root)
    bundle.append("m", {"n": 1})
    whole = (root / "records/m.jsonl").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        bundle.append("m", {"n": 2})
    assert (root / "records/m.jsonl").read_bytes() == whole


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    write_atomic(tmp_path / "f", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "f", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"f": b"old"}


def test_two_runs_do_not_mix(root):
    code = (
        "import sys, pathlib\nfrom export.bundle.workspace import workspace\n"
        "from export.bundle.errors import BundleBusy\n"
        "try:\n    with workspace(pathlib.Path(sys.argv[1])): print('in')\nexcept BundleBusy as e: print(e)"
    )
    with workspace(root):
        answer = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert f"another run (process {os.getpid()})" in answer.stdout
    answer = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert answer.stdout == "in\n"
    with workspace(root), pytest.raises(BundleBusy), workspace(root):
        pass


def test_a_kill_between_the_two_renames_of_publishing_is_mended(root):
    (root / "payload").rename(root / ".payload.old")
    with workspace(root) as place:
        assert place.reuse("model.onnx", "key of graph") is not None
    assert Bundle.open(root).file("model.onnx").read_text() == "graph"
    assert not (root / ".payload.old").exists()


def test_half_written_files_of_a_kill_are_cleared(tmp_path):
    with workspace(tmp_path / "b") as place:
        place.payload.mkdir(parents=True)
        (place.payload / ".model.onnx.1234abcd.tmp").write_text("half")
    with workspace(tmp_path / "b") as place:
        assert list(place.payload.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "ro").mkdir(mode=0o500)
    with pytest.raises(BundleError, match=r"cannot be written.*--out"), workspace(tmp_path / "ro/b"):
        pass


def test_a_place_under_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    said = pytest.raises(BundleError, match=r"cannot be written \(Not a directory\); choose another folder with --out")
    with said, workspace(tmp_path / "file/b"):
        pass


def test_damaged_lines_are_named_and_another_payloads_are_not(root):
    bundle = Bundle.open(root)
    for number in range(3):
        bundle.append("m", {"n": number})
    assert bundle.damaged() == []
    path = root / "records/m.jsonl"
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, second[:-40], third.replace(b'"n":2', b'"n":7')]))
    assert bundle.damaged() == ["m.jsonl line 2", "m.jsonl line 3"]
    assert bundle.read("m") == [{"n": 0}]
    other = json.loads(first)
    body = {"payload": "0" * 64, "record": other["record"]}
    path.write_bytes(canonical_json(body | {"checksum": digest_of(body)}) + b"\n" + first)
    assert (bundle.damaged(), bundle.read("m")) == ([], [{"n": 0}])


def test_missing_files_are_named(root):
    bundle = Bundle.open(root)
    assert bundle.missing_files() == []
    gone = bundle.artifacts[0].path
    (root / "payload" / gone).unlink()
    assert bundle.missing_files() == [gone]
