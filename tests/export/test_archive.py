"""An archive is the same bytes for the same bundle; one from anywhere becomes a whole bundle, or leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.bundle.archive import pack, refusal
from export.bundle.errors import ArchiveRefused, BundleCorrupt, BundleError, SignatureFailed, UsageError
from export.bundle.store import Bundle
from export.bundle.unpack import MAX_MEMBERS, _refused, _write, unpack
from tests.export.small_bundle import make

FILES = {"model.onnx": "graph", "engines/sm80/model.engine": "code"}
REGULAR = stat.S_IFREG | 0o644


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))


@pytest.fixture
def root(tmp_path) -> Path:
    bundle = make(tmp_path / "b", FILES)
    bundle.append("measurement", {"n": 1})
    (bundle.root / "report.html").write_text("a report")
    (bundle.root / "verification.json").write_text("{}")
    (bundle.root / "notes.txt").write_text("of the user's own")
    return bundle.root


@pytest.fixture
def archive(root, tmp_path) -> Path:
    pack(root, tmp_path / "b.zip")
    return tmp_path / "b.zip"


@pytest.fixture
def out(tmp_path):
    """Where unpacking may write; afterwards nothing else in the world around it may have changed."""
    around = tmp_path / "around"
    (around / "out").mkdir(parents=True)
    (around / "neighbour").write_text("untouched")
    yield around / "out"
    assert sorted(p.name for p in around.iterdir()) == ["neighbour", "out"]
    assert (around / "neighbour").read_text() == "untouched"


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_goes_in_and_what_stays(archive):
    assert names(archive) == [
        "payload/engines/sm80/model.engine",
        "payload/manifest.json",
        "payload/model.onnx",
        "records/measurement.jsonl",
        "report.html",
        "verification.json",
    ]


def test_without_records(root, tmp_path):
    packed = pack(root, tmp_path / "bare.zip", with_records=False)
    assert all(name.startswith("payload/") for name in names(tmp_path / "bare.zip"))
    assert (packed.members, packed.signed) == (3, False)


def test_the_same_bundle_gives_the_same_bytes_wherever_and_whenever_it_lies(root, archive, tmp_path):
    other = Path(shutil.copytree(root, tmp_path / "elsewhere/other"))
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o700)
    (other / ".work/checkpoints").mkdir(parents=True)
    (other / "made-here").write_text("another seal")
    again = pack(other, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert again.bytes == archive.stat().st_size
    assert str(tmp_path).encode() not in archive.read_bytes()


def test_members_are_stored_with_fixed_times_and_modes(archive):
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            assert (info.compress_type, info.date_time, info.external_attr >> 16, info.create_system) == (
                zipfile.ZIP_STORED,
                (1980, 1, 1, 0, 0, 0),
                REGULAR,
                3,
            )


def test_there_and_back(root, archive, out):
    target, found = unpack(archive, out / "deep/er")
    assert target == out / "deep/er/b"
    assert (found.findings, found.files, found.records) == ((), 3, 1)
    left_behind = {"made-here", "notes.txt", ".lock"}
    assert tree(target) == {name: data for name, data in tree(root).items() if name not in left_behind}
    assert [p.name for p in target.parent.iterdir()] == ["b"]
    assert not Bundle.open(target).made_here


def test_a_bundle_that_another_tool_compressed_is_read(root, tmp_path, out):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("payload")
        for name, data in tree(root).items():
            if name.startswith("payload/"):
                archive.writestr(name, data)
    assert unpack(tmp_path / "b.zip", out)[1].files == 3


def test_a_damaged_bundle_is_not_packed(root, tmp_path):
    with (root / "records/measurement.jsonl").open("ab") as file:
        file.write(b"half a li")
    with pytest.raises(BundleCorrupt, match=r"records are not whole \(--without-records packs\).*line 2"):
        pack(root, tmp_path / "b.zip")
    assert pack(root, tmp_path / "bare.zip", with_records=False).members == 3
    (root / "payload/model.onnx").write_text("x")
    with pytest.raises(BundleCorrupt, match=r"is not packed.*model\.onnx: was changed"):
        pack(root, tmp_path / "b.zip", with_records=False)
    with pytest.raises(BundleError, match="no bundle there"):
        pack(tmp_path / "nothing", tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize("where", ["payload/b.zip", "records/b.zip", "payload"])
def test_an_archive_inside_the_bundle_is_refused(root, where):
    with pytest.raises(UsageError, match="lies inside the bundle"):
        pack(root, root / where)


def test_a_stale_signature_is_not_packed(root, tmp_path):
    (root / "payload.sig").write_text("x")
    with pytest.raises(SignatureFailed, match="is damaged, or no signature"):
        pack(root, tmp_path / "b.zip")


def write(path: Path, members: dict[str, bytes], mode: int = REGULAR, **more: object) -> Path:
    """A zip of a whole bundle's members and these, which go by exactly these names."""
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            for field, value in more.items():
                setattr(info, field, value)
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil", "leads out of the folder"),
        ("payload/../../evil", "leads out of the folder"),
        ("payload\\..\\..\\evil", "leads out of the folder"),
        ("payload/..", "leads out of the folder"),
        ("/etc/evil", "is an absolute path"),
        ("//server/evil", "is an absolute path"),
        ("C:/evil", "names a drive"),
        ("C:evil", "names a drive"),
        ("payload/c:stream", "is a name that not every system can hold"),
        ("payload//x", "is a name that not every system can hold"),
        ("payload/./x", "is a name that not every system can hold"),
        ("payload/x.", "is a name that not every system can hold"),
        ("payload/x ", "is a name that not every system can hold"),
        ("payload/a\nb", "is a name that not every system can hold"),
        ("payload/CON", "is a name that is a device on Windows"),
        ("payload/lpt1.onnx", "is a name that is a device on Windows"),
        ("payload/nul.tar.gz", "is a name that is a device on Windows"),
        ("payload/" + "x" * 256, "is too long a name"),
        ("payload/" + "/".join(["x" * 200] * 6), "is too long a name"),
        ("evil", "belongs to no archive of a bundle"),
        ("made-here", "belongs to no archive of a bundle"),
        (".work/checkpoints/x", "belongs to no archive of a bundle"),
        ("records/deep/x.jsonl", "belongs to no archive of a bundle"),
        ("report.exe", "belongs to no archive of a bundle"),
        ("records/x.sh", "belongs to no archive of a bundle"),
        ("payload/model.onnx", "stands in it twice"),
        ("payload/MODEL.onnx", "are one name where case or composition does not count"),
        ("payload/Engines/x", "are one name where case or composition does not count"),
        ("payload/model.onnx/x", "is both a file and a folder"),
        ("payload/engines", "is both a file and a folder"),
        ("../evil/", "leads out of the folder"),
        ("evil/", "belongs to no archive of a bundle"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_each_bad_name_is_refused_and_nothing_written(archive, out, name, said):
    write(archive, {name: b"" if name.endswith("/") else b"evil"})
    with pytest.raises(ArchiveRefused, match=said) as caught:
        unpack(archive, out)
    assert str(caught.value).startswith(f"{archive}: ")
    assert str(caught.value).endswith("; nothing was unpacked")
    assert list(out.iterdir()) == []


def test_two_ways_to_compose_a_letter_are_one_name():
    assert "composition" in refusal(["payload/\u00e9", "payload/e\u0301"])
    assert refusal(["payload/a", "payload/b", "records/a.jsonl", "payload.sig"]) == ""


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFCHR | 0o666, "is a device or another special file"),
        (stat.S_IFBLK | 0o666, "is a device or another special file"),
        (stat.S_IFIFO | 0o666, "is a device or another special file"),
        (stat.S_IFDIR | 0o777, "is a device or another special file"),
    ],
)
def test_links_and_devices_are_refused(archive, out, mode, said):
    write(archive, {"payload/link": b"/etc/passwd"}, mode)
    with pytest.raises(ArchiveRefused, match=f"'payload/link' {said}; nothing was unpacked"):
        unpack(archive, out)
    assert list(out.iterdir()) == []


