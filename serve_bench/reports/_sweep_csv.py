"""Sweeps in the CSV report: a line for each point."""

from __future__ import annotations

from collections.abc import Iterator

from serve_bench.reports._sweeps import SweepTable

CSV_COLUMNS = ("sweep", "threads", "length", "processes", "ended")


def csv_rows(sweep: SweepTable) -> Iterator[dict[str, object]]:
    """Columns of the CSV report, by name."""
    for row in sweep.rows:
        found: dict[str, object] = {
            name: getattr(row, name)
            for name in ("backend", "artifact", "device", "batch", "runs", "precision_asked", "precision_found")
        }
        for name in ("threads", "length", "processes", "ended"):
            found[name] = getattr(row, name)
        for name, values in (("p50", row.p50), ("p90", row.p90)):
            if values:
                found |= zip((f"{name}_ns", f"{name}_low_ns", f"{name}_high_ns"), values, strict=True)
        if row.ratio:
            found |= zip(("ratio", "ratio_low", "ratio_high"), row.ratio, strict=True)
            found["word"] = row.word
        found |= {"sweep": sweep.name, "boundary": "host", "samples_per_second": row.throughput}
        yield found | {"reason": row.error, "run": sweep.run, "environment": sweep.environment}
