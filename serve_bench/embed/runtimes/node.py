"""onnxruntime-node and onnxruntime-web's WebAssembly, both through Node, from npm by a lock file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export.bundle.errors import BackendUnavailable
from serve_bench.embed._base import Kit
from serve_bench.embed.runtimes._base import Answers
from serve_bench.embed.runtimes._process import ask_node

LOCKS = Path(__file__).with_name("_npm")
SCRIPT = Path(__file__).with_name("_ask.mjs")
INSTALL_S = 300.0


@dataclass(frozen=True, kw_only=True)
class NodePackage:
    """One package of npm."""

    name: str
    without_python = True

    def beside(self) -> str:
        """ "Node 20.20.2"."""
        said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        return f"Node {said.strip().removeprefix('v')}"

    @property
    def cache(self) -> Path:
        """Where it is kept between runs, by what the lock file says."""
        from platformdirs import user_cache_path

        from export.bundle.files import sha256_of_file

        locked = sha256_of_file(LOCKS / self.name / "package-lock.json")
        return user_cache_path("pipeline") / "npm" / f"{self.name}-{locked[:12]}"

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "there is no node on the path: install Node 18.3 or newer"
        if not (self.cache / "node_modules" / self.name).is_dir():
            return f"not fetched yet: ask for it with --runtime {self.name}"
        return None

    def fetch(self) -> None:
        """`npm ci` by the lock file that ships with this package, into the cache; nothing where it lies there."""
        target = self.cache
        if target.is_dir() or shutil.which("node") is None:
            return
        if shutil.which("npm") is None:
            raise BackendUnavailable("there is no npm on the path to fetch it with: install it")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.name}.", dir=target.parent) as place:
            made = Path(shutil.copytree(LOCKS / self.name, Path(place) / "made"))
            self._install(made)
            try:
                made.rename(target)
            except OSError as error:
                if not target.is_dir():  # else another run was quicker
                    raise BackendUnavailable(f"{target}: {error.strerror}") from error

    def _install(self, folder: Path) -> None:
        command = ["npm", "ci", "--onnxruntime-node-install=skip", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            ended = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendUnavailable(f"npm ci did not end well: {error}") from error
        if ended.returncode:
            said = [line for line in ended.stderr.splitlines() if line.strip()] or ["it said nothing"]
            raise BackendUnavailable(f"npm ci failed: {said[0].strip()[:200]}")

    def run(self, kit: Kit, batch: int) -> Answers:
        return ask_node(self.name, SCRIPT, self.cache, kit, batch, shutil.which("node") or "node")


ENTRIES = (NodePackage(name="onnxruntime-node"), NodePackage(name="onnxruntime-web"))