def test_a_name_with_a_nul_is_refused(archive, out):
    write(archive, {"payload/xxx": b"evil"})
    archive.write_bytes(archive.read_bytes().replace(b"payload/xxx", b"payload/x\0x"))
    with pytest.raises(ArchiveRefused, match="has a name with a NUL in it"):
        unpack(archive, out)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_with_a_hard_link_is_no_archive_here(tmp_path, out, suffix):
    with tarfile.open(tmp_path / f"b{suffix}", "w:gz" if suffix == ".tar.gz" else "w") as archive:
        link = tarfile.TarInfo("payload/manifest.json")
        link.type, link.linkname = tarfile.LNKTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ArchiveRefused, match="is no archive of `pipeline pack`"):
        unpack(tmp_path / f"b{suffix}", out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + bytes(10), b"\x7fELF" * 1000])
def test_what_is_no_archive(tmp_path, out, data):
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(ArchiveRefused, match="is no archive of `pipeline pack`"):
        unpack(tmp_path / "b.zip", out)


def test_no_file_a_folder_and_a_name_that_is_none(tmp_path, archive, out):
    with pytest.raises(UsageError, match="cannot be read"):
        unpack(tmp_path / "nothing.zip", out)
    with pytest.raises(UsageError, match="is a folder"):
        unpack(tmp_path, out)
    for name in (".zip", "..zip", "nul.zip"):
        shutil.copy(archive, tmp_path / name)
        with pytest.raises(UsageError, match="is to name a folder; rename it"):
            unpack(tmp_path / name, out)


