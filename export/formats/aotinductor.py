"""model.aoti.pt2: machine code for this CPU that AOTInductor compiles from model.pt2, for torch of the same version."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.bundle.environment import cxx_compiler, inductor_cache, instruction_set, versions
from export.bundle.errors import ExportError, some
from export.bundle.types import Artifact, Json, Precision
from export.formats._base import Source
from export.formats._write import exporting, needs_torch, parent_content, record
from export.formats.torchscript import OWN_RECORDS, archive_of, compared
from export.program import load_program, tensors

NO_COMPILER = "no C++ compiler for AOTInductor: install g++, or name another in CXX"
KEPT = (".so", ".wrapper_metadata.json")
"""Of what the compiler leaves: the code and what it was compiled for, without the C++ and its command lines."""
OPTIONS = {
    "aot_inductor.precompile_headers": False,
    "aot_inductor.enable_line_tables": False,
    "aot_inductor.enable_frame_pointer": False,
    "aot_inductor.model_name_for_generated_files": "model",
    "compile_threads": 1,
    "cpp.dynamic_threads": True,
}
"""Without debug tables, under a plain name, and with as many threads as are set when it is run."""


class AotInductor:
    name = "aotinductor"
    needs: str | None = "exported_program"
    precision: Precision = "float32"
    filename = "model.aoti.pt2"
    version = 1
    libraries = ("torch",)
    options: tuple[str, ...] = ()
    by_name = True
    """It takes long to make, and runs on such a CPU and this version of torch alone."""

    def missing(self) -> str | None:
        if os.name == "nt":
            return "AOTInductor packages are built on Linux and macOS alone: export it there"
        return needs_torch() or (None if cxx_compiler() else NO_COMPILER)

    def built_for(self) -> Json:
        return list(instruction_set())

    def write(self, source: Source, destination: Path) -> Artifact:
        started = time.perf_counter()
        parent = parent_content(source, "exported_program")
        with exporting(self.name), tempfile.TemporaryDirectory(prefix="pipeline-aotinductor-") as folder:
            data = compiled(source.files["exported_program"][0], source, Path(folder))
            destination.write_bytes(data)
            package = Path(folder) / self.filename
            package.write_bytes(data)
            loaded = load_package(package)
            facts: dict[str, Json] = {
                "torch": versions()["torch"],
                "compiler": compiler_version(),
                "vector_isa": loaded.get_metadata().get("AOTI_CPU_ISA", ""),
                "built_for": self.built_for(),
                "threads": "as many as are set when it is run",
                "check": compared(self.name, source, loaded),
            }
            return record(
                source,
                destination,
                form=self.name,
                path=self.filename,
                started=started,
                parent=parent,
                libraries=self.libraries,
                content=content_of_package(data),
                facts=facts,
            )


def compiled(program: Path, source: Source, folder: Path) -> bytes:
    """The package of the `.pt2` at `program`, without the paths of this machine; works in `folder`."""
    import torch
    from torch._inductor.utils import fresh_cache

    _ask_for_vector_instructions()
    loaded = load_program(program)
    loaded._example_inputs = (tensors(source.example, source.trained.spec.inputs), {})
    options = OPTIONS | {"cpp.cxx": (None, str(pathless_compiler(folder)))}
    package = folder / "compiled.pt2"
    with fresh_cache(dir=str(folder)):
        torch._inductor.aoti_compile_and_package(loaded, package_path=str(package), inductor_configs=options)
    return code_alone(package.read_bytes())


def pathless_compiler(folder: Path) -> Path:
    """The C++ compiler as a command that writes file names without the folders of torch and of inductor's cache.

    `__FILE__` puts them into the code; `-ffile-prefix-map` is GCC's and Clang's.
    """
    import torch

    compiler = cxx_compiler()
    if compiler is None:
        raise ExportError(NO_COMPILER)
    command = folder / Path(compiler).name
    packages = shlex.quote(f"-ffile-prefix-map={Path(torch.__file__).parent.parent}=.")
    cache = '-ffile-prefix-map="$TORCHINDUCTOR_CACHE_DIR"=.'
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(compiler)} {packages} {cache} "$@"\n')
    command.chmod(0o700)
    return command


def code_alone(data: bytes) -> bytes:
    """The same archive with no more than what is loaded of it."""

    def keeps(name: str) -> bool:
        return not OWN_RECORDS.match(name) and (not name.startswith("data/") or name.endswith(KEPT))

    return archive_of(data, keeps)


def content_of_package(data: bytes) -> str:
    """Digest of the code and of what it was compiled for; archives differ in their serial number."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in sorted(n for n in archive.namelist() if "/data/" in n):
            for part in (name.encode(), archive.read(name)):
                digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def load_package(path: Path) -> Any:
    """The model of a package, ready to be called; raises what torch raises. Opening one runs what is in it.

    torch unpacks it into a folder that stays if the process ends at once: here it goes as soon as the code is loaded.
    """
    import torch

    folder = tempfile.TemporaryDirectory(prefix="pipeline-aotinductor-", ignore_cleanup_errors=True)
    with folder as name, _variable("TMPDIR", name):
        return torch._inductor.aoti_load_package(str(path))


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _ask_for_vector_instructions() -> None:
    """Inductor compiles small programs to see which there are: asked once, and kept in the user's own cache."""
    from torch._inductor import cpu_vec_isa

    with _variable("TORCHINDUCTOR_CACHE_DIR", str(inductor_cache())):
        cpu_vec_isa.pick_vec_isa()


def compiler_version() -> str:
    """The first line of what the C++ compiler says of itself: "g++ (Debian 12.2.0-14) 12.2.0"."""
    said = subprocess.run([cxx_compiler() or "g++", "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].strip() if said.strip() else "unknown"


def not_for_here(facts: Mapping[str, Json]) -> str | None:
    """Why a package with these facts cannot run on this machine, with the remedy; None where it can."""
    again = "make it here: pipeline train-export or export --with aotinductor"
    made, here = facts.get("torch"), versions().get("torch")
    if made != here:
        return f"the package was compiled with torch {made or 'of unknown version'}, here is {here}; {again}"
    wanted, present = facts.get("built_for"), instruction_set()
    if not wanted:
        return f"the package does not say what CPU it was compiled for; {again}"
    lacking = [name for name in wanted if name not in present]
    if lacking:
        return f"the package was compiled for a CPU with {some(lacking, 1)}, which this one has not; {again}"
    return None


ENTRIES = (AotInductor(),)
