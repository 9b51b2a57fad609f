"""A row of the ledger, decoded."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from medseg_pipelines.batch.messages import ScanRecord, State


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case.

    Parameters
    ----------
    case : str
        Its name: 32 hexadecimal digits.
    key, lineage, folder, signature : str
        Of the scan; see :class:`medseg_pipelines.batch.messages.ScanRecord`.
    model, settings : str
        Digests of what it is segmented with.
    content : str
        Digest of the bytes that were read.
    found_json : str
        The scan, as :attr:`found` decodes it.
    state : {"waiting", "leased", "done", "refused", "failed"}
    code, message : str
        Why it was refused or failed, or failed the last time and will be tried again.
    chosen : bool
        False when a rule or the search refused it, before anything was read.
    min_slices : int
        Fewest slices that were asked for.
    attempts : int
    alone : bool
        Whether it is tried by itself, because a worker that had it in hand died.
    owner, token : str
        Who has or had it last.
    volumes_ml : dict of str to float
    warnings : tuple of str
        What a person should know of the result.
    seconds : dict of str to float
    queued_at, started_at, ended_at : float
        Seconds since 1970, for people; nothing is decided by them. 0 when it has not happened.
    superseded_by : str
        The case whose result took the place of this one's.
    """

    case: str
    key: str
    model: str
    settings: str
    lineage: str
    folder: str
    signature: str
    content: str
    found_json: str
    state: State
    code: str
    message: str
    chosen: bool
    min_slices: int
    attempts: int
    alone: bool
    owner: str
    token: str
    volumes_ml: dict[str, float]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    queued_at: float
    started_at: float
    ended_at: float
    superseded_by: str

    @property
    def found(self) -> ScanRecord:
        """The scan."""
        return msgspec.json.decode(self.found_json, type=ScanRecord)


def row_of(record: sqlite3.Row) -> Row:
    """A row as the ledger stores it, decoded."""
    values: Mapping[str, Any] = dict(record)
    decode = msgspec.json.decode
    kept = {name: values[name] for name in Row.__struct_fields__ if name in values}
    return Row(
        **kept
        | {
            "found_json": values["found"],
            "chosen": bool(values["chosen"]),
            "alone": bool(values["alone"]),
            "volumes_ml": decode(values["volumes"], type=dict[str, float]),
            "warnings": decode(values["warnings"], type=tuple[str, ...]),
            "seconds": decode(values["seconds"], type=dict[str, float]),
        }
    )
