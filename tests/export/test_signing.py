"""A signature holds for exactly what was signed, by exactly that key; everything else is one clear line."""

from __future__ import annotations

import json
import random
import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.bundle.errors import BackendUnavailable, BundleCorrupt, BundleError, SignatureFailed, UsageError
from export.bundle.store import Bundle
from tests.export.small_bundle import make

pytest.importorskip("model_signing", reason="model-signing is not installed: pip install '.[sign]'")
pytest.importorskip("OpenSSL", reason="pyopenssl is not installed: pip install '.[sign]'")

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from export.bundle.signing import SIGNATURE, check_signature, fingerprint, sign

FILES = {"model.onnx": "graph", "engines/sm80/model.engine": "code", ".gitignore": "*", "model.torchscript": "script"}


@pytest.fixture(autouse=True)
def _own_state_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))


def write_key(folder: Path, name: str, key, passphrase: bytes | None = None) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    lock = pem.BestAvailableEncryption(passphrase) if passphrase else pem.NoEncryption()
    private.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock))
    public.write_bytes(
        key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo),
    )
    return private, public


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path]:
    return write_key(tmp_path, "own", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def root(tmp_path) -> Path:
    make(tmp_path / "b", FILES)
    return tmp_path / "b"


@pytest.fixture
def signed(root, keys) -> Path:
    sign(root, keys[0])
    return root


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_a_signature_holds_for_its_key(root, tmp_path, curve):
    import hashlib

    private, public = write_key(tmp_path, "k", ec.generate_private_key(curve()))
    before = sorted(p for p in (root / "payload").rglob("*"))
    own = sign(root, private)
    assert own == hashlib.sha256(public.read_bytes()).hexdigest() == check_signature(root, public)
    assert sorted(p for p in (root / "payload").rglob("*")) == before
    assert str(tmp_path) not in (root / SIGNATURE).read_text()


def test_added_records_break_nothing(signed, keys):
    Bundle.open(signed).append("verification", {"n": 1})
    (signed / "report.html").write_text("x")
    check_signature(signed, keys[1])


def test_signing_again_replaces_the_signature(signed, keys, tmp_path):
    private, public = write_key(tmp_path, "second", ec.generate_private_key(ec.SECP256R1()))
    sign(signed, private)
    check_signature(signed, public)
    with pytest.raises(SignatureFailed, match="by another key"):
        check_signature(signed, keys[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "model.onnx").write_text("grapX"), r"payload/model\.onnx: was changed"),
        (lambda p: (p / "extra").write_text("x"), "payload/extra: was added"),
        (lambda p: (p / ".gitattributes").write_text("x"), r"payload/\.gitattributes: was added"),
        (lambda p: (p / ".gitignore").write_text("x"), r"payload/\.gitignore: was changed"),
        (lambda p: (p / "model.torchscript").unlink(), r"payload/model\.torchscript: is missing"),
        (lambda p: (p / "manifest.json").write_text("{}"), r"payload/manifest\.json: was changed"),
        (lambda p: (p / "manifest.json").unlink(), r"payload/manifest\.json: is missing"),
        (lambda p: (p / "link").symlink_to(p / "model.onnx"), "payload/link: is a link"),
    ],
)
def test_each_difference_is_named(signed, keys, change, said):
    change(signed / "payload")
    with pytest.raises(SignatureFailed, match=f"is not what was signed: {said}"):
        check_signature(signed, keys[1])


def test_two_files_exchanged_are_named(signed, keys):
    one, other = signed / "payload/model.onnx", signed / "payload/engines/sm80/model.engine"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(SignatureFailed, match=r"model\.onnx: was swapped with engines/sm80/model\.engine"):
        check_signature(signed, keys[1])


def test_a_payload_made_anew_needs_a_new_signature(signed, keys):
    make(signed, FILES | {"model.onnx": "graph 2"})
    with pytest.raises(SignatureFailed, match=r"manifest\.json: was changed.*model\.onnx: was changed"):
        check_signature(signed, keys[1])


def test_another_keys_signature_names_both(signed, keys, tmp_path):
    other = ec.generate_private_key(ec.SECP256R1())
    _, public = write_key(tmp_path, "other", other)
    with pytest.raises(SignatureFailed, match="was signed by another key") as caught:
        check_signature(signed, public)
    assert fingerprint(other.public_key()) in str(caught.value)
    assert check_signature(signed, keys[1]) in str(caught.value)


def test_a_signature_that_only_claims_the_key_does_not_hold(signed, keys, tmp_path):
    mine = json.loads((signed / SIGNATURE).read_text())["verificationMaterial"]
    private, _ = write_key(tmp_path, "forger", ec.generate_private_key(ec.SECP256R1()))
    sign(signed, private)
    forged = json.loads((signed / SIGNATURE).read_text())
    (signed / SIGNATURE).write_text(json.dumps(forged | {"verificationMaterial": mine}))
    with pytest.raises(SignatureFailed, match="does not hold"):
        check_signature(signed, keys[1])


