"""`python -m pipeline.portability BUNDLE…`: which runtimes, and which versions of ONNX Runtime, run app.onnx rightly?

Each version of ONNX Runtime has a virtual environment of its own in the cache; the other runtimes are those of
`pipeline embed check`. What was seen is kept after each trial, and is not tried again for the same app.onnx.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.bundle.errors import BackendUnavailable, PipelineError
from export.bundle.files import write_atomic
from export.bundle.store import Bundle
from export.bundle.types import from_json, to_json
from pipeline.results import ROOT
from serve_bench.embed._base import Kit, kit_of
from serve_bench.embed._check import Checked, runtimes, tell, tried
from serve_bench.embed.runtimes._base import Answers, Runtime
from serve_bench.embed.runtimes._process import ask_python

if TYPE_CHECKING:
    from export.progress import Progress

OLD = ("1.15.1", "1.16.3", "1.17.3", "1.18.1", "1.19.2", "1.20.1", "1.21.1", "1.22.1", "1.23.2")
"""Of ONNX Runtime; behind them the newest patch of every newer minor version that pip lists."""
NUMPY_2 = (1, 19)
"""The first ONNX Runtime that works with numpy 2."""
INSTALL_S = 500.0
RESULTS = ROOT / "results" / "portability.json"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One runtime on one bundle."""

    bundle: str
    app_sha256: str
    runtime: str
    """ "onnxruntime 1.15.1", or an entry of serve_bench.embed.runtimes."""
    python: str
    """Version of this interpreter, or of Node: empty where none is involved."""
    beside: str
    """What it was installed with: "numpy 1.26.4"."""
    seen: Checked


@dataclass(frozen=True, kw_only=True)
class OldOnnxRuntime:
    """ONNX Runtime of one version, in an environment of its own."""

    version: str

    @property
    def name(self) -> str:
        return f"onnxruntime {self.version}"

    @property
    def folder(self) -> Path:
        from platformdirs import user_cache_path

        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return user_cache_path("pipeline") / "portability" / f"onnxruntime-{self.version}-python{python}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def wanted(self) -> list[str]:
        """What pip is asked for."""
        numpy = "numpy" if _numbers(self.version) >= NUMPY_2 else "numpy<2"
        return [f"onnxruntime=={self.version}", numpy]

    def missing(self) -> str | None:
        return None if (self.folder / "ready").is_file() else "its environment is not made yet"

    def fetch(self) -> None:
        """Makes the environment; raises BackendUnavailable with pip's own words."""
        if self.missing() is None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(self.folder)])
        quiet = ("--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
        _run([str(self.python), "-m", "pip", "install", *quiet, *self.wanted])
        (self.folder / "ready").touch()

    def beside(self) -> str:
        """ "numpy 1.26.4"."""
        code = "import importlib.metadata as m; print('numpy', m.version('numpy'))"
        return _run([str(self.python), "-c", code]).strip()

    def run(self, kit: Kit, batch: int) -> Answers:
        return ask_python(self.name, "onnxruntime", kit, batch, str(self.python))


def _run(command: Sequence[str]) -> str:
    """Its stdout; raises BackendUnavailable where it fails."""
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendUnavailable(f"{command[0]} did not end well: {error}") from error
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")] or ended.stderr.splitlines()
        raise BackendUnavailable(f"not installed: {said[-1].strip()[:200] if said else 'pip said nothing'}")
    return ended.stdout


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def newer(listed: Iterable[str], than: str = OLD[-1]) -> list[str]:
    """Of each minor version after `than`'s the newest patch, oldest first; pre-releases are passed over."""
    newest: dict[tuple[int, ...], tuple[int, ...]] = {}
    for version in listed:
        if re.fullmatch(r"\d+\.\d+\.\d+", version) and _numbers(version)[:2] > _numbers(than)[:2]:
            minor = _numbers(version)[:2]
            newest[minor] = max(newest.get(minor, ()), _numbers(version))
    return [".".join(map(str, newest[minor])) for minor in sorted(newest)]


def listed() -> list[str]:
    """Versions of onnxruntime that pip can install here; raises BackendUnavailable where it cannot say."""
    said = _run([sys.executable, "-m", "pip", "index", "versions", "onnxruntime", "--disable-pip-version-check"])
    line = next((line for line in said.splitlines() if line.startswith("Available versions:")), "")
    return [version.strip() for version in line.partition(":")[2].split(",") if version.strip()]


def candidates() -> list[Runtime]:
    """Every version of ONNX Runtime, then every other runtime."""
    versions: list[Runtime] = [OldOnnxRuntime(version=version) for version in (*OLD, *newer(listed()))]
    return versions + [runtime for name, runtime in runtimes().items() if name != "onnxruntime"]


def kept(path: Path) -> list[Trial]:
    """What an earlier run saw; raises PipelineError where the file is none of this script's."""
    if not path.is_file():
        return []
    try:
        return [from_json(Trial, value) for value in json.loads(path.read_text())["trials"]]
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"{path}: is not what this script writes; name another file with --out") from error


