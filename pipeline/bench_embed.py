"""`make bench-embed`: what an app costs to start, whether every runtime answers rightly, whether a flipped bit is seen.

Every way to a first answer is a process made anew; the ways take turns in random order. Golden answers are asked on
every runtime at hand. Bits are flipped in a copy of the bundle.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle.environment import environment
from export.bundle.errors import BackendFailed, BackendUnavailable, PipelineError
from export.bundle.files import write_atomic
from export.bundle.store import Bundle
from export.bundle.types import LENGTHS, to_json
from pipeline.bench_integrity import Flips, flip_trials
from pipeline.console import Terminal
from pipeline.figures import process_tree, pss_bytes
from pipeline.results import ROOT
from serve_bench.embed import _c_build
from serve_bench.embed._base import EmbedOptions, Kit, kit_of
from serve_bench.embed._check import Checked, check
from serve_bench.embed.runtimes import _browser, chromium, node

RESULTS = ROOT / "results" / "embed.json"
ROUNDS, FLIPS = 15, 10_000
LIMIT_S = 120.0
FIRST_ANSWER_S = 0.3
"""Promised of the Python app."""
TORCH = """
import json, sys
import numpy as np
import torch
given = np.load(sys.argv[1])
steps = json.loads(sys.argv[2])
model = torch.jit.load(sys.argv[3])
inputs = []
for name, dtype in steps["inputs"]:
    value = given[name]
    if name == steps["first"] and not steps["identity"]:
        value = value.astype(np.float32) * np.float32(steps["scale"])
        value = (value - np.float32(steps["mean"])) / np.float32(steps["std"])
    inputs.append(torch.from_numpy(value.astype(dtype)))
with torch.inference_mode():
    answer = model(*inputs)
    print((answer[0] if isinstance(answer, tuple) else answer).tolist(), flush=True)
"""


WATCH = """
import os, sys, time
read, write = os.pipe()
started = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
os.close(write)
first = os.read(read, 1)
seconds = time.perf_counter() - started
while os.read(read, 1 << 16):
    pass
_, status, usage = os.wait4(pid, 0)
print('{"seconds": %r, "maxrss": %d, "status": %d, "answered": %s}' % (
    seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status), "true" if first.strip() else "false"))
"""
"""Its resident size, some 9 MB, is the least that it can report."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """One process, made anew, that gave one answer."""

    first_answer_s: float
    """From the start of the process to the first line of its answer."""
    memory_bytes: int
    """The most that was ever resident; of a browser, the proportional set sizes of all its processes at the answer."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to a first answer."""

    name: str
    starts: tuple[Started, ...]
    missing: str = ""
    """Why it could not be tried here; empty where it was."""