def test_without_a_signature(root, keys, tmp_path):
    with pytest.raises(SignatureFailed, match=r"payload\.sig: no such file: the bundle is not signed"):
        check_signature(root, keys[1])
    with pytest.raises(BundleError, match="no bundle there"):
        check_signature(tmp_path / "nothing", keys[1])
    with pytest.raises(BundleError, match="no bundle there"):
        sign(tmp_path / "nothing", keys[0])


@pytest.mark.parametrize("text", ["", "x", "{}", "[]", "null", "[" * 100_000, '{"verificationMaterial": 3}', "\ud800"])
def test_what_is_no_signature(signed, keys, text):
    (signed / SIGNATURE).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SignatureFailed, match="is damaged, or no signature"):
        check_signature(signed, keys[1])


def test_a_signature_with_flipped_bits_never_ends_in_a_traceback(signed, keys):
    """Such a signature fails, or says the same: of base64's last digit some bits stand for nothing."""
    path = signed / SIGNATURE
    data, draw = path.read_bytes(), random.Random(0)
    for _ in range(60):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            check_signature(signed, keys[1])
        except SignatureFailed:
            continue


def test_a_damaged_bundle_is_not_signed(root, keys):
    (root / "payload/model.onnx").write_text("x")
    with pytest.raises(BundleCorrupt, match=r"is not signed, for it is not whole: payload/model\.onnx: was changed"):
        sign(root, keys[0])
    assert not (root / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("make_key", "said"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "is a key for RSA; signatures here take an elliptic-curve key"),
        (ed25519.Ed25519PrivateKey.generate, "is a key for Ed25519"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "is on the curve secp256k1; known are secp256r1"),
    ],
)
def test_keys_of_another_kind_are_named(signed, tmp_path, make_key, said):
    private, public = write_key(tmp_path, "k", make_key())
    with pytest.raises(UsageError, match=said):
        sign(signed, private)
    with pytest.raises(UsageError, match=said):
        check_signature(signed, public)


def test_files_that_are_no_key_are_named(signed, keys, tmp_path):
    (tmp_path / "text").write_text("no key")
    locked, _ = write_key(tmp_path, "locked", ec.generate_private_key(ec.SECP256R1()), b"secret")
    for path, said in (
        (tmp_path / "text", "is no private key in PEM; `openssl ecparam"),
        (keys[1], "is a public key; --key wants the private one"),
        (locked, "is protected by a passphrase"),
        (tmp_path / "none", "the key cannot be read"),
        (tmp_path, "the key cannot be read"),
    ):
        with pytest.raises(UsageError, match=said):
            sign(signed, path)
    for path, said in ((tmp_path / "text", "is no public key in PEM"), (keys[0], "is a private key; `openssl ec")):
        with pytest.raises(UsageError, match=said):
            check_signature(signed, path)


def test_without_the_library_the_remedy_is_named(signed, keys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(BackendUnavailable, match=r"pip install '\.\[sign\]'"):
        check_signature(signed, keys[1])


def pipeline(*words):
    from pipeline.cli import main

    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_commands(root, keys):
    done = pipeline("sign", root, "--key", keys[0])
    assert (done.exit_code, done.stderr) == (0, "")
    own = check_signature(root, keys[1])
    assert done.stdout == f"{root}/payload.sig: signed by the key {own}\n"
    assert json.loads(pipeline("sign", root, "--key", keys[0], "--json").stdout)["fingerprint"] == own
    done = pipeline("verify", root, "--integrity", "--public-key", keys[1])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == f"signed by the key {own}"


def test_the_signature_comes_before_everything_else(signed, keys):
    (signed / "payload/model.onnx").write_text("x")
    for more in ([], ["--integrity"], ["--self-test"]):
        done = pipeline("verify", signed, "--public-key", keys[1], *more)
        assert (done.exit_code, done.stdout) == (1, "")
        assert (
            done.stderr
            == f"error: {signed}: is not what was signed: payload/model.onnx: was changed: its sha256 is another\n"
        )
    done = pipeline("verify", signed / "payload/model.onnx", "--public-key", keys[1], "--reference", "m.pt2")
    assert (done.exit_code, "a bare file has no signature" in done.stderr) == (2, True)


def test_a_signature_stands_for_trust_and_leaves_no_seal(signed, keys, tmp_path, monkeypatch):
    """A stranger's bundle: its TorchScript is opened (and found to be none) only where the signature holds."""
    theirs = Path(shutil.copytree(signed, tmp_path / "theirs"))
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "another user"))
    assert not Bundle.open(theirs).made_here
    asked = []
    monkeypatch.setattr("pipeline.run.verify_path", lambda path, _, __, options, ___: asked.append(options.trust))
    monkeypatch.setattr("pipeline.verdict_table.print_verifications", lambda *_, **__: None)
    pipeline("verify", theirs)
    pipeline("verify", theirs, "--public-key", keys[1])
    assert asked == [False, True]
    assert not Bundle.open(theirs).made_here