def trials(kits: Sequence[tuple[str, Kit]], done: Sequence[Trial], progress: Progress) -> Iterator[list[Trial]]:
    """All that is known after each trial; what ran on the same app.onnx is not tried again."""
    found = {(t.runtime, t.app_sha256): t for t in done if t.seen.passed is not None}
    wanted = [(runtime, name, kit) for runtime in candidates() for name, kit in kits]
    with progress.stage("portability") as bar:
        for number, (runtime, name, kit) in enumerate(wanted):
            bar.advance(number, len(wanted), note=f"{runtime.name} on {name}")
            key = (runtime.name, kit.app.sha256)
            if key not in found:
                found[key] = tried_on(runtime, name, kit)
                tell(replace(found[key].seen, runtime=f"{runtime.name} on {name}"), progress)
            yield [found[k] for r, _, i in wanted if (k := (r.name, i.app.sha256)) in found]
        bar.advance(len(wanted), len(wanted), note=f"{len(wanted)} trials")


def tried_on(runtime: Runtime, name: str, kit: Kit) -> Trial:
    seen = replace(tried(runtime, kit, fetch=True), first_answer_s=None)
    own: Any = runtime
    beside = own.beside() if hasattr(own, "beside") and seen.passed is not None else ""
    python = "" if getattr(own, "without_python", False) else ".".join(map(str, sys.version_info[:3]))
    return Trial(bundle=name, app_sha256=kit.app.sha256, runtime=runtime.name, python=python, beside=beside, seen=seen)


def document(found: Sequence[Trial]) -> dict[str, Any]:
    from export.bundle.environment import environment

    here = environment()
    return {"os": here.os, "cpu": here.cpu, "trials": [to_json(trial) for trial in found]}


def markdown(value: Mapping[str, Any]) -> str:
    """The table runtime × bundle: the largest error of its tolerance, or why not; below it the reasons."""
    found = [from_json(Trial, trial) for trial in value["trials"]]
    bundles = list(dict.fromkeys(t.bundle for t in found))
    cells = {(t.runtime, t.bundle): t for t in found}
    lines = [
        "# Where app.onnx runs",
        "",
        "`app.onnx` of each bundle, asked for its golden samples one by one and all at once. A cell is the largest",
        "error against float64, of the largest that passes (the float32 band), and how many labels are float64's.",
        f"Seen on {value['os']}, {value['cpu']}; each version of ONNX Runtime in an environment of its own.",
        "",
        f"| runtime | version | with | {' | '.join(bundles)} |",
        f"| --- | --- | --- |{' --- |' * len(bundles)}",
    ]
    reasons: dict[str, None] = {}
    for name in dict.fromkeys(t.runtime for t in found):
        row = [cells[name, bundle] for bundle in bundles if (name, bundle) in cells]
        first = next((t for t in row if t.seen.version), row[0])
        python = f"Python {first.python}" if first.python and first.seen.version else ""
        beside = ", ".join(filter(None, [python, first.beside]))
        said = [_cell(cells.get((name, bundle))) for bundle in bundles]
        lines.append(f"| {name.split(' ')[0]} | {first.seen.version} | {beside} | {' | '.join(said)} |")
        for t in row:
            if t.seen.reason:
                reasons[f"- {name}{f' on {t.bundle}' if t.seen.passed is False else ''}: {t.seen.reason}"] = None
    return "\n".join([*lines, *(["", *reasons] if reasons else []), ""])


def _cell(trial: Trial | None) -> str:
    from serve_bench.reports._format import error

    if trial is None or trial.seen.passed is None:
        return "not run"
    if not trial.seen.distances:
        return "**failed**"
    far = max(trial.seen.distances, key=lambda d: d.error / d.tolerance)
    said = f"{error(far.error)} of {error(far.tolerance)}"
    if trial.seen.labels_right is not None:
        said += f", {trial.seen.labels_right} of {trial.seen.samples} labels"
    return said if trial.seen.passed else f"**failed**: {said}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where a runtime is wrong."""
    from pipeline.console import Terminal

    parser = argparse.ArgumentParser(prog="python -m pipeline.portability", description=__doc__.split("\n")[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default results/portability.json; the .md beside it")
    given = parser.parse_args(arguments)
    found: list[Trial] = []
    try:
        kits = [(path.resolve().name, kit_of(Bundle.open(path))) for path in given.bundles]
        for found in trials(kits, kept(given.out), Terminal()):
            value = document(found)
            write_atomic(given.out, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
            write_atomic(given.out.with_suffix(".md"), markdown(value).encode())
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return int(any(trial.seen.passed is False for trial in found))


if __name__ == "__main__":
    sys.exit(main())
