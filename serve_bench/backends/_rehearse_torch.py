"""Imported by a worker before it forks, after `_preload_torch`: one small network is loaded and compiled.

What torch builds when it is first used (tables of operators and decompositions, the digest of the compiler's headers,
which asks the compiler) is then there in every child: a compiled session opens in about half the time. Nothing of the
network is left, and no thread was started, so that forking stays safe. Left out where there is a GPU, since inductor
asks it for its properties and a device that was opened cannot be forked.
"""

from __future__ import annotations

import contextlib
import io

from export.bundle.environment import cxx_compiler
from serve_bench.backends._helpers import gpu_names


def _rehearse() -> None:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1
    with torch.random.fork_rng(devices=()):
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(13), nn.Flatten(), nn.Linear(8, 2)).eval()
    example, file = torch.ones(2, 1, 28, 28), io.BytesIO()
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)), file)
    file.seek(0)
    compiled = torch.compile(torch.export.load(file).module(check_guards=False), fullgraph=True)
    torch._dynamo.maybe_mark_dynamic(example, 0)
    with torch.inference_mode():
        compiled(example)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


if cxx_compiler() is not None and not gpu_names():
    with contextlib.suppress(Exception):
        _rehearse()