def run_once(command: Sequence[str]) -> Started:
    """Spawns `command`, waits for its first line, then for its end. Raises BackendFailed where it gives none.

    A small process stands between: what a kernel calls the most that was resident includes what forked it.
    """
    with tempfile.TemporaryFile("w+") as errors:
        between = [sys.executable, "-S", "-E", "-c", WATCH, *command]
        done = subprocess.run(
            between, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=LIMIT_S
        )
        said = json.loads(done.stdout) if done.returncode == 0 else {"status": done.returncode, "answered": False}
        if said["status"] or not said["answered"]:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            raise BackendFailed(f"{command[0]}: {lines[-1] if lines else 'gave no answer'}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Started(first_answer_s=said["seconds"], memory_bytes=said["maxrss"] * scale)


def sample_of(kit: Kit, folder: Path) -> tuple[list[str], list[str]]:
    """The first golden sample as words for the Python and Node apps, and for the C program."""
    import numpy as np

    first = kit.app.inputs[0]
    value = kit.golden.inputs[first.name][:1]
    if first.symbols and LENGTHS in kit.golden.inputs:
        count = int(kit.golden.inputs[LENGTHS][0])
        text = "".join(first.symbols[int(i)] for i in value[0, :count])
        (folder / "sample.txt").write_text(text + "\n")
        return [text], [str(folder / "sample.txt")]
    np.save(folder / "sample.npy", value)
    (folder / "sample.txt").write_text(" ".join(str(v) for v in value.ravel().tolist()) + "\n")
    return [str(folder / "sample.npy")], [str(folder / "sample.txt")]


def ways(bundle: Bundle, kit: Kit, folder: Path) -> Iterator[tuple[str, Callable[[], Started] | str]]:
    """Name of each way, and what takes it once, or why it cannot be taken here."""
    words, for_c = sample_of(kit, folder)
    for name, prepare in (
        ("Python app", lambda: _python(kit, folder, words)),
        ("Node app", lambda: _node(kit, folder, words)),
        ("web page", lambda: _web(kit, folder)),
        ("C program", lambda: _c(kit, folder, for_c)),
        ("`import torch` and TorchScript", lambda: _torch(bundle, kit, folder)),
    ):
        try:
            yield name, prepare()
        except (BackendUnavailable, BackendFailed) as error:
            yield name, str(error)


def _python(kit: Kit, folder: Path, words: Sequence[str]) -> Callable[[], Started]:
    from serve_bench.embed.python import Python, module_name

    place = folder / "python"
    place.mkdir()
    Python().write(kit, EmbedOptions(), place)
    return lambda: run_once([sys.executable, str(place / f"{module_name(kit.manifest.model)}.py"), *words])


def _node(kit: Kit, folder: Path, words: Sequence[str]) -> Callable[[], Started]:
    from serve_bench.embed.node import Node

    package = next(entry for entry in node.ENTRIES if entry.name == "onnxruntime-node")
    package.fetch()
    if reason := package.missing():
        raise BackendUnavailable(reason)
    place = folder / "node"
    place.mkdir()
    Node().write(kit, EmbedOptions(), place)
    (place / "node_modules").symlink_to(package.cache / "node_modules")
    program = shutil.which("node") or "node"
    return lambda: run_once([program, str(place / "cli.mjs"), *words])


def _web(kit: Kit, folder: Path) -> Callable[[], Started]:
    if reason := chromium.ENTRIES[0].missing():
        raise BackendUnavailable(reason)
    page = chromium.page_of(kit, folder)

    def once() -> Started:
        with tempfile.TemporaryDirectory(dir=folder) as profile:
            started = time.perf_counter()
            browser = _browser.Browser(profile)
            try:
                tab = _browser.Tab(browser)
                tab.send("Page.navigate", url=f"{page.as_uri()}#check")
                tab.until("typeof verdict === 'object' && verdict.className", LIMIT_S)
                seconds = time.perf_counter() - started
                memory = sum(pss_bytes(pid) for pid in process_tree(browser.pid))
            finally:
                browser.close()
        return Started(first_answer_s=seconds, memory_bytes=memory)

    return once


def _c(kit: Kit, folder: Path, words: Sequence[str]) -> Callable[[], Started]:
    include, library = _c_build.toolchain()
    program = _c_build.build(kit, folder / "c", include, library)
    return lambda: run_once([str(program), "--model", kit.app.path, *words])


def _torch(bundle: Bundle, kit: Kit, folder: Path) -> Callable[[], Started]:
    import numpy as np

    from export.formats._write import needs_torch
    from serve_bench.equivalence.truth import Truth

    form = next((a for a in bundle.artifacts if a.format == "torchscript"), None)
    if form is None or (reason := needs_torch()):
        raise BackendUnavailable("the bundle holds no TorchScript" if form is None else str(reason))
    path = bundle.resolve(form).path
    manifest = bundle.manifest
    stored = Truth.load(bundle.file("golden.npz"), manifest.preprocess).stored("test")
    np.savez(folder / "torch.npz", **{name: values[:1] for name, values in stored.items()})  # type: ignore[arg-type]
    steps = to_json(manifest.preprocess) | {
        "identity": manifest.preprocess.identity,
        "first": manifest.inputs[0].name,
        "inputs": [(s.name, s.dtype) for s in manifest.inputs],
    }
    script = folder / "with_torch.py"
    script.write_text(TORCH)
    return lambda: run_once([sys.executable, str(script), str(folder / "torch.npz"), json.dumps(steps), path])


def measured(bundle: Bundle, kit: Kit, rounds: int, progress: Terminal) -> list[Way]:
    """Every way `rounds` times, in random order within each round."""
    with tempfile.TemporaryDirectory(prefix="pipeline-embed-") as place, progress.stage("first answers") as bar:
        able: dict[str, Callable[[], Started]] = {}
        missing: dict[str, str] = {}
        for name, way in ways(bundle, kit, Path(place)):
            if isinstance(way, str):
                missing[name] = way
            else:
                able[name] = way
                way()
        found: dict[str, list[Started]] = {name: [] for name in able}
        draw = random.Random(0)
        for number in range(rounds):
            for name in draw.sample(list(able), len(able)):
                found[name].append(able[name]())
            bar.advance(number + 1, rounds)
    names = [*found, *missing]
    return [Way(name=n, starts=tuple(found.get(n, ())), missing=missing.get(n, "")) for n in names]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What was seen of one bundle."""

    model: str
    app_bytes: int
    model_bytes: int
    """Of model.onnx."""
    ways: tuple[Way, ...]
    golden: tuple[Checked, ...]
    flips: Flips


def markdown(found: Embedded) -> str:
    """The tables of README."""
    where = environment()
    lines = [
        f"# What an app around {found.model} costs, and whether it is right",
        "",
        f"app.onnx has {found.app_bytes:,} bytes, model.onnx {found.model_bytes:,}.",
        "",
        "| way to the first answer | seconds from the start of the process, median [least, most] | memory | starts |",
        "| --- | ---: | ---: | ---: |",
    ]
    for way in found.ways:
        if way.missing:
            lines.append(f"| {way.name} | not run: {way.missing} | | |")
            continue
        seconds = [s.first_answer_s for s in way.starts]
        memory = statistics.median(s.memory_bytes for s in way.starts)
        said = f"{statistics.median(seconds):.2f} [{min(seconds):.2f}, {max(seconds):.2f}]"
        lines.append(f"| {way.name} | {said} | {memory / 1e6:.0f} MB | {len(seconds)} |")
    lines += [
        "",
        "Memory: the most that was ever resident; of the web page, the proportional set sizes of all the browser's",
        "processes. The page also asks all golden samples before it counts as answered.",
        "",
        "| runtime | golden samples inside the float32 band | |",
        "| --- | --- | --- |",
    ]
    for row in found.golden:
        far = ", ".join(f"{d.error:.1e} of {d.tolerance:.1e}" for d in row.distances)
        said = f"not run: {row.reason}" if row.passed is None else f"all {row.samples}" if row.passed else row.reason
        lines.append(f"| {row.runtime} {row.version} | {said} | {far} |")
    flips = found.flips
    lines += [
        "",
        f"{flips.found:,} of {flips.trials:,} single flipped bits in `payload/` and `records/` "
        f"({len(flips.by_file)} files) were found by `pipeline verify --integrity`; the untouched bundle passed.",
        "",
        f"{where.cpu}, {where.cores} cores.",
        "",
    ]
    return "\n".join(lines)


def held(found: Embedded) -> Mapping[str, bool]:
    """What README promises."""
    python = next(w for w in found.ways if w.name == "Python app")
    seconds = [s.first_answer_s for s in python.starts]
    return {
        f"Python app answers within {FIRST_ANSWER_S} s": bool(seconds) and statistics.median(seconds) <= FIRST_ANSWER_S,
        "every runtime is inside the band": all(row.passed is not False for row in found.golden),
        "every flipped bit is found": not found.flips.missed,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where a promise is not held."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_embed", description=__doc__.split("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--flips", type=int, default=FLIPS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default results/embed.json; the .md beside it")
    given = parser.parse_args(arguments)
    progress = Terminal()
    try:
        bundle = Bundle.open(given.bundle)
        kit = kit_of(bundle)
        single = next(a for a in bundle.artifacts if a.format == "onnx" and a.precision == "float32")
        found = Embedded(
            model=bundle.manifest.title,
            app_bytes=kit.app.bytes,
            model_bytes=single.bytes,
            ways=tuple(measured(bundle, kit, given.rounds, progress)),
            golden=check(kit, (), progress).rows,
            flips=flip_trials(given.bundle, given.flips, 0),
        )
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    promises: dict[str, Any] = dict(held(found))
    value = to_json(found) | {"held": promises, "environment": to_json(environment())}
    write_atomic(given.out, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")
    write_atomic(given.out.with_suffix(".md"), markdown(found).encode())
    print(markdown(found))
    for name, kept in promises.items():
        print(f"{'held' if kept else 'NOT HELD'}: {name}")
    return int(not all(promises.values()))


if __name__ == "__main__":
    sys.exit(main())
