"""Builds one engine: run as `python -m export.formats._tensorrt_build` with a request in JSON on stdin.

A process of its own, since one process holds one flavour and a native crash ends it. It imports nothing but the
flavour: TensorRT's own API is the same in both flavours and both major versions, so no layer above it is needed. The
answer is JSON in the file that the request names: {"version", "seconds", "tf32", "timing_cache"} or {"error"}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Writes request["engine"] from request["onnx"]; raises RuntimeError with the library's own words."""
    trt = importlib.import_module(request["flavour"])
    logger = _logger(trt)
    started = time.perf_counter()
    builder = _made(trt.Builder(logger), "no builder could be made", logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request["onnx"]).read_bytes()):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise RuntimeError("; ".join(errors) or "the parser refuses the graph")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    _set_profile(builder, config, request["profile"])
    cache = None
    if request["flavour"] == "tensorrt_rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request["target"].upper()), 0)
    else:
        if request["hardware_compatibility"] == "ampere_plus":
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        cache = _open_timing_cache(config, request["timing_cache"])
    engine = _made(builder.build_serialized_network(network, config), "no engine was built", logger)
    Path(request["engine"]).write_bytes(memoryview(engine))
    _keep_timing_cache(config, request["timing_cache"] if cache else None)
    return {
        "version": trt.__version__,
        "seconds": time.perf_counter() - started,
        "tf32": config.get_flag(trt.BuilderFlag.TF32),
        "timing_cache": bool(cache),
    }


def _logger(trt: Any) -> Any:
    class Errors(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.Logger.ERROR):
                self.messages.append(message)

    return Errors()


def _made(value: Any, otherwise: str, logger: Any) -> Any:
    if value is None:
        raise RuntimeError("; ".join(logger.messages) or otherwise)
    return value


def _set_profile(builder: Any, config: Any, shapes: dict[str, dict[str, list[int]]]) -> None:
    if not shapes:
        return
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape["min"], shape["opt"], shape["max"])
    if config.add_optimization_profile(profile) < 0:
        raise RuntimeError(f"the optimisation profile {json.dumps(shapes)} is refused")


def _open_timing_cache(config: Any, path: str | None) -> Any:
    if path is None:
        return None
    stored = Path(path).read_bytes() if Path(path).is_file() else b""
    for data in (stored, b""):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _keep_timing_cache(config: Any, path: str | None) -> None:
    if path is None:
        return
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(memoryview(config.get_timing_cache().serialize()))
    temporary.replace(path)


def main() -> None:
    request = json.load(sys.stdin)
    try:
        answer = build(request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
