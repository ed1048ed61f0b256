"""Does the integrity check find every flipped bit? A part of `make bench-embed`; nothing is run or imported but hashes.

`python -m pipeline.bench_integrity artifacts/cnn --trials 10000` prints the counts, and ends with status 1 where a flip
was missed or the untouched bundle does not pass.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.bundle.errors import PipelineError
from export.bundle.integrity import PAYLOAD, RECORDS, check_file, check_integrity
from export.bundle.store import Bundle


@dataclass(frozen=True, kw_only=True)
class OfFile:
    """The trials in one file."""

    path: str
    """POSIX path inside the bundle."""
    bytes: int
    trials: int
    found: int


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One flip that was not found."""

    path: str
    offset: int
    """Of the byte, counted from 0."""
    bit: int
    """Of that byte, 0 the lowest."""


@dataclass(frozen=True, kw_only=True)
class Flips:
    """Single flipped bits, and how many of them the check found."""

    trials: int
    found: int
    seed: int
    by_file: tuple[OfFile, ...]
    """By path, those without a trial too."""
    missed: tuple[Flip, ...]


def flip_trials(bundle: Path, trials: int, seed: int) -> Flips:
    """Flips a bit in a copy of `bundle`, checks, and puts it back, `trials` times.

    The file is drawn uniformly from all of payload/ and records/ that hold a byte, the byte uniformly from the file,
    the bit from the byte. Each trial checks the touched file alone, by the function that `check_integrity` is made of.
    Raises BundleCorrupt where the untouched bundle does not pass, or the copy afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="flips-") as folder:
        copy = Path(folder) / "bundle"
        for part in (PAYLOAD, RECORDS):
            if (bundle / part).is_dir():
                shutil.copytree(bundle / part, copy / part)
        check_integrity(copy).raise_for_findings(bundle)
        flips = _flip(copy, trials, seed)
        check_integrity(copy).raise_for_findings(copy)
    return flips


def _flip(copy: Path, trials: int, seed: int) -> Flips:
    opened = Bundle.open(copy)
    names = sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
    sizes = {name: (copy / name).stat().st_size for name in names}
    tried, found = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    missed = []
    draw = random.Random(seed)
    for _ in range(trials):
        name = draw.choice(names)
        flip = Flip(path=name, offset=draw.randrange(sizes[name]), bit=draw.randrange(8))
        tried[name] += 1
        _toggle(copy, flip)
        try:
            noticed = bool(check_file(copy, name, opened.manifest, opened.digest))
        except PipelineError:
            noticed = True
        finally:
            _toggle(copy, flip)
        found[name] += noticed
        if not noticed:
            missed.append(flip)
    by_file = (OfFile(path=n, bytes=sizes[n], trials=tried[n], found=found[n]) for n in names)
    return Flips(trials=trials, found=sum(found.values()), seed=seed, by_file=tuple(by_file), missed=tuple(missed))


def _toggle(copy: Path, flip: Flip) -> None:
    with (copy / flip.path).open("r+b") as file:
        file.seek(flip.offset)
        (byte,) = file.read(1)
        file.seek(flip.offset)
        file.write(bytes([byte ^ 1 << flip.bit]))


def lines(flips: Flips) -> list[str]:
    """The counts as text: in all, by file, and each flip that was missed."""
    said = [f"{flips.found:,} of {flips.trials:,} flipped bits found (seed {flips.seed})"]
    said += [f"  {one.path}: {one.found:,} of {one.trials:,} in {one.bytes:,} bytes" for one in flips.by_file]
    return said + [f"missed: {one.path}, byte {one.offset}, bit {one.bit}" for one in flips.missed]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipeline.bench_integrity", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    try:
        flips = flip_trials(given.bundle, given.trials, given.seed)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print("\n".join(lines(flips)))
    return 1 if flips.missed else 0


if __name__ == "__main__":
    sys.exit(main())
