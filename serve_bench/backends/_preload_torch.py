"""Imported by a worker before it forks: what opening a `.pt2` and compiling it would import in every child anew.

Nothing here opens a device, starts a thread or runs an operator. The modules below `torch` are private to it and differ
by version: one that is not there is left to the child.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path

from serve_bench.backends._helpers import cxx_compiler

MODULES = (
    "torch._export.serde.serialize",
    "torch._export.passes.collect_tracepoints_pass",
    "torch._export.passes.add_runtime_assertions_for_constraints_pass",
    "torch._export.db.logging",
    "torch.export._trace",
    "torch.export._unlift",
    "torch.export.pt2_archive._package",
    "torch._inductor.compile_fx",
    "torch._inductor.codegen.cpp",
    "torch._inductor.codegen.cpp_wrapper_cpu",
    "torch._inductor.fx_passes.post_grad",
    "sympy.combinatorics",
    "sympy.tensor.tensor",
)


def cache_folder() -> Path:
    """Where inductor keeps what it compiled: the user's own cache, not a guessable name in /tmp."""
    from platformdirs import user_cache_path

    return user_cache_path("pipeline") / "inductor"


def _detect_vector_instructions() -> None:
    """Inductor compiles a trial program for this; its answer is kept in the process, and so in every child."""
    try:
        from torch._inductor.cpu_vec_isa import pick_vec_isa

        pick_vec_isa()
    except Exception:
        return


os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
importlib.import_module("torch")
for _name in MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)
if cxx_compiler() is not None:
    _detect_vector_instructions()
