"""The parent's side of a runtime in a process of its own: golden samples in, answers out, through a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import BackendFailed, WorkerDied
from serve_bench._child import slices
from serve_bench._processes import how_it_ended, last_line
from serve_bench.backends._helpers import batch_axis
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers

ASK = Path(__file__).with_name("_ask.py")
LIMIT_S = 300.0
Pieces = list[tuple[Mapping[str, npt.NDArray[np.generic]], int]]


def pieces_of(kit: Kit, batch: int) -> Pieces:
    """The golden inputs in batches, each with the number of its samples that count."""
    return [(dict(arrays), count) for arrays, count in slices(kit.app.inputs, kit.golden.inputs, batch)]


def ask_python(name: str, runtime: str, kit: Kit, batch: int, python: str = sys.executable) -> Answers:
    """`runtime` of `_ask.py` under the interpreter `python`; `name` heads an error."""
    pieces = pieces_of(kit, batch)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        outputs = [s.name for s in kit.app.outputs]
        request = {"runtime": runtime, "model": kit.app.path, "outputs": outputs, "pieces": len(pieces)}
        (folder / "request.json").write_text(json.dumps(request))
        named = {f"{i}/{k}": v for i, (piece, _) in enumerate(pieces) for k, v in piece.items()}
        np.savez(folder / "inputs.npz", **named)  # type: ignore[arg-type]
        own = python == sys.executable
        environment = {k: v for k, v in os.environ.items() if own or k != "PYTHONPATH"}
        said = _said(name, [python, "-P", str(ASK), place], folder, environment)
        with np.load(folder / "outputs.npz", allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
    return together(kit, [count for _, count in pieces], found, said)


def ask_node(name: str, script: Path, packages: Path, kit: Kit, batch: int, node: str) -> Answers:
    """The same through Node: `script` finds the package `name` in the folder `packages`; arrays go as JSON."""
    pieces = pieces_of(kit, batch)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        inputs = [
            {k: {"dtype": v.dtype.name, "shape": v.shape, "data": v.ravel().tolist()} for k, v in piece.items()}
            for piece, _ in pieces
        ]
        request = {"runtime": name, "packages": str(packages), "model": kit.app.path, "pieces": inputs}
        (folder / "request.json").write_text(json.dumps(request))
        said = _said(name, [node, str(script), place], folder, dict(os.environ))
    outputs = {
        f"{i}/{k}": np.array(v["data"], np.float64).reshape(v["shape"])
        for i, piece in enumerate(said["outputs"])
        for k, v in piece.items()
    }
    return together(kit, [count for _, count in pieces], outputs, said)


def _said(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the process left in answer.json; raises BackendFailed, WorkerDied."""
    log = folder / "log"
    try:
        with log.open("wb") as stream:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, timeout=LIMIT_S
            )
    except subprocess.TimeoutExpired as error:
        raise WorkerDied(f"{name}: gave no answer in {LIMIT_S:.0f} s") from error
    except OSError as error:
        raise BackendFailed(f"{name}: {command[0]} cannot be started: {error.strerror}") from error
    path = folder / "answer.json"
    if not path.is_file():
        status = ended.returncode
        how = f"exit status {status}" if status >= 0 else how_it_ended(-status)
        raise WorkerDied(f"{name}: the process ended ({how}): {last_line(log) or 'it said nothing'}")
    said: dict[str, Any] = json.loads(path.read_text())
    if "error" in said:
        raise BackendFailed(f"{name}: {said['error']}")
    return said


def together(kit: Kit, counts: Sequence[int], outputs: Mapping[str, Any], said: Mapping[str, Any]) -> Answers:
    """The pieces as one, without what only fills up a fixed batch."""
    joined: dict[str, npt.NDArray[np.generic]] = {}
    for spec in kit.app.outputs:
        axis = batch_axis(spec) or 0
        parts = [outputs.get(f"{i}/{spec.name}") for i in range(len(counts))]
        if any(part is None for part in parts):
            raise BackendFailed(f"it gives no {spec.name!r}")
        cut = [np.moveaxis(p, axis, 0)[:n] for p, n in zip(parts, counts, strict=True) if p is not None]
        joined[spec.name] = np.concatenate(cut)
    return Answers(outputs=joined, version=said["version"], first_answer_s=said["first_answer_s"])
