"""One bundle made by the command itself, as a user makes it, for every test that needs a whole one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
QUICK = [
    "--dataset",
    "digits",
    "--epochs",
    "1",
    "--budget",
    "0.5",
    "--replicates",
    "2",
    "--batch",
    "1",
    "--batch",
    "8",
    "--no-peak",
]


def pytest_configure(config) -> None:
    """Processes of pytest-xdist ignore Ctrl-C, and what tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Command:
    """Runs `pipeline …` in a process of its own, with its own state folder and no data but what a test gives."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PIPELINE_")}
        paths = {"PIPELINE_STATE": str(self.folder / "state"), "PIPELINE_DATA": str(self.folder / "data")}
        return kept | paths | {"PYTHONPATH": str(ROOT), "COLUMNS": "140"} | more

    def start(self, *words: object, python: str = sys.executable, **more: str) -> subprocess.Popen[str]:
        command = [python, "-m", "pipeline.cli", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.environment(**more), cwd=self.folder, **pipes)

    def __call__(self, *words: object, python: str = sys.executable, **more: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, python=python, **more)
        stdout, stderr = process.communicate(timeout=280)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@dataclass(frozen=True)
class Made:
    """The bundle `root`, the command that made it and what it said."""

    root: Path
    run: Command
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    """`cnn` after one epoch on the digits, exported, verified and measured; not to be changed (see `copy`)."""
    folder = tmp_path_factory.mktemp("made")
    run = Command(folder)
    result = run("train-export", "cnn", "--out", folder / "out", *QUICK[:-1], "--json")
    assert result.returncode == 0, result.stderr
    return Made(folder / "out/cnn", run, result)


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of the bundle that a test may damage; sealed as made here."""
    return Path(shutil.copytree(made.root, tmp_path / "copy"))


@pytest.fixture
def run(made) -> Command:
    return made.run


@pytest.fixture(scope="session")
def without_torch(tmp_path_factory) -> str:
    """The Python of an environment that has everything but what `[train]` adds: links to this one's packages."""
    import sysconfig
    import venv

    folder = tmp_path_factory.mktemp("core") / "venv"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    target = Path(subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip())
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(TRAIN_ONLY):
            (target / entry.name).symlink_to(entry)
    return str(python)


TRAIN_ONLY = (
    "torch",
    "functorch",
    "onnxscript",
    "onnx_ir",
    "scikit_learn",
    "sklearn",
    "triton",
    "__editable__",
    "scipy",
)
"""Packages of `[train]`, and scipy, which scikit-learn brings."""
