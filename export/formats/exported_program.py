"""model.pt2: the one graph that ONNX, eager and truth are made from, checked against the module in float64."""

from __future__ import annotations

import copy
import io
import time
from pathlib import Path
from typing import Any

from export.bundle.errors import ExportError
from export.bundle.files import digest_of
from export.bundle.types import Artifact, Json, Precision
from export.formats._base import Source
from export.formats._write import exporting, needs_torch, parent_content, record
from export.program import (
    cast_at_ends,
    content_of_program,
    dynamic_shapes,
    flatten_signature,
    leaves,
    load_program,
    module_in,
    resized,
    sizes_to_try,
    strip_sources,
    tensors,
)

LARGEST_DIFFERENCE = 1e-12


class ExportedProgram:
    name = "exported_program"
    needs: str | None = "weights"
    precision: Precision = "float32"
    filename = "model.pt2"
    version = 1
    libraries = ("torch",)
    options: tuple[str, ...] = ()

    def missing(self) -> str | None:
        return needs_torch()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "weights")
        with exporting(self.name):
            program = load_program(source.program) if source.program else _exported(source)
            written = saved(program, destination)
            facts = {"check": check(source, destination), "nodes": len(list(written.graph.nodes))}
            return record(
                source,
                destination,
                form=self.name,
                path=self.filename,
                started=started,
                parent=parent,
                libraries=self.libraries,
                content=content_of_program(written),
                facts=facts,
            )


class TypedProgram:
    """model.pt2 typed in a narrower precision throughout, with float32 inputs and outputs."""

    needs: str | None = "exported_program"
    version = 1
    libraries = ("torch",)
    options: tuple[str, ...] = ()
    on_request = True

    def __init__(self, name: str, precision: Precision, filename: str) -> None:
        self.name, self.precision, self.filename = name, precision, filename

    def missing(self) -> str | None:
        return needs_torch()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "exported_program")
        with exporting(self.name):
            program = typed_program(source.files["exported_program"][0], source, self.precision)
            written = saved(program, destination)
            return record(
                source,
                destination,
                form="exported_program",
                path=self.filename,
                started=started,
                parent=parent,
                precision=self.precision,
                libraries=self.libraries,
                content=content_of_program(written),
                facts={"typed": f"{self.precision} inside, float32 at inputs and outputs"},
            )


def saved(program: Any, destination: Path) -> Any:
    """Writes a program without paths and samples; returns it as it is read again."""
    import torch

    strip_sources(program)
    program._example_inputs = None  # a pickle, and samples that need not travel
    flatten_signature(program)
    stream = io.BytesIO()
    torch.export.save(program, stream)
    destination.write_bytes(stream.getvalue())
    return load_program(destination)


def typed_program(path: Path, source: Source, dtype: str) -> Any:
    """The program in `dtype` throughout, with float32 inputs and outputs: its precision is in its types."""
    import torch

    specs = source.trained.spec.inputs
    module = module_in(path, dtype)
    cast_at_ends(module, dtype)
    return torch.export.export(
        module, tensors(source.example, specs), dynamic_shapes=dynamic_shapes(specs), strict=False
    )


def _exported(source: Source) -> Any:
    import torch

    spec, module = source.trained.spec, source.trained.module
    return torch.export.export(
        spec.graph(module) if spec.graph else module,
        tensors(source.example, spec.inputs),
        dynamic_shapes=dynamic_shapes(spec.inputs),
        strict=False,
    )


def content_of_source(source: Source) -> str:
    """Digest of the graph and weights that a source would be exported to: says whether a module has changed.

    Where it cannot be exported, the digest of its own words about that.
    """
    try:
        with exporting(ExportedProgram.name):
            program = load_program(source.program) if source.program else _exported(source)
            return content_of_program(program)
    except ExportError as error:
        return digest_of(str(error))


def check(source: Source, path: Path) -> dict[str, Json]:
    """Compares the file with the module it was made from, both in float64, for each size of each dynamic axis tried.

    Raises ExportError where they differ by more than float64 itself explains; `equal` says whether all bits agree.
    """
    import torch

    specs = source.trained.spec.inputs
    graph = module_in(path, "float64")
    module = module_in(source.program, "float64") if source.program else copy.deepcopy(source.trained.module).double()
    tries = [dict(source.example)]
    tries += [resized(source.example, specs, *tried) for tried in sizes_to_try(source.trained.spec, (1, 7))]
    worst, equal = 0.0, True
    for arrays in tries:
        values = [t.double() if t.is_floating_point() else t for t in tensors(arrays, specs)]
        with torch.inference_mode():
            ours, theirs = leaves(graph(*values)), leaves(module(*values))
        for name, a, b in zip((o.name for o in source.trained.spec.outputs), ours, theirs, strict=True):
            equal = equal and torch.equal(a, b)
            if a.shape != b.shape:
                raise ExportError(
                    f"model.pt2: output {name!r} has shape {tuple(a.shape)}, the module's {tuple(b.shape)}"
                )
            if a.numel():
                worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)))
    if not worst <= LARGEST_DIFFERENCE:
        raise ExportError(
            f"model.pt2: differs from the module by {worst:.1e} in float64; the module depends on its example"
        )
    return {"dtype": "float64", "shapes": len(tries), "equal": equal, "largest_relative_difference": worst}


ENTRIES = (ExportedProgram(), TypedProgram("exported_program-bf16", "bfloat16", "model.bf16.pt2"))