def test_a_cut_off_archive(archive, out):
    """At every length but the whole one it is refused; some of the cuts fall inside a member."""
    data = archive.read_bytes()
    for length in [*range(4, len(data), 97), len(data) - 1]:
        archive.write_bytes(data[:length])
        with pytest.raises(ArchiveRefused, match="is cut off or damaged: copy it again"):
            unpack(archive, out)
    assert list(out.iterdir()) == []


def test_every_flipped_byte_is_refused_or_changes_nothing(root, archive, out):
    """A flip in a member's bytes or name is found; one in a time or a version may leave the same bundle."""
    data, wanted = archive.read_bytes(), tree(unpack(archive, out)[0])
    shutil.rmtree(out / "b")
    refused = 0
    for place in range(0, len(data), 53):
        flipped = bytearray(data)
        flipped[place] ^= 4
        archive.write_bytes(flipped)
        try:
            assert tree(unpack(archive, out)[0]) == wanted
            shutil.rmtree(out / "b")
        except BundleError:
            refused += 1
        assert list(out.iterdir()) == []
    assert refused > 0.9 * len(range(0, len(data), 53))


def zeros(gigabytes: int, claimed: int, name: bytes = b"payload/truth.npz") -> bytes:
    """A deflate member of so many GB of zeros as a whole zip, whose headers claim `claimed` bytes; about 1 MB a GB.

    A full flush makes its block stand alone, so that one block repeated is the stream.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(10**8)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream = block * (10 * gigabytes) + b"\x03\x00"
    long = claimed > 0xFFFFFFFE
    extra = struct.pack("<HHQ", 1, 8, claimed) if long else b""
    sizes = struct.pack("<III", 0, len(stream), 0xFFFFFFFF if long else claimed)
    common = struct.pack("<HHHHH", 45, 0, 8, 0, 33) + sizes + struct.pack("<HH", len(name), len(extra))
    local = b"PK\x03\x04" + common + name + extra
    listed = b"PK\x01\x02" + struct.pack("<H", 45) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name + extra
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(listed), len(local) + len(stream), 0)
    return local + stream + listed + end


def test_ten_gigabytes_of_zeros_stop_before_they_are_written(tmp_path, out):
    (tmp_path / "b.zip").write_bytes(zeros(10, 10 * 10**9))
    with pytest.raises(ArchiveRefused, match="unpacks to more than 8,000,000,000 bytes; --max-size"):
        unpack(tmp_path / "b.zip", out)
    assert list(out.iterdir()) == []


def test_ten_gigabytes_that_claim_to_be_few_bytes_stop_there(tmp_path, out):
    (tmp_path / "b.zip").write_bytes(zeros(10, 100, b"payload/manifest.json"))
    with pytest.raises(ArchiveRefused, match=r"is damaged at 'payload/manifest\.json'"):
        unpack(tmp_path / "b.zip", out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["payload/manifest.json", "payload.sig", "records/x.jsonl"])
def test_what_is_read_into_memory_to_be_checked_may_not_be_large(name):
    info = zipfile.ZipInfo(name)
    info.file_size = 512_000_001
    assert _refused(info) == "is too large: 512,000,001 bytes"
    info.file_size = 64_000_000
    assert _refused(info) == ""


def test_a_large_file_of_weights_is_nothing_to_refuse():
    info = zipfile.ZipInfo("payload/weights.safetensors")
    info.file_size = 10**12
    assert _refused(info) == ""


def test_bytes_are_counted_and_not_only_believed(tmp_path):
    (tmp_path / "b.zip").write_bytes(zeros(1, 10**9))
    said = pytest.raises(ArchiveRefused, match="unpacks to more than 5,000,000 bytes")
    with zipfile.ZipFile(tmp_path / "b.zip") as opened, said:
        _write(tmp_path / "b.zip", opened, opened.infolist(), tmp_path / "to", 5_000_000)
    assert (tmp_path / "to/payload/truth.npz").stat().st_size <= 5_000_000


def test_the_limit_is_of_all_members_together(archive, out):
    size = sum(info.file_size for info in zipfile.ZipFile(archive).infolist())
    with pytest.raises(ArchiveRefused, match=f"more than {size - 1:,} bytes"):
        unpack(archive, out, max_size=size - 1)
    assert unpack(archive, out, max_size=size)[1].files == 3


def test_too_many_members(archive, out, monkeypatch):
    write(archive, {f"payload/{number}": b"" for number in range(MAX_MEMBERS)})
    with pytest.raises(ArchiveRefused, match=r"holds 10,006 members, more than 10,000"):
        unpack(archive, out)
    monkeypatch.setattr("export.bundle.unpack.DIRECTORY_BYTES", 100_000)
    with pytest.raises(ArchiveRefused, match="lists too many members"):
        unpack(archive, out)
    assert list(out.iterdir()) == []


def test_an_encrypted_or_otherwise_compressed_member_is_refused(archive, tmp_path, out):
    other = Path(shutil.copy(archive, tmp_path / "c.zip"))
    write(other, {"payload/x": b"x"}, compress_type=zipfile.ZIP_LZMA)
    with pytest.raises(ArchiveRefused, match="is compressed in a way that is not read here"):
        unpack(other, out)
    data = archive.read_bytes()
    place = data.index(b"PK\x01\x02") + 8
    archive.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    with pytest.raises(ArchiveRefused, match="is encrypted"):
        unpack(archive, out)


def test_no_bundle_and_a_damaged_one_leave_nothing(root, archive, tmp_path, out):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as opened:
        opened.writestr("payload/model.onnx", b"x")
    with pytest.raises(ArchiveRefused, match=r"holds no bundle: payload/manifest\.json is missing"):
        unpack(tmp_path / "empty.zip", out)
    write(archive, {"payload/extra": b"x"})
    with pytest.raises(BundleCorrupt, match=r"payload/extra: was added; nothing was unpacked") as caught:
        unpack(archive, out / "made/for/it")
    assert ".tmp" not in str(caught.value)
    assert list(out.iterdir()) == []


def test_a_folder_that_exists_is_left_alone(archive, out):
    (out / "b").mkdir()
    with pytest.raises(UsageError, match="exists already; choose another folder with --out"):
        unpack(archive, out)
    (out / "b").rmdir()
    (out / "b").symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists already"):
        unpack(archive, out)
    assert [p.name for p in out.iterdir()] == ["b"]
    (out / "b").unlink()


def test_an_interrupt_leaves_nothing(archive, out, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("export.bundle.unpack.check_integrity", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out / "new")
    assert list(out.iterdir()) == []


def test_a_signature_goes_along_and_is_checked(root, tmp_path, out):
    pytest.importorskip("model_signing", reason="model-signing is not installed: pip install '.[sign]'")
    from cryptography.hazmat.primitives.asymmetric import ec

    from export.bundle.signing import sign
    from tests.export.test_signing import write_key

    private, public = write_key(tmp_path, "own", ec.generate_private_key(ec.SECP256R1()))
    _, other = write_key(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    pack(root, tmp_path / "bare.zip")
    with pytest.raises(SignatureFailed, match=r"bare\.zip: payload\.sig: no such file.*nothing was unpacked"):
        unpack(tmp_path / "bare.zip", out, public_key=public)
    sign(root, private)
    assert pack(root, tmp_path / "b.zip").signed
    with pytest.raises(SignatureFailed, match=r"b\.zip: payload\.sig: was signed by another key"):
        unpack(tmp_path / "b.zip", out, public_key=other)
    assert list(out.iterdir()) == []
    unpack(tmp_path / "b.zip", out, public_key=public)
    make(root, FILES | {"model.onnx": "graph 2"})
    with pytest.raises(BundleCorrupt, match=r"payload\.sig: is of another payload"):
        pack(root, tmp_path / "c.zip")


def pipeline(*words):
    from pipeline.cli import main

    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_commands(root, tmp_path, out, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = pipeline("pack", root)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("b.zip: 6 files, ")
    assert "not signed, sha256 " in done.stdout
    assert json.loads(pipeline("pack", root, "--json").stdout)["members"] == 6
    done = pipeline("unpack", "b.zip", "--out", out)
    assert done.stdout == f"{out}/b: 3 files of payload/ and 1 records, as they were written\n"
    again = pipeline("unpack", "b.zip", "--out", out)
    assert (again.exit_code, again.stderr.count("\n"), again.stderr[:7]) == (2, 1, "error: ")
    small = pipeline("unpack", "b.zip", "--out", out / "x", "--max-size", "1kB")
    assert (small.exit_code, "more than 1,000 bytes" in small.stderr) == (1, True)
    assert "no size such as 8GB" in pipeline("unpack", "b.zip", "--max-size", "much").stderr
    assert json.loads(pipeline("unpack", "b.zip", "--out", out / "y", "--json").stdout)["files"] == 3
