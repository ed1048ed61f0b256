"""`make` before anything is installed: a disk that is too small is one clear line, a .venv that stands is used."""

import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from pipeline.room import held_bytes, why_not
from tests.conftest import ROOT

Usage = namedtuple("Usage", "total used free")
FAR_TOO_MUCH = "1e9"
"""GB."""


@pytest.fixture
def free(monkeypatch):
    """Sets what is free on every disk, in GB; the folders that were asked about are in `asked`."""
    asked = []

    def be(free_gb):
        def usage(path):
            asked.append(path)
            return Usage(0, 0, int(free_gb * 1e9))

        monkeypatch.setattr("pipeline.room.shutil.disk_usage", usage)
        return asked

    return be


def test_the_disk_that_the_environment_will_lie_on_is_looked_at(free, tmp_path):
    asked = free(8.96)
    assert why_not(tmp_path / "new" / "venv", 9) == (
        f"set-up needs about 9 GB, 8.9 GB are free at {tmp_path}; free some space or name another place: "
        "make VENV=/path …"
    )
    assert asked == [tmp_path]
    free(9.0)
    assert why_not(tmp_path / "venv", 9) == ""


def test_what_lies_there_already_need_not_be_installed(free, monkeypatch, tmp_path):
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    (tmp_path / "venv" / "lib" / "torch").write_bytes(bytes(3_000_000))
    (tmp_path / "venv" / "python").symlink_to("elsewhere")
    assert held_bytes(tmp_path / "venv") == 3_000_000 + len("elsewhere")
    monkeypatch.setattr("pipeline.room.LEAVES_GB", 0.006)
    free(4.5)
    assert why_not(tmp_path / "venv", 9) == ""
    free(4.4)
    assert why_not(tmp_path / "venv", 9).startswith("set-up needs about 4.5 GB, 4.4 GB are free at ")
    monkeypatch.setattr("pipeline.room.LEAVES_GB", 0.003)
    free(0.0)
    assert why_not(tmp_path / "venv", 9) == ""


def make(*words):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", "--no-print-directory", "-C", str(ROOT), f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_make_ends_with_one_line_before_it_installs_anything(tmp_path):
    for target in ("demo", "lint"):
        result = make(target, f"VENV={tmp_path / 'venv'}", f"ROOM_GB={FAR_TOO_MUCH}")
        first, rest = result.stderr.split("\n", 1)
        assert first.startswith("error: set-up needs about 1e+09 GB, ")
        assert f"are free at {tmp_path}; free some space or name another place: make VENV=/path …" in first
        assert (result.returncode, rest.count("\n")) == (2, 1), rest
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "venv").exists()


def test_make_uses_an_environment_that_stands_whatever_room_there_is(tmp_path):
    """One whose `pipeline` only says what it was asked."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "pipeline").write_text('#!/bin/sh\necho "asked: $*"\n')
    (programs / "pipeline").chmod(0o755)
    (tmp_path / "venv" / ".installed-demo").touch()
    result = make("demo", f"VENV={tmp_path / 'venv'}", f"ROOM_GB={FAR_TOO_MUCH}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "asked: train-export cnn"
