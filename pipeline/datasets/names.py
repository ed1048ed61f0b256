"""Surnames of 18 languages, one file a language, as the PyTorch tutorial on characters hands them out.

Names become ASCII (their marks are dropped), each stands once in a language, and a name that is held out is held out
of every language, so that no name is in two sets. Sets are drawn anew for each draw: the language uniformly, then one
of its names.
"""

from __future__ import annotations

import io
import string
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle.errors import DataError
from export.bundle.files import write_atomic
from export.bundle.types import DatasetFacts
from export.progress import Progress
from pipeline.datasets._base import Data, Split, digest_of_splits, not_whole
from pipeline.datasets._download import Unreachable, download

MIRRORS = ("https://download.pytorch.org/tutorial/data.zip",)
LETTERS = string.ascii_letters + " .,;'"
LONGEST = 64
"""Letters of a name at most."""
HELD_OUT = 100
"""Names of the test set, and as many again for every choice."""
COUNTS = {
    "Arabic": 108,
    "Chinese": 246,
    "Czech": 502,
    "Dutch": 286,
    "English": 3668,
    "French": 273,
    "German": 690,
    "Greek": 193,
    "Irish": 226,
    "Italian": 701,
    "Japanese": 990,
    "Korean": 94,
    "Polish": 138,
    "Portuguese": 74,
    "Russian": 9340,
    "Scottish": 100,
    "Spanish": 293,
    "Vietnamese": 71,
}
"""Names of each language in the tutorial's files, each once; a file with fewer was cut off, one with more is kept."""
LANGUAGES = tuple(COUNTS)


def ascii_from_unicode(text: str) -> str:
    """Letters without their marks ("Ślusàrski" → "Slusarski"); what is none of `LETTERS` then is dropped."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if c in LETTERS)


def letters_from_names(names: list[str], width: int) -> dict[str, npt.NDArray[Any]]:
    """ "letters" (N, width), each name's numbers in `LETTERS`, then zeros; "lengths" (N,)."""
    letters = np.zeros((len(names), width), np.uint8)
    for row, name in enumerate(names):
        letters[row, : len(name)] = [LETTERS.index(c) for c in name]
    return {"letters": letters, "lengths": np.array([len(n) for n in names], np.int64)}


def names_in(data: bytes, where: str, count: int) -> list[str]:
    """The names of one file, sorted, each once; raises DataError where it is damaged or holds fewer than `count`."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is damaged (byte {error.start} is no UTF-8)") from error
    found = {name for line in lines if (name := ascii_from_unicode(line.strip()))}
    odd = next((line for line in lines if not line.isprintable() or len(line) > LONGEST), None)
    if odd is not None:
        raise DataError(f"{where}: is damaged ({odd[:20]!r}… is no name)")
    if len(found) < count:
        raise DataError(f"{where}: is damaged or cut off (it holds {len(found):,} of {count:,} names)")
    return sorted(found)


class Names:
    name = "names"
    licence = "not stated by its source"

    def __init__(self, draw: int = 0, mirrors: tuple[str, ...] = MIRRORS, counts: Mapping[str, int] = COUNTS) -> None:
        self._draw, self._mirrors, self._counts = draw, mirrors, counts

    def drawn(self, seed: int) -> Names:
        """The same names with other sets held out."""
        return Names(seed, self._mirrors, self._counts)

    def folder(self, root: Path) -> Path:
        return root / "names"

    def fingerprint(self, root: Path) -> str | None:
        try:
            return self._data(self._languages(root)).facts.digest
        except (DataError, OSError):
            return None

    def _languages(self, root: Path) -> dict[str, list[str]]:
        paths = {language: self.folder(root) / f"{language}.txt" for language in LANGUAGES}
        return {n: names_in(path.read_bytes(), str(path), self._counts[n]) for n, path in paths.items()}

    def fetch(self, root: Path, progress: Progress) -> str | None:
        folder = self.folder(root)
        if not [language for language in LANGUAGES if not (folder / f"{language}.txt").is_file()]:
            return None
        archive = folder / "data.zip"
        try:
            download(self._mirrors, archive, wrong=self._wrong, progress=progress)
        except Unreachable as unreachable:
            return str(unreachable)
        for language, data in _files(archive.read_bytes()).items():
            if not (folder / f"{language}.txt").is_file():
                write_atomic(folder / f"{language}.txt", data)
        archive.unlink()
        return None

    def load(self, root: Path, progress: Progress) -> Data:
        reason = self.fetch(root, progress)
        if reason is not None:
            raise not_whole(self.name, root, reason)
        try:
            return self._data(self._languages(root))
        except DataError as error:
            raise DataError(f"{error}; delete it, and it is fetched again") from error

    def _wrong(self, archive: bytes) -> str:
        """Why this is no archive of the names; empty where it is one. A zip holds a check sum of each file."""
        try:
            for language, data in _files(archive).items():
                names_in(data, f"{language}.txt", self._counts[language])
        except KeyError as error:
            return f"an archive without {error.args[0]}"
        except (zipfile.BadZipFile, zlib.error, DataError) as error:
            return f"no whole archive of names ({error})"
        return ""

    def _data(self, languages: Mapping[str, list[str]]) -> Data:
        # RandomState's streams are frozen by NumPy's own promise; those of its newer generators may change.
        random = np.random.RandomState(self._draw)
        taken: set[str] = set()
        test, validation = (_held_out(languages, taken, random) for _ in range(2))
        rest = [(name, i) for i, names in enumerate(languages.values()) for name in names if name not in taken]
        width = max(len(name) for names in languages.values() for name in names)
        train, held, tested = (_split(pairs, width) for pairs in (rest, validation, test))
        facts = DatasetFacts(
            name=self.name,
            digest=digest_of_splits(train, held, tested),
            train=len(train),
            validation=len(held),
            test=len(tested),
        )
        return Data(train=train, validation=held, test=tested, facts=facts)


def _held_out(
    languages: Mapping[str, list[str]], taken: set[str], random: np.random.RandomState
) -> list[tuple[str, int]]:
    """Names that are not in `taken`, each with its language's number; they are added to it."""
    every, pairs = list(languages.values()), list[tuple[str, int]]()
    while len(pairs) < HELD_OUT:
        language = random.randint(len(every))
        name = every[language][random.randint(len(every[language]))]
        if name not in taken:
            taken.add(name)
            pairs.append((name, language))
    return pairs


def _split(pairs: list[tuple[str, int]], width: int) -> Split:
    stored = letters_from_names([name for name, _ in pairs], width)
    return Split(stored=stored, targets=np.array([language for _, language in pairs], np.int64))


def _files(archive: bytes) -> dict[str, bytes]:
    """Language → bytes of its file, wherever in the archive it lies; raises KeyError where one is missing."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        paths = {name.rpartition("/")[2]: name for name in opened.namelist() if "names/" in name}
        return {language: opened.read(paths[f"{language}.txt"]) for language in LANGUAGES}


ENTRIES = (Names(),)
