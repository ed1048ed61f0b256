"""A signature over payload/, by OpenSSF model-signing with a local elliptic-curve key; nothing goes over the network.

The signature is a file beside payload/, a Sigstore bundle that lists the sha256 of every file in it; records may be
added and nothing breaks. A signature that holds is a ground to open a bundle's executable forms, like the seal of
`export.bundle.trust`, for the check that was given the public key: it leaves no mark, and makes no seal.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.bundle.errors import BackendUnavailable, BundleCorrupt, SignatureFailed, UsageError
from export.bundle.files import atomic
from export.bundle.integrity import PAYLOAD, Finding, check_integrity, compare, digests
from export.bundle.store import Bundle

SIGNATURE = "payload.sig"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""What model-signing signs with: the NIST curves P-256, P-384 and P-521."""
KEY_BYTES = 1 << 20
"""Of a key's file no more is read."""
HOW = "`openssl ecparam -name prime256v1 -genkey -noout -out private.pem` makes one"


def sign(root: Path, private_key: Path) -> str:
    """Signs payload/ of the bundle at `root` into `payload.sig` and returns the key's fingerprint.

    An earlier signature is replaced. Raises BundleError or BundleCorrupt where the payload is not whole, UsageError
    where the key cannot sign, BackendUnavailable without model-signing.
    """
    with _library() as (signing, _, hashing):
        own = fingerprint(_private(private_key).public_key())
        payload = root / PAYLOAD
        _refuse(root, _against_manifest(root))
        with atomic(root / SIGNATURE) as temporary:
            config = signing.Config().set_hashing_config(_every_file(hashing))
            config.use_elliptic_key_signer(private_key=private_key).sign(payload, temporary)
    return own


def check_signature(root: Path, public_key: Path) -> str:
    """The fingerprint of the key, where its signature of payload/ at `root` holds for every file there.

    Raises SignatureFailed without a signature, by another key, or of other files, which are named as changed, added,
    missing or swapped; UsageError where `public_key` is none; BackendUnavailable without model-signing.
    """
    if not (root / PAYLOAD).is_dir():
        Bundle.open(root)  # says that there is none
    with _library() as (_, verifying, hashing):
        own = fingerprint(_public(public_key))
        path = root / SIGNATURE
        signed, signer = read_signature(path)
        if signer != own:
            raise SignatureFailed(f"{path}: was signed by another key ({signer}), not by {public_key} ({own})")
        config = verifying.Config().set_hashing_config(_every_file(hashing))
        try:
            config.use_elliptic_key_verifier(public_key=public_key).verify(root / PAYLOAD, path)
        except Exception as error:  # the library's own kinds, and those of what it is built on
            found, unread = digests(root / PAYLOAD)
            _not_signed(root, unread + compare(signed, found))
            raise SignatureFailed(f"{path}: the signature does not hold: it was changed after signing") from error
    found, unread = digests(root / PAYLOAD)
    _not_signed(root, unread + compare(signed, found))
    return own


def stale(root: Path) -> list[Finding]:
    """How payload/ differs from what `payload.sig` lists, whoever signed it; raises SignatureFailed without one."""
    signed, _ = read_signature(root / SIGNATURE)
    found, unread = digests(root / PAYLOAD)
    return unread + compare(signed, found)


def read_signature(path: Path) -> tuple[dict[str, str], str]:
    """What a signature says, unchecked: name in payload/ → sha256 of every file, and the fingerprint of its key.

    Raises SignatureFailed where there is none or it is damaged.
    """
    if not path.is_file():
        raise SignatureFailed(f"{path}: no such file: the bundle is not signed; `pipeline sign` signs it")
    try:
        value = json.loads(path.read_bytes())
        hint = value["verificationMaterial"]["publicKey"]["hint"]
        said = json.loads(base64.b64decode(value["dsseEnvelope"]["payload"], validate=True))["predicate"]
        listed = {one["name"]: one["digest"] for one in said["resources"]}
        plain = said["serialization"]["method"] == "files" and not said["serialization"].get("ignore_paths")
        if not plain or {one["algorithm"] for one in said["resources"]} != {"sha256"}:
            raise SignatureFailed(f"{path}: does not list the sha256 of every file; sign again with `pipeline sign`")
        return {_text(name): _text(sha) for name, sha in listed.items()}, _text(hint)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SignatureFailed(f"{path}: is damaged, or no signature of model-signing") from error


def fingerprint(key: Any) -> str:
    """sha256, in hex, of a public key in PEM: what `sha256sum public.pem` prints of the file that openssl writes."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, not {value!r}")
    return value


def _against_manifest(root: Path) -> list[Finding]:
    return [finding for finding in check_integrity(root).findings if finding.path.startswith(f"{PAYLOAD}/")]


def _refuse(root: Path, findings: list[Finding]) -> None:
    if findings:
        raise BundleCorrupt(f"{root}: is not signed, for it is not whole: {'; '.join(map(str, findings))}")


def _not_signed(root: Path, findings: list[Finding]) -> None:
    if findings:
        said = "; ".join(map(str, findings))
        raise SignatureFailed(f"{root}: is not what was signed: {said}")


@contextlib.contextmanager
def _library() -> Iterator[tuple[Any, Any, Any]]:
    """model-signing's modules signing, verifying and hashing; what it prints does not reach stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            from model_signing import hashing, signing, verifying
        except ImportError as error:
            raise BackendUnavailable(
                f"signatures need {(error.name or 'model-signing').partition('.')[0]}, which is not installed: "
                "pip install '.[sign]' in the clone"
            ) from error
        yield signing, verifying, hashing


def _every_file(hashing: Any) -> Any:
    """sha256 of each file, of those that belong to git too, which the library leaves out by default."""
    return hashing.Config().use_file_serialization().set_ignored_paths(paths=(), ignore_git_paths=False)


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(KEY_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read ({error.strerror})") from error


def _private(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _pem(path)
    try:
        key = load_pem_private_key(data, None)
    except TypeError as error:
        raise UsageError(
            f"{path}: is protected by a passphrase, and none is asked for here; "
            f"`openssl ec -in {path.name} -out plain.pem` takes it off"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "is a public key; --key wants the private one" if b"PUBLIC KEY" in data else "is no private key in PEM"
        raise UsageError(f"{path}: {what}; {HOW}") from error
    return _on_a_curve(path, key, EllipticCurvePrivateKey)


def _public(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _pem(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "is no public key in PEM"
        if b"PRIVATE KEY" in data:
            what = "is a private key; `openssl ec -in private.pem -pubout -out public.pem` gives its public one"
        raise UsageError(f"{path}: {what}") from error
    return _on_a_curve(path, key, EllipticCurvePublicKey)


def _on_a_curve(path: Path, key: Any, kind: type) -> Any:
    if not isinstance(key, kind):
        word = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey").lstrip("_")
        raise UsageError(f"{path}: is a key for {word}; signatures here take an elliptic-curve key: {HOW}")
    curve = key.curve.name  # type: ignore[attr-defined]
    if curve not in CURVES:
        raise UsageError(f"{path}: is on the curve {curve}; known are {', '.join(CURVES)}: {HOW}")
    return key
