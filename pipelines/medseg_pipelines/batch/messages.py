"""What the parts of a batch hand one another: strict data that crosses processes as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from medseg.planning import Component

State = Literal["waiting", "leased", "done", "refused", "failed"]
Fact = str | int | float | list[str | float] | None


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a case has no result."""

    code: str  # a short upper-case word, such as "MISSING_SLICE" or "WORKER_DIED"
    message: str  # one sentence without patient text


class ScanRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scan of the archive, as the search knows it: from headers alone."""

    # Which scan it is: hex digest over the lineage and the sorted SOPInstanceUIDs of a DICOM stack,
    # or over the path from the archive's root of another file. The same instances in other folders
    # have the same key; a late slice makes another one.
    key: str
    # The same for all states of one scan, so that a scan that grew supersedes its former self: a
    # digest over its series and what tells it from the other stacks there, or over the path.
    lineage: str
    path: str  # absolute; a file or a folder
    series: str = ""  # selects one of several stacks
    # The files of its series, from `path`, where other files lie below `path` too; empty when all
    # there is belongs to it.
    names: tuple[str, ...] = ()
    # Of a case of several files: its name, and the files of the model's channels beside `path`, the
    # first of them, in their order.
    case: str = ""
    channels: tuple[str, ...] = ()
    folder: str  # of its results, from the output's root, with "/": digests, never a description
    signature: str  # digest over path, size and time of change of its files: equal means untouched
    files: int = 1
    bytes: int = 0
    facts: dict[str, Fact] = {}  # by DICOM keyword, and such as "slices"; no patient text
    # Whether it fulfils the conditions of rules that ask for fields with free text, which are read,
    # matched and not kept.
    answers: dict[str, bool] = {}
    notes: tuple[str, ...] = ()  # of how it lies in the archive, for a person
    # Why it cannot be read, as far as headers tell. Slices that are uneven or missing (IRREGULAR,
    # MISSING_SLICE) may still be repaired if the settings say so.
    fault: Fault | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What results depend on beside scan and model; its digest is part of a case's name."""

    formats: tuple[str, ...] = ("nifti",)
    encoding: str | None = None
    irregular: str = "refuse"  # as `missing`, see medseg.reading.Policies
    missing: str = "refuse"
    postprocessing: tuple[Component, ...] | None = None  # in place of the model's own
    tta: bool = False
    backend: str = "torch"  # see medseg.inference.backends
    roi_from: str | None = None  # a model, or "coarse"; everything is looked at when None
    roi_margin_mm: float | None = None
    deidentify: bool = False


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One leased case, as a worker gets it."""

    case: str
    token: str  # of this lease; a result with another token than the row's is thrown away
    scan: ScanRecord
    staging: str  # folder to be made, and filled with all results, case.json last
    model: str  # folder of the model package
    model_digest: str  # of its manifest; a worker refuses another
    settings: Settings
    device: str = "auto"
    attempt: int = 1  # from 1
    alone: bool = False  # its worker has nothing else in flight: it may be what ended a worker
    min_slices: int = 1
    # Digest of the bytes that the result in place was made of, when only times of change differ;
    # a worker that finds the same bytes has nothing to do.
    known_content: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """What became of a task."""

    case: str
    token: str
    state: Literal["done", "refused", "failed"]  # a refusal will not change by trying again
    fault: Fault | None = None
    content: str = ""  # digest of the bytes that were read
    unchanged: bool = False  # they were those of `known_content`, and nothing was computed
    volumes_ml: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = {}  # by stage: read, segment, write


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case of the ledger."""

    case: str  # its name: 32 hexadecimal digits
    key: str
    model: str  # digests of the model and of the settings it is segmented with
    settings: str
    lineage: str
    folder: str
    signature: str
    content: str
    scan_json: str
    state: State
    code: str  # why it was refused or failed, or failed the last time and will be tried again
    message: str
    selected: bool  # False when a rule or the search refused it, before anything was read
    min_slices: int  # fewest slices that were asked for
    attempts: int
    alone: bool  # tried by itself, because a worker that had it in flight died
    owner: str  # share of the archive whose run had it last
    token: str
    volumes_ml: dict[str, float]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    queued_at: float  # seconds since 1970, for people; nothing is decided by them
    started_at: float  # 0 when it has not happened
    ended_at: float
    superseded_by: str  # the case whose result took the place of this one's

    @property
    def scan(self) -> ScanRecord:
        """The scan."""
        return msgspec.json.decode(self.scan_json, type=ScanRecord)
