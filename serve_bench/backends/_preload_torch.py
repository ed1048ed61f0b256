"""Imported by a worker before it forks: what opening a `.pt2` and compiling it would import in every child anew.

Nothing here opens a device, starts a thread or runs an operator. The modules below `torch` are private to it and differ
by version: one that is not there is left to the child.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from export.bundle.environment import cxx_compiler, inductor_cache
from serve_bench.backends._inductor_cache import clear_away

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
    "torch._inductor.codegen.cuda_combined_scheduling",
    "torch._inductor.codegen.halide",
    "torch._inductor.codegen.mps",
    "torch._inductor.codegen.pallas",
    "torch._inductor.codegen.wrapper_fxir",
    "torch._inductor.codegen.xpu.xpu_combined_scheduling",
    "torch._dynamo.backends.inductor",
    "torch._dynamo.repro.after_dynamo",
    "torch.distributed.tensor.experimental",
    "torch.fx.experimental.validator",
    "sympy.combinatorics",
    "sympy.tensor.tensor",
)


def _ask_inductor_once() -> None:
    """Which vector instructions there are (a trial program is compiled for that) and the digests of torch and Triton
    that name its cached graphs: both are kept in the process, and so in every child, 0.8 s each time."""
    with contextlib.suppress(Exception):
        from torch._inductor import codecache, cpu_vec_isa

        cpu_vec_isa.pick_vec_isa()
        codecache.torch_key()
        codecache.triton_key()


def _leave_out_guard_profile() -> None:
    """Dynamo times each set of guards once, for its debug log, and for that first fills 100 MB to empty the caches of
    the CPU: 50 ms a graph. The guards themselves stay."""
    with contextlib.suppress(ImportError):
        guards: Any = importlib.import_module("torch._dynamo.guards")
        if hasattr(guards, "profile_guard_manager"):
            guards.profile_guard_manager = lambda *_: 0.0


os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(inductor_cache()))
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
importlib.import_module("torch")
for _name in MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)
_leave_out_guard_profile()
if cxx_compiler() is not None:
    clear_away()
    _ask_inductor_once()
