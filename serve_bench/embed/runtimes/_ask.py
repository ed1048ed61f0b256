"""Runs in a process of its own, under any Python that has numpy and the runtime: `python _ask.py FOLDER`.

FOLDER holds request.json {"runtime", "model", "outputs", "pieces"} and inputs.npz (piece/input); outputs.npz
(piece/output) and answer.json {"version", "first_answer_s"} or {"error"} are written beside them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def onnxruntime_cpu(model: str, names: list[str]) -> tuple[str, Ask]:
    return _onnxruntime(model, names, "CPUExecutionProvider", {})


def onnxruntime_cuda(model: str, names: list[str]) -> tuple[str, Ask]:
    """In float32: TF32, the provider's default, is off."""
    import onnxruntime

    onnxruntime.preload_dlls()
    return _onnxruntime(model, names, "CUDAExecutionProvider", {"use_tf32": "0"})


def _onnxruntime(model: str, names: list[str], provider: str, options: Mapping[str, str]) -> tuple[str, Ask]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, settings, providers=[(provider, dict(options))])
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"{provider} is not in use, but {session.get_providers()[0]}")
    return onnxruntime.__version__, lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def onnx_reference(model: str, names: list[str]) -> tuple[str, Ask]:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return onnx.__version__, lambda feeds: dict(zip(names, evaluator.run(names, dict(feeds)), strict=True))


def openvino(model: str, names: list[str]) -> tuple[str, Ask]:
    """In float32: left to itself it computes in bfloat16 where the CPU can. Its telemetry is not loaded."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})

    def ask(feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        found = compiled(dict(feeds))
        return {name: np.array(found[name]) for name in names}

    return str(ov.__version__).split("-")[0], ask


RUNTIMES = {
    "onnxruntime": onnxruntime_cpu,
    "onnxruntime-cuda": onnxruntime_cuda,
    "onnx-reference": onnx_reference,
    "openvino": openvino,
}


def answered(folder: Path) -> dict[str, Any]:
    request = json.loads((folder / "request.json").read_text())
    with np.load(folder / "inputs.npz", allow_pickle=False) as file:
        inputs = {key: file[key] for key in file.files}
    pieces: list[dict[str, Any]] = [{} for _ in range(request["pieces"])]
    for key, values in inputs.items():
        number, name = key.split("/", 1)
        pieces[int(number)][name] = values
    started = time.perf_counter()
    version, ask = RUNTIMES[request["runtime"]](request["model"], request["outputs"])
    found = [ask(pieces[0])]
    first = time.perf_counter() - started
    found += [ask(piece) for piece in pieces[1:]]
    np.savez(folder / "outputs.npz", **{f"{i}/{k}": v for i, piece in enumerate(found) for k, v in piece.items()})
    return {"version": version, "first_answer_s": first}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    try:
        said = answered(place)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = {"error": lines[0][:300] if lines else type(error).__name__}
    (place / "answer.json").write_text(json.dumps(said))
