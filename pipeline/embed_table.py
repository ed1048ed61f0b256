"""The table of `pipeline embed check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serve_bench.embed._check import Check, Checked

COLUMNS = (
    ("runtime", "left"),
    ("version", "left"),
    ("samples", "right"),
    ("largest error of its tolerance", "left"),
    ("labels right", "right"),
    ("first answer", "right"),
    ("verdict", "left"),
)
VERDICTS = {True: "passed", False: "failed", None: "not run"}


def print_check(found: Check, *, as_json: bool) -> None:
    from pipeline.table import print_json, table

    if as_json:
        print_json(found)
        return
    table(f"app.onnx of {found.model}", COLUMNS, [_row(row) for row in found.rows])
    for row in found.rows:
        if row.reason:
            print(f"{row.runtime}: {VERDICTS[row.passed]}: {row.reason}")


def _row(row: Checked) -> tuple[str, ...]:
    from serve_bench.reports._format import error

    return (
        row.runtime,
        row.version,
        str(row.samples or ""),
        "; ".join(f"{d.output} {error(d.error)} of {error(d.tolerance)}" for d in row.distances),
        "" if row.labels_right is None else str(row.labels_right),
        "" if row.first_answer_s is None else f"{row.first_answer_s:.2f} s",
        VERDICTS[row.passed],
    )
