"""The machine and the libraries a figure was taken on. Initialises no GPU and imports no heavy library."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from export.bundle.files import digest_of
from export.bundle.limits import CGROUPS, core_limit, memory_limit
from export.bundle.types import Environment, to_json

LIBRARIES = (
    "torch",
    "torchvision",
    "triton",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "polygraphy",
    "numpy",
    "safetensors",
)
ARITHMETIC_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "sve",
)
INSTRUCTIONS = re.compile(r"(sse|ssse3|avx|fma|f16c|bmi|abm|popcnt|movbe|adx|v?aes|v?pclmul|sha|gfni|amx)")
"""Of the flags of an x86 CPU those that stand for instructions a compiler chooses by itself."""
SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "KMP_AFFINITY",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    name: str
    compute_capability: str
    """`8.0` for an A100."""
    memory: str
    driver: str
    clocks: str

    @property
    def sm(self) -> str:
        """`sm80` for an A100."""
        return "sm" + self.compute_capability.replace(".", "")


@cache
def gpus() -> tuple[Gpu, ...]:
    """NVIDIA GPUs that this process may use, asked of nvidia-smi, so that CUDA is not initialised."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = shutil.which("nvidia-smi")
    if command is None or visible in ("", "-1"):
        return ()
    query = "name,compute_cap,memory.total,driver_version,clocks.sm"
    try:
        answer = subprocess.run(
            [command, f"--query-gpu={query}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.count(",") == 4]
    found = [Gpu(name=r[0], compute_capability=r[1], memory=r[2], driver=r[3], clocks=r[4]) for r in rows]
    return tuple(found[i] for i in visible_gpus(visible, len(found)))


def visible_gpus(chosen: str | None, count: int) -> list[int]:
    """The GPUs of `count` that CUDA_VISIBLE_DEVICES lets a process use, by number; all of them where it is not set or
    names them by UUID."""
    numbers = [part.strip() for part in chosen.split(",")] if chosen else []
    if not numbers or not all(part.isdigit() for part in numbers):
        return list(range(count))
    return [int(part) for part in numbers if int(part) < count]


@cache
def versions() -> Mapping[str, str]:
    """Distribution → installed version, of the libraries that compute."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu_fields() -> dict[str, str]:
    """Of the first CPU, as Linux describes it; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _cpu() -> tuple[str, tuple[str, ...]]:
    fields = _cpu_fields()
    if not fields:
        return platform.processor() or platform.machine(), ()
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name", platform.machine()), tuple(f for f in ARITHMETIC_FLAGS if f in present)


def instruction_set() -> tuple[str, ...]:
    """What machine code compiled for this very CPU may need: its machine, then its instructions by name, sorted.

    Where they cannot be read (not on Linux), the name of the processor stands for them.
    """
    fields = _cpu_fields()
    flags = {f for f in fields.get("flags", "").split() if INSTRUCTIONS.match(f)} | set(
        fields.get("Features", "").split()
    )
    return platform.machine(), *(sorted(flags) or [platform.processor()])


def cxx_compiler() -> str | None:
    """The C++ compiler that inductor would use: CXX, else g++ (on a Mac clang++) of PATH; None without it."""
    return shutil.which(os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++"))


def inductor_cache() -> Path:
    """Where inductor keeps what it compiled: TORCHINDUCTOR_CACHE_DIR, else the user's own cache, no guessable name in
    /tmp."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or user_cache_path("pipeline") / "inductor")


def available_cores(root: Path = CGROUPS) -> int:
    """Cores that this process may use: of its affinity, and no more than its container's share of time (under `root`)
    keeps busy."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, core_limit(root) or allowed)


def memory_bytes(root: Path = CGROUPS) -> int:
    """Of the whole machine, or what its container (under `root`) may use of it; 0 where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        whole = 0
    limit = memory_limit(root) or whole
    return min(whole, limit) if whole else limit


def _clocks() -> Mapping[str, str]:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    clocks = {"cpu_governor": governor.read_text().strip()} if governor.is_file() else {}
    return clocks | {f"gpu{i}_sm": gpu.clocks for i, gpu in enumerate(gpus())}


def environment() -> Environment:
    """This machine, now. Two with the same id have the same hardware, driver, libraries and settings."""
    cpu, flags = _cpu()
    facts = {
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": cpu,
        "cpu_flags": flags,
        "cores": available_cores(),
        "memory_bytes": memory_bytes(),
        "gpus": tuple({k: v for k, v in vars(gpu).items() if k != "clocks"} for gpu in gpus()),
        "versions": versions(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
    return Environment(id=digest_of(to_json(facts))[:12], clocks=_clocks(), **facts)  # type: ignore[arg-type]
