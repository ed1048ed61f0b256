"""Was this manifest made here?

A bundle's executable forms are opened only where its manifest carries a seal that this user's own key made:
HMAC-SHA256 over the manifest's digest. The key never leaves the user's state folder, so a bundle from elsewhere has
no valid seal, whatever it carries. Signing (`export.bundle.signing`) neither needs nor makes a seal: a signature that
holds is a second ground for trust, for the one command that was given the public key. An archive carries no seal, so
that what was unpacked is not trusted even where it was made; `unpack` makes none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from export.bundle.files import write_atomic

SEAL = "made-here"


def _key() -> bytes:
    folder = Path(os.environ["PIPELINE_STATE"]) if "PIPELINE_STATE" in os.environ else _user_folder()
    path = folder / "seal.key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = folder / f".seal.{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_bytes()


def _user_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("pipeline"))


def _seal_of(digest: str) -> str:
    return hmac.new(_key(), digest.encode(), hashlib.sha256).hexdigest()


def seal(root: Path, digest: str) -> None:
    """Marks the bundle at `root`, whose manifest has this digest, as made here."""
    write_atomic(root / SEAL, _seal_of(digest).encode())


def sealed_here(root: Path, digest: str) -> bool:
    path = root / SEAL
    return path.is_file() and hmac.compare_digest(path.read_text(errors="replace").strip(), _seal_of(digest))
