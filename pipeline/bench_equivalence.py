"""`make bench-equivalence`: deliberate faults, benign variants and the search for a fault's place, over many bundles.

Every trial is kept in its bundle, so that what has been done is not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle.errors import PipelineError
from export.bundle.files import write_atomic
from export.bundle.store import Bundle
from export.bundle.types import Artifact, to_json
from pipeline.console import Terminal
from serve_bench.equivalence import benign, constants, judge, selftest, structure
from serve_bench.equivalence import selftest_summary as summary
from serve_bench.equivalence.truth import Truth
from serve_bench.worker import Workers

RESULTS = Path(__file__).resolve().parent.parent / "results" / "equivalence.json"
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
BATCHES = (1, 2, 7, 64, 256)


@dataclass(frozen=True, kw_only=True)
class Benign:
    """One benign variant and what the verdict said of it; empty where it passed."""

    model: str
    artifact: str
    variant: str
    reason: str


def benign_trials(bundle: Bundle) -> Iterator[Benign]:
    """Every variant of every ONNX file and of the torch forms, judged as an export is."""
    whole = Truth.load(bundle.file("truth.npz"), bundle.manifest.preprocess)
    truth, told, task = selftest.few(whole), structure.told_of(bundle.manifest), bundle.manifest.task
    by_format = {a.format: bundle.file(a.path) for a in bundle.artifacts if a.target == "any"}
    for artifact in bundle.artifacts:
        if artifact.format != "onnx":
            continue
        path = Path(bundle.resolve(artifact).path)

        def said(name: str, reason: str, artifact: Artifact = artifact) -> Benign:
            return Benign(model=bundle.manifest.model, artifact=artifact.name, variant=name, reason=reason)

        for level in LEVELS:
            for threads in (1, 2):
                for batch in BATCHES:
                    name = f"{level}, {threads} threads, batch {batch}"
                    yield said(name, judged(truth, artifact, task, session(path, level, threads), batch))
        with tempfile.TemporaryDirectory() as folder:
            for variant in benign.variants(path):
                copy = Path(folder) / "variant.onnx"
                variant.write(copy)
                promised = replace(artifact, facts={**artifact.facts, **variant.promises})
                reasons = [
                    structure.why(structure.check(copy, promised, told)),
                    constants.why(
                        constants.compare(
                            by_format["weights"], copy, "onnx", artifact.precision, by_format.get("exported_program")
                        )
                    ),
                    judged(truth, artifact, task, session(copy, LEVELS[-1], 1), 64),
                ]
                yield said(variant.name, next((r for r in reasons if r), ""))
    yield from _torch_variants(bundle, truth)


def session(path: Path, level: str, threads: int) -> Any:
    """A function from inputs by name to outputs by name, by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in opened.get_outputs()]
    return lambda inputs: dict(zip(names, opened.run(names, inputs), strict=True))


def _torch_variants(bundle: Bundle, truth: Truth) -> Iterator[Benign]:
    """The program and TorchScript with other memory layouts, thread counts, batch sizes and kernels."""
    import torch

    from export.program import leaves, load_program, module_of

    by_format = {a.format: a for a in bundle.artifacts}
    names = [s.name for s in bundle.manifest.outputs]
    program = by_format["exported_program"]
    modules = {"exported_program": module_of(load_program(Path(bundle.resolve(program).path)))}
    if "torchscript" in by_format:
        path = bundle.resolve(by_format["torchscript"]).path
        modules["torchscript"] = torch.jit.load(path)
        modules["torchscript, frozen"] = torch.jit.freeze(torch.jit.load(path).eval())
    before = torch.get_num_threads()
    for form, module in modules.items():
        for layout in ("contiguous", "channels last"):
            for onednn in (True, False):
                for threads in (1, 2):
                    for batch in (1, 7, 256):

                        def call(inputs: Any, module: Any = module, layout: str = layout, onednn: bool = onednn) -> Any:
                            tensors = [torch.from_numpy(inputs[n]) for n in truth.input_names]
                            if layout == "channels last":
                                tensors = [
                                    t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
                                    for t in tensors
                                ]
                            with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=onednn):
                                return dict(zip(names, (y.numpy() for y in leaves(module(*tensors))), strict=True))

                        torch.set_num_threads(threads)
                        kernels = "oneDNN" if onednn else "torch's own kernels"
                        name = f"{layout}, {kernels}, {threads} threads, batch {batch}"
                        reason = judged(truth, program, bundle.manifest.task, call, batch)
                        yield Benign(model=bundle.manifest.model, artifact=form, variant=name, reason=reason)
    torch.set_num_threads(before)


def judged(truth: Truth, artifact: Artifact, task: str, call: Any, batch: int) -> str:
    """Why the numbers speak against it; empty where they do not."""
    answered = {probe: in_batches(truth, truth.inputs(probe), call, batch) for probe in truth.probes}
    return judge.why_numbers(truth, task, artifact.precision, answered)


def in_batches(truth: Truth, inputs: Any, call: Any, batch: int) -> dict[str, Any]:
    axes = truth.meta["input_axes"]
    first = next(iter(inputs))
    total = inputs[first].shape[axes[first]]
    parts: list[dict[str, Any]] = []
    for start in range(0, total, batch):
        rows = range(start, min(start + batch, total))
        parts.append(call({n: np.ascontiguousarray(a.take(rows, axis=axes[n])) for n, a in inputs.items()}))
    return {n: np.concatenate([p[n] for p in parts], axis=truth.output_axis(n)) for n in parts[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is missing over the bundles named, prints the tables and keeps them."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.bench_equivalence", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    end = time.monotonic() + 60 * chosen.minutes
    trials, alarms, left, variants = [], [], 0, 0
    for path in chosen.bundles:
        bundle = Bundle.open(path)
        try:
            with Workers() as workers:
                result = selftest.run(bundle, workers, max(end - time.monotonic(), 0.0), Terminal())
        except PipelineError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        trials += list(result.trials)
        left += result.left
        if not result.left and time.monotonic() < end:
            made = list(benign_trials(bundle))
            variants += len(made)
            alarms += [b for b in made if b.reason]
            print(f"{path.name}: {len(made)} benign variants, {sum(bool(b.reason) for b in made)} false alarms")
    rows = [*summary.shares(trials, lambda t: t.kind), summary.share("all", trials, summary.rejected(trials))]
    for row in rows:
        print(" | ".join(summary.cells(row)))
    for cells in summary.other_cells(rows[-1], trials):
        print(" | ".join(cells))
    document = {
        "faults": rows,
        "missed": [t for t in trials if t.kind != selftest.SOUND and not summary.caught(t)],
        "benign": variants,
        "false_alarms": alarms,
        "left": left,
    }
    write_atomic(chosen.results, (json.dumps(to_json(document), indent=1, ensure_ascii=False) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
