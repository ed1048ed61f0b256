"""Frozen TorchScript: traced, or compiled where the module loops, and run at other sizes before it is kept."""

from __future__ import annotations

import hashlib
import io
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.bundle.errors import ExportError
from export.bundle.types import Artifact, Json, Precision
from export.formats._base import Source
from export.formats._write import exporting, needs_torch, parent_content, record
from export.program import leaves, resized, sizes_to_try, tensors, traceable_module

LARGEST_DIFFERENCE = 1e-3
"""A trace that misses a dynamic size is wrong by far more; the verdict on float32 is given later, from float64."""
OWN_RECORDS = re.compile(r"^(version|byteorder|\.data/.*|.*\.debug_pkl)$")
MANGLED = re.compile(rb"___torch_mangle_\d+")


class TorchScript:
    name = "torchscript"
    needs: str | None = "weights"
    precision: Precision = "float32"
    filename = "model.torchscript.pt"
    version = 1
    libraries = ("torch",)
    options: tuple[str, ...] = ()

    def missing(self) -> str | None:
        return needs_torch()

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "weights")
        with exporting(self.name):
            import torch

            example = tensors(source.example, source.trained.spec.inputs)
            module = traceable_module(source.program) if source.program else source.trained.module
            looping = source.trained.spec.graph is not None and source.program is None
            with torch.no_grad():
                made = torch.jit.script(module) if looping else torch.jit.trace(module, example, check_trace=False)
                frozen = torch.jit.freeze(made.eval())
            stream = io.BytesIO()
            torch.jit.save(frozen, stream)
            data = without_sources(stream.getvalue())
            destination.write_bytes(data)
            return record(
                source,
                destination,
                form=self.name,
                path=self.filename,
                started=started,
                parent=parent,
                libraries=self.libraries,
                content=content_of_archive(data),
                facts={"frozen": True, "made_by": "script" if looping else "trace", "check": check(source, data)},
            )


def without_sources(data: bytes) -> bytes:
    """The same archive without `.debug_pkl`, the tables of source lines and their paths."""
    return archive_of(data, lambda name: not OWN_RECORDS.match(name))


def archive_of(data: bytes, keeps: Callable[[str], object]) -> bytes:
    """The same archive of torch with the records that `keeps` says yes to; tensors stay aligned."""
    import torch

    reader, stream = torch._C.PyTorchFileReader(io.BytesIO(data)), io.BytesIO()
    writer = torch._C.PyTorchFileWriter(stream)
    for name in reader.get_all_records():
        if keeps(name):
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return stream.getvalue()


def content_of_archive(data: bytes) -> str:
    """Digest of code and constants; the running number that torch gives a class in one process is left out."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in sorted(archive.namelist(), key=lambda n: MANGLED.sub(b"", n.encode())):
            if "/.data/" in name:
                continue
            for part in (name.encode(), archive.read(name)):
                plain = MANGLED.sub(b"", part)
                digest.update(len(plain).to_bytes(8, "little") + plain)
    return digest.hexdigest()


def check(source: Source, data: bytes) -> dict[str, Json]:
    """Runs the file at other sizes than the example's; raises ExportError where the trace has frozen a size in."""
    import torch

    return compared("torchscript", source, torch.jit.load(io.BytesIO(data), map_location="cpu"))


def compared(form: str, source: Source, call: Any) -> dict[str, Json]:
    """What `call` answers at several sizes of each dynamic axis, beside the module; raises ExportError where a shape is
    another, or a value differs by more than any rounding does."""
    import torch

    specs, module = source.trained.spec.inputs, source.trained.module
    sizes = sizes_to_try(source.trained.spec, (1, 2, 7))
    worst = 0.0
    for axis, size in sizes or [("", 0)]:
        values = tensors(resized(source.example, specs, axis, size), specs)
        with torch.inference_mode():
            ours, theirs = leaves(call(*values)), leaves(module(*values))
        for a, b in zip(ours, theirs, strict=True):
            if a.shape != b.shape:
                raise ExportError(f"{form}: gives shape {tuple(a.shape)} for {axis} {size}, not {tuple(b.shape)}")
            worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) if a.numel() else 0.0)
    if not worst <= LARGEST_DIFFERENCE:
        raise ExportError(f"{form}: differs from the module by {worst:.1e}; it depends on its example")
    return {"sizes": [f"{axis} {size}" for axis, size in sizes], "largest_relative_difference": worst}


ENTRIES = (TorchScript(),)
