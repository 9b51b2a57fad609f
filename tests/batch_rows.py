"""Rows of a ledger, made up: what tables, reports and screens are shown from."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from medseg_pipelines.batch.ledger.ledger import Row
from medseg_pipelines.batch.messages import ScanRecord

BEGAN = 1_700_000_000.0


def found(number: int, **more: Any) -> ScanRecord:
    """A scan of the archive."""
    name = hashlib.sha256(str(number).encode()).hexdigest()
    return ScanRecord(
        **{
            "key": name,
            "lineage": name[::-1],
            "path": f"/archive/secret-{number}",
            "series": "1.2.3",
            "folder": f"patient-{name[:16]}/study-{name[16:32]}/series-{name[32:48]}",
            "signature": name,
            "files": 40,
            "bytes": 12345678,
            "facts": {"Modality": "CT", "slices": 40},
            **more,
        }
    )


def row(number: int, state: str = "done", **more: Any) -> Row:
    """A case; of a finished one there are volumes and times."""
    scan = more.pop("found", None) or found(number)
    good = {
        "volumes_ml": {"liver": 1500.0 + 10 * number, "left kidney": 160.0 + number},
        "seconds": {"read": 1.0, "segment": 2.5 + number / 10, "write": 0.25},
        "attempts": 0,
    }
    ended = {} if state in {"waiting", "leased"} else {"ended_at": BEGAN + 4 * number + 4}
    fields = {
        "case": scan.key[:32],
        "key": scan.key,
        "model": "m" * 64,
        "settings": "s" * 64,
        "lineage": scan.lineage,
        "folder": scan.folder,
        "signature": scan.signature,
        "content": "",
        "scan_json": msgspec.json.encode(scan).decode(),
        "state": state,
        "code": "",
        "message": "",
        "selected": True,
        "min_slices": 4,
        "attempts": 0,
        "alone": False,
        "owner": "",
        "token": "",
        "volumes_ml": {},
        "warnings": (),
        "seconds": {},
        "queued_at": BEGAN,
        "started_at": BEGAN + 4 * number,
        "ended_at": 0.0,
        "superseded_by": "",
    }
    return Row(**fields | (good if state == "done" else {}) | ended | more)
