"""`pipeline sign`: a signature over payload/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.flags import COMMON


@click.command(short_help="sign payload/ with a key of your own")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PEM",
    help="Private elliptic-curve key (P-256, P-384 or P-521), without a passphrase.",
)
@COMMON
def sign(bundle: Path, key: Path, quiet: bool, as_json: bool, **_: Any) -> None:
    """Sign payload/ of BUNDLE with a private key; the signature is the file payload.sig beside it.

    Nothing goes over the network. Records may be added afterwards; a payload that is made anew is signed anew. Who has
    the public key checks it with `verify --public-key`. The fingerprint that is printed is `sha256sum public.pem`.

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out private.pem
    openssl ec -in private.pem -pubout -out public.pem
    pipeline sign artifacts/cnn --key private.pem
    pipeline verify artifacts/cnn --public-key public.pem
    """
    from export.bundle.signing import SIGNATURE, sign
    from pipeline.table import print_json

    fingerprint = sign(bundle, key)
    if as_json:
        print_json({"signature": str(bundle / SIGNATURE), "fingerprint": fingerprint})
    else:
        click.echo(f"{bundle / SIGNATURE}: signed by the key {fingerprint}")
