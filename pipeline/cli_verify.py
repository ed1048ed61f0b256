"""`pipeline verify`: signature, integrity, and whether every exported form is the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.flag_types import Number
from pipeline.flags import COMMON, DEVICE, JUDGING, PUBLIC_KEY, stack


@click.command(short_help="is every exported form the same model?")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path), help="A .pt2 to judge a bare file by.")
@click.option("--inputs", type=click.Path(path_type=Path), help="Samples for a bare file: an .npz.")
@click.option(
    "--self-test", is_flag=True, help="Put deliberate faults into copies of every form, and count what is caught."
)
@click.option(
    "--minutes",
    type=Number(0.01),
    default=9.0,
    show_default=True,
    help="Of a self-test: then it ends, and the next one goes on.",
)
@click.option(
    "--integrity",
    is_flag=True,
    help="Run nothing: is every byte of payload/ and records/ as it was written? Needs neither torch nor a runtime.",
)
@PUBLIC_KEY
@DEVICE
@stack(JUDGING, COMMON)
def verify(
    bundle: Path,
    reference: Path | None,
    inputs: Path | None,
    self_test: bool,
    minutes: float,
    integrity: bool,
    public_key: Path | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Does every exported form in BUNDLE compute what the model computes? Exit status 1 where one does not.

    With --public-key the signature is checked first, offline; where it holds, executable forms are trusted.
    With --integrity nothing is run: files are compared with the manifest, records with their checksums.

    \b
    pipeline verify artifacts/cnn
    pipeline verify artifacts/cnn --backend onnxruntime-cpu --fresh
    pipeline verify artifacts/cnn --public-key public.pem
    pipeline verify artifacts/cnn --integrity
    pipeline verify model.onnx --reference model.pt2 --inputs x.npz
    pipeline verify artifacts/cnn --self-test
    """
    from export.bundle.errors import UsageError

    if integrity and (self_test or reference or inputs):
        raise UsageError("--integrity runs nothing: leave out --self-test, --reference and --inputs")
    if public_key and (reference or inputs):
        raise UsageError("--public-key: a bare file has no signature; name the bundle")
    signer = signer_of(bundle, public_key)
    if integrity:
        return _integrity(bundle, signer, as_json=as_json)

    from pipeline.cli import _options, _progress
    from pipeline.run import self_test_bundle, verify_path
    from pipeline.verdict_table import print_self_test, print_verifications

    options, progress = _options(**given | {"trust": given["trust"] or bool(signer)}), _progress(quiet)
    if signer:
        progress.done("signature", f"holds, by the key {signer}")
    if self_test:
        return print_self_test(self_test_bundle(bundle, minutes, options, progress), as_json=as_json)
    judged = verify_path(bundle, reference, inputs, options, progress)
    print_verifications(judged, bundle.resolve().name, as_json=as_json)
    return judged.raise_for_failures()


def signer_of(bundle: Path, public_key: Path | None) -> str:
    """Fingerprint of the key that signed `bundle`, checked; empty where no key was given to check by."""
    if public_key is None:
        return ""
    from export.bundle.signing import check_signature

    return check_signature(bundle, public_key)


def _integrity(bundle: Path, signer: str, *, as_json: bool) -> None:
    from export.bundle.errors import BundleCorrupt
    from export.bundle.integrity import check_integrity
    from pipeline.verdict_table import print_integrity

    found = check_integrity(bundle)
    print_integrity(found, signer, as_json=as_json)
    if found.findings:
        count = len(found.findings)
        raise BundleCorrupt(f"{bundle}: is not as it was written: {count} finding{'s' if count > 1 else ''}")
