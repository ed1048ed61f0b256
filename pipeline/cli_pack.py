"""`pipeline pack` and `pipeline unpack`: a bundle as one file, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.flags import COMMON, OUT, PUBLIC_KEY


class Size(click.ParamType):  # type: ignore[type-arg]
    """ "8GB", "500 MB", "12345" as bytes (powers of ten)."""

    name = "size"
    units: Mapping[str, int] = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Z]*)", str(value).strip().upper())
        unit = self.units.get(found[2]) if found else None
        if found is None or unit is None or float(found[1]) * unit < 1:
            self.fail(f"{value} is no size such as 8GB, 500MB or 12345", param, ctx)
        return int(float(found[1]) * unit)


@click.command(short_help="one file of a bundle, to hand on")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Default: the bundle's name and .zip, here.")
@click.option("--without-records", is_flag=True, help="payload/ and its signature alone: no records, no reports.")
@COMMON
def pack(bundle: Path, output: Path | None, without_records: bool, as_json: bool, **_: Any) -> None:
    """Write BUNDLE into one archive; the same bundle gives the same bytes.

    It holds payload/, its signature, records and reports; nothing that says who made it. It is not compressed: weights
    hardly shrink, and so its bytes depend on no library. Any tool that reads .zip opens it.

    \b
    pipeline pack artifacts/cnn
    pipeline pack artifacts/cnn --without-records -o cnn-1.0.zip
    """
    from export.bundle.archive import SUFFIX, pack
    from pipeline.table import print_json
    from serve_bench.reports._format import size

    packed = pack(bundle, output or Path(f"{bundle.resolve().name}{SUFFIX}"), with_records=not without_records)
    if as_json:
        return print_json(packed)
    signed = "signed" if packed.signed else "not signed"
    click.echo(f"{packed.archive}: {packed.members:,} files, {size(packed.bytes)}, {signed}, sha256 {packed.sha256}")
    return None


@click.command(short_help="a bundle from such a file")
@click.argument("archive", type=click.Path(path_type=Path))
@OUT
@click.option(
    "--max-size",
    type=Size(),
    default="8GB",
    show_default=True,
    metavar="SIZE",
    help="Bytes that it may unpack to, counted while it is unpacked.",
)
@PUBLIC_KEY
@COMMON
def unpack(archive: Path, out: Path, max_size: int, public_key: Path | None, as_json: bool, **_: Any) -> None:
    """Unpack ARCHIVE into a folder of its name, check every byte of it, or leave nothing.

    Names that lead out of the folder, links, devices and whatever belongs to no bundle are refused before anything is
    written. The bundle counts as made elsewhere: its executable forms need `verify --public-key` or --trust.

    \b
    pipeline unpack cnn.zip
    pipeline unpack cnn.zip --out incoming --public-key public.pem --max-size 500MB
    """
    from export.bundle.unpack import unpack
    from pipeline.table import print_json

    target, found = unpack(archive, out, max_size=max_size, public_key=public_key)
    if as_json:
        print_json({"bundle": str(target), "digest": found.digest, "files": found.files, "records": found.records})
    else:
        click.echo(f"{target}: {found.files:,} files of payload/ and {found.records:,} records, as they were written")
