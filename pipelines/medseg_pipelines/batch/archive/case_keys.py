"""What cases are called: digests, never a description, a name or a number of a patient.

Places of results are called so with ``--anonymous-names``; else as `result_names` says.

A patient's folder is called after the patient's first study, not after the PatientID: those are
short numbers, and whoever can list all of them could undo any digest of one that needs no secret.
UIDs of studies are too long to be guessed, and the same archive has the same names in any output.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from medseg.discovery.stack_facts import StackHeader

_DIGESTS = re.compile(r"(patient-[0-9a-f]{16}/study-[0-9a-f]{16}/series|files/file)-[0-9a-f]{16}")
_SHORT = 16  # hex digits: 64 bits, so that millions of patients stay apart


def digest(*parts: str | bytes) -> str:
    """A hex digest over parts; the same parts have the same digest everywhere."""
    seen = hashlib.blake2b(digest_size=20, person=b"medseg-batch")
    for part in parts:
        whole = part if isinstance(part, bytes) else part.encode(errors="surrogatepass")
        seen.update(len(whole).to_bytes(8, "little") + whole)
    return seen.hexdigest()


def listing_digest(rows: object) -> str:
    """A hex digest over names, sizes and times of change; fast, for it is made for every folder."""
    return hashlib.blake2b(msgspec.msgpack.encode(rows), digest_size=16).hexdigest()


def lineage_of(header: StackHeader, twin: int) -> str:
    """What a stack is called whatever slices are added to it.

    `twin` says how many stacks of its series before it have the same identity.
    """
    return digest("lineage", *header.identity, str(twin))


def key_of(lineage: str, instance_uids: Iterable[str]) -> str:
    """What a stack with exactly these instances is called."""
    return digest("instances", lineage, *sorted(instance_uids))


def path_key(path: bytes) -> str:
    """What a file that is no DICOM is called, by its path from the archive's root."""
    return digest("path", path)


def scan_folder(patient: str, study: str, lineage: str) -> str:
    """Where results of a stack go."""
    names = (
        f"patient-{digest('patient', patient)[:_SHORT]}",
        f"study-{digest('study', study)[:_SHORT]}",
        f"series-{digest('series', lineage)[:_SHORT]}",
    )
    return "/".join(names)


def file_folder(path: bytes) -> str:
    """Where results of another file go, by its path from the archive's root."""
    return f"files/file-{digest('file', path)[:_SHORT]}"


def is_anonymous(folder: str) -> bool:
    """Whether a folder of results is called by digests alone."""
    return _DIGESTS.fullmatch(folder) is not None
