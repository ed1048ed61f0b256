"""ONNX Runtime, each provider under its own name: CPU, CUDA, TensorRT."""

from __future__ import annotations

import os
from typing import Any

from export.bundle.types import Artifact, Boundary
from serve_bench.backends._base import Session
from serve_bench.backends._helpers import NO_GPU, example_shape, gpu_names, importable, only_device, version
from serve_bench.backends._ort import (
    CpuSession,
    CudaSession,
    create,
    left_out,
    option_facts,
    probe_precision,
    session_options,
)
from serve_bench.backends._placement import check_provider

NOT_INSTALLED = "ONNX Runtime is not installed: pip install . in the clone"


class OnnxRuntimeCpu:
    name = "onnxruntime-cpu"
    reads = "onnx"
    also_reads = ("app",)
    family = "onnxruntime-cpu"
    preload = ("onnxruntime", "onnx")

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return ("host",)

    def missing(self, device: str) -> str | None:
        wrong = only_device(self.name, device, self.devices())
        return wrong or (None if importable("onnxruntime") else NOT_INSTALLED)

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        disabled = left_out(artifact)
        ort = create(self.name, artifact.path, session_options(threads), ["CPUExecutionProvider"], disabled)
        session = CpuSession(self.name, ort, artifact, threads)
        placed = check_provider(self.name, ort, "CPUExecutionProvider", artifact.path)
        session.settings = option_facts(threads) | placed | ({"disabled_optimizers": disabled} if disabled else {})
        return session


class OnnxRuntimeCuda:
    name = "onnxruntime-cuda"
    reads = "onnx"
    also_reads: tuple[str, ...] = ("app",)
    cuda_graph = False
    family = "onnxruntime-cuda"
    preload: tuple[str, ...] = ("onnxruntime", "onnx")
    provider = "CUDAExecutionProvider"

    def devices(self) -> tuple[str, ...]:
        return ("cuda",)

    def boundaries(self, device: str) -> tuple[Boundary, ...]:
        return ("host", "device")

    def missing(self, device: str) -> str | None:
        wrong = only_device(self.name, device, self.devices())
        if wrong:
            return wrong
        if not importable("onnxruntime"):
            return NOT_INSTALLED
        if not gpu_names():
            return NO_GPU
        if version("onnxruntime-gpu") is None:
            return "ONNX Runtime is installed without CUDA: pip uninstall onnxruntime && pip install onnxruntime-gpu"
        if version("onnxruntime") is not None:
            return (
                "onnxruntime and onnxruntime-gpu are both installed and break each other: "
                "pip uninstall onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
            )
        return None

    def providers(self, artifact: Artifact) -> list[Any]:
        options = {
            "device_id": "0",
            "use_tf32": "0" if artifact.precision == "float32" else "1",
            "cudnn_conv_algo_search": "EXHAUSTIVE",
        }
        return [(self.provider, options), "CPUExecutionProvider"]

    def open(self, artifact: Artifact, device: str, threads: int) -> Session:
        import onnxruntime

        onnxruntime.preload_dlls()
        self._load_libraries(artifact)
        providers = self.providers(artifact)
        ort = create(self.name, artifact.path, session_options(threads), providers, left_out(artifact))
        placed = check_provider(self.name, ort, self.provider, artifact.path)
        session = self._session(ort, artifact, threads)
        session.settings = (
            option_facts(threads)
            | placed
            | {
                "provider_options": providers[0][1],
                "run_synchronises": True,
                "cuda_graph": self.cuda_graph,
                "gpu": gpu_names()[0],
            }
        )
        return session

    def _session(self, ort: Any, artifact: Artifact, threads: int) -> CudaSession:
        return CudaSession(self.name, ort, artifact, lambda: probe_precision(self.providers(artifact), threads))

    def _load_libraries(self, artifact: Artifact) -> None:
        return None


class OnnxRuntimeTensorrt(OnnxRuntimeCuda):
    name = "onnxruntime-tensorrt"
    family = "onnxruntime-tensorrt"
    provider = "TensorrtExecutionProvider"

    def missing(self, device: str) -> str | None:
        reason = super().missing(device)
        if reason is None and not importable("tensorrt"):
            return "the TensorRT provider needs tensorrt, not installed: pip install '.[tensorrt]' in the clone"
        return reason

    def providers(self, artifact: Artifact) -> list[Any]:
        """Engines are kept in the user's cache folder, so that a replicate does not build again."""
        from platformdirs import user_cache_path

        cache = user_cache_path("pipeline") / "onnxruntime-tensorrt"
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {
            "device_id": "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
            **self._profile(artifact),
        }
        return [(self.provider, options), *super_providers(artifact)]

    def _profile(self, artifact: Artifact) -> dict[str, str]:
        """Batch 1 to 512, optimised for 64, where only the batch is free; else TensorRT builds for what it meets."""
        free = {d for s in artifact.inputs for d in s.shape if isinstance(d, str)}
        if len(free) != 1:
            return {}
        return {
            f"trt_profile_{word}_shapes": ",".join(
                f"{s.name}:{'x'.join(map(str, example_shape(s, batch)))}" for s in artifact.inputs
            )
            for word, batch in (("min", 1), ("opt", 64), ("max", 512))
        }

    def _load_libraries(self, artifact: Artifact) -> None:
        """TensorRT's libraries are found because they are loaded; TF32 has no option here but NVIDIA's variable."""
        if artifact.precision == "float32":
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        import tensorrt  # noqa: F401


def super_providers(artifact: Artifact) -> list[Any]:
    """What is registered behind TensorRT, as its documentation asks; no computing node may land there."""
    return OnnxRuntimeCuda().providers(artifact)


ENTRIES = (OnnxRuntimeCpu(), OnnxRuntimeCuda(), OnnxRuntimeTensorrt())
