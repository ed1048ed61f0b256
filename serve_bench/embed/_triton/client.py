"""Sends the golden samples to a running Triton server and compares its answers with float64's.

python client.py --url 127.0.0.1:8001
python client.py --protocol http --url 127.0.0.1:8000 --model NAME
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

PORTS = {"grpc": 8001, "http": 8000}
LABEL = "label"


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test a model repository on a running Triton server.")
    parser.add_argument("--url", help="host:port of the server; default 127.0.0.1 and the protocol's own port")
    parser.add_argument("--protocol", choices=sorted(PORTS), default="grpc")
    parser.add_argument("--model", help="only this one; default every file in golden/")
    parser.add_argument("--golden", type=Path, default=Path(__file__).resolve().parent / "golden", help="folder")
    parser.add_argument("--batch", type=int, default=8, help="samples in one request, beside one by one; default 8")
    return parser.parse_args()


def ask(triton: Any, client: Any, model: str, inputs: dict[str, Any], outputs: list[str]) -> dict[str, Any]:
    """One request: inputs (N, …) by name to outputs (N, …) by name."""
    given = []
    for name, values in inputs.items():
        tensor = triton.InferInput(name, list(values.shape), triton.np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(values))
        given.append(tensor)
    answer = client.infer(model, given, outputs=[triton.InferRequestedOutput(name) for name in outputs])
    return {name: answer.as_numpy(name) for name in outputs}


def part(golden: Any, kind: str) -> dict[str, Any]:
    return {key.removeprefix(kind): golden[key] for key in golden.files if key.startswith(kind)}


def wrong(answers: dict[str, Any], truth: dict[str, Any], tolerance: dict[str, Any], start: int) -> str:
    """What is outside its band, in one sentence; empty where all is inside."""
    close = np.zeros(len(next(iter(truth.values()))), bool)
    for name, allowed in tolerance.items():
        found, wanted = answers[name], truth[name]
        if found is None or found.shape != wanted.shape:
            return f"{name} has shape {getattr(found, 'shape', None)}, not {wanted.shape}"
        outside = ~(np.abs(found.astype(np.float64) - wanted) <= allowed)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            return f"sample {start + at[0]}, {name}: {found[at]:.9g}, where float64 has {wanted[at]:.9g}"
        if wanted.ndim == 2 and wanted.shape[1] > 1:
            largest = np.sort(wanted, axis=1)
            close |= largest[:, -1] - largest[:, -2] < 2 * allowed
    if LABEL in truth:
        found, wanted = answers[LABEL], truth[LABEL]
        if found is None or found.shape != wanted.shape:
            return f"{LABEL} has shape {getattr(found, 'shape', None)}, not {wanted.shape}"
        other = np.flatnonzero((found != wanted)[:, 0] & ~close)
        if len(other):
            i = int(other[0])
            return f"sample {start + i} has label {found[i, 0]}, where float64 has {wanted[i, 0]}"
    return ""


def test(triton: Any, client: Any, path: Path, batch: int) -> str:
    """What is wrong with the model of golden file `path`, in one sentence; empty where it answers as it should."""
    with np.load(path, allow_pickle=False) as golden:
        inputs, truth, tolerance = (part(golden, kind) for kind in ("input/", "output/", "tolerance/"))
    total = len(next(iter(truth.values())))
    for size in sorted({1, min(batch, total)}):
        for start in range(0, total, size):
            rows = slice(start, start + size)
            asked = {name: values[rows] for name, values in inputs.items()}
            answers = ask(triton, client, path.stem, asked, list(truth))
            said = wrong(answers, {name: values[rows] for name, values in truth.items()}, tolerance, start)
            if said:
                return f"in a batch of {size}: {said}"
    return ""


def main() -> int:
    chosen = words()
    files = sorted(chosen.golden.glob(f"{chosen.model or '*'}.npz"))
    if not files or chosen.batch < 1:
        print(f"error: {chosen.golden}: holds no golden file of that model, or --batch is below 1", file=sys.stderr)
        return 2
    try:
        triton = importlib.import_module(f"tritonclient.{chosen.protocol}")
    except ImportError as error:
        print(f'error: {error}: pip install "tritonclient[{chosen.protocol}]"', file=sys.stderr)
        return 1
    failures = 0
    with triton.InferenceServerClient(chosen.url or f"127.0.0.1:{PORTS[chosen.protocol]}") as client:
        for path in files:
            try:
                said = test(triton, client, path, chosen.batch)
            except Exception as error:  # the transport's own errors share no base class
                said = " ".join(str(error).split())
            failures += bool(said)
            print(f"{path.stem}: {said or 'all answers are inside their bands'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
