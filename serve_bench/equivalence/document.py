"""verification.json: what `pipeline verify` found, as one document for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.bundle.json_schema import schema_of
from export.bundle.types import Verification, to_json
from serve_bench.cells import Missing

SCHEMA = 1
"""Raised when a property is renamed, dropped or means something else; new ones may come without."""
FILE = "verification.json"
SCHEMA_FILE = Path(__file__).with_name("verification.schema.json")


def document(verifications: Sequence[Verification], missing: Sequence[Missing], subject: str) -> dict[str, Any]:
    """The verdicts on `subject`, a bundle or a bare file, and what could not run here."""
    return {
        "schema": SCHEMA,
        "subject": subject,
        "passed": bool(verifications) and all(v.passed for v in verifications),
        "verifications": to_json(list(verifications)),
        "missing": [_absent(m) for m in missing],
    }


def _absent(missing: Missing) -> dict[str, str]:
    artifact = missing.artifact.name if missing.artifact else ""
    return {"backend": missing.backend, "artifact": artifact, "device": missing.device, "reason": missing.reason}


def schema() -> dict[str, Any]:
    """JSON Schema of the document; it stands in verification.schema.json."""
    texts = {name: {"type": "string"} for name in ("backend", "artifact", "device", "reason")}
    return schema_of(
        "verification.json",
        {
            "schema": {"const": SCHEMA, "description": "Version of this schema."},
            "subject": {"type": "string", "description": "The bundle's folder name, or the name of a bare file."},
            "passed": {
                "type": "boolean",
                "description": "Whether every form that was verified is the same model; false where none was.",
            },
            "verifications": tuple[Verification, ...],
            "missing": {
                "type": "array",
                "description": "Backends that could not run here, and why.",
                "items": {"type": "object", "properties": texts, "required": list(texts)},
            },
        },
    )


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
