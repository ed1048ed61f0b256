"""First answers of the apps around a bundle and of TorchScript beside them, each in a process made anew."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.bundle.errors import BackendFailed, BackendUnavailable
from export.bundle.store import Bundle
from export.bundle.types import to_json
from export.progress import Progress
from pipeline.figures import process_tree, pss_bytes
from serve_bench.embed import _c_build, _words
from serve_bench.embed._base import EmbedOptions, Kit
from serve_bench.embed.runtimes import _browser, chromium, node

LIMIT_S = 120.0
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

    if _words.kind_of(kit) == "text":
        text = _words.golden_text(kit)
        (folder / "sample.txt").write_text(text + "\n")
        return [text], [str(folder / "sample.txt")]
    value = kit.golden.inputs[kit.app.inputs[0].name][:1]
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


def measured(bundle: Bundle, kit: Kit, rounds: int, progress: Progress) -> list[Way]:
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
