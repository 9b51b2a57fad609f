"""Which cases are of one patient: by a table, the layout, DICOM's PatientID, or names."""

from __future__ import annotations

import csv
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from medseg.discovery.cases import Case
from medseg.errors import InputError, ReadError
from medseg.reading.dicom.headers import DicomFile, read_header
from medseg.reading.file_names import without_suffix

TABLES = ("patients.csv", "cases.csv", "participants.csv", "participants.tsv")
_PATIENT = ("patient", "patient_id", "subject", "subject_id", "participant_id", "group")
_CASE = ("case", "case_id", "name", "id", "image", "scan", "file")
_PERSON = r"(?:subject|subj|sub|patient|pat|pt|participant)"
_VISIT = (
    r"(?:ses|session|visit|v|tp|t|time|timepoint|frame|fr|f|scan|run|fu|year|y|day|d|month|m)"
    r"[-_]?\d{1,2}|pre|post|baseline|bl|follow[-_]?up|ed|es|left|right"
)
_NAMES = (
    re.compile(r"(sub-[a-z0-9]+)_.+"),
    re.compile(rf"((?:.*[-_])?{_PERSON}[-_]?\d+)[-_].+"),
    re.compile(rf"((?:.*\D)?(?!(?:19|20)\d\d[-_])\d{{2,}})[-_](?:{_VISIT})(?:[-_].*)?"),
    re.compile(r"(brats-[a-z]+-\d{5})-\d{3}"),
)
"""BIDS; a word for a person and a number; a number and a word for a visit, where the number is no
year; BraTS since 2023."""
_DICOM = (".dcm", ".ima", "")
_KEY = secrets.token_bytes(32)
"""Of this process: nobody can look up a PatientID by its digest, here or elsewhere."""


def cases_of_patients(root: Path, cases: Sequence[Case]) -> tuple[frozenset[str], ...]:
    """Names of the cases of each patient who has several.

    Parameters
    ----------
    root : Path
        Of the dataset. A table there (``patients.csv``, ``cases.csv``, ``participants.tsv``)
        with a column ``case`` and a column ``patient`` decides before anything else; then what the
        layout tells; then DICOM's PatientID, which leaves this module as a digest only; then names.
    cases : sequence of Case

    Raises
    ------
    InputError
        When ``patients.csv`` lacks one of the columns.
    """
    table, stated = _from_tables(root), {case.name: _in_dicom(case.images[0]) for case in cases}
    if len(set(stated.values())) == 1:  # one PatientID everywhere is what de-identifying left
        stated = {}
    patients = {}
    for case in cases:
        sources = (table.get(case.name), case.patient, stated.get(case.name))
        patients[case.name] = next(filter(None, sources), None) or _in_name(case.name)
    return _groups(patients)


def names_of_patients(folder: Path, names: Iterable[str]) -> tuple[frozenset[str], ...]:
    """The same for label maps without scans: by a table in or beside `folder`, or by names."""
    table = _from_tables(folder) or _from_tables(folder.parent)
    return _groups({name: table.get(name) or _in_name(name) for name in names})


def patient_of_case(patients: Iterable[frozenset[str]]) -> dict[str, str]:
    """Whose each case is, told by the first of that patient's cases and never by who it is."""
    return {name: min(group) for group in patients for name in group}


def _groups(patients: Mapping[str, str]) -> tuple[frozenset[str], ...]:
    """Names of the cases of each patient who has several."""
    groups: dict[str, set[str]] = {}
    for case, patient in patients.items():
        groups.setdefault(patient, set()).add(case)
    return tuple(sorted((frozenset(g) for g in groups.values() if len(g) > 1), key=min))


def _in_name(name: str) -> str:
    """The part of a name that says who it is; the name where none does."""
    matches = (pattern.fullmatch(name.lower()) for pattern in _NAMES)
    return next((match[1] for match in matches if match), name)


def _in_dicom(path: Path) -> str:
    """A digest of the PatientID of a scan that is DICOM; else ``""``."""
    files = _files(path) if path.is_dir() else iter((path,) * (path.suffix.lower() in _DICOM))
    image = next((image for file in files if (image := _header(file))), None)
    who = (image.text("PatientID"), image.text("IssuerOfPatientID")) if image else ("", "")
    if not who[0]:
        return ""
    return hashlib.blake2b("\n".join(who).encode(), key=_KEY).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _header(path: Path) -> DicomFile | None:
    try:
        return read_header(path, ("PatientID", "IssuerOfPatientID"))
    except (ReadError, OSError):  # what is wrong with the file is told when the scan is read
        return None


def _from_tables(root: Path) -> dict[str, str]:
    """Patients by case, of the first table that tells them."""
    for name in TABLES:
        if (root / name).is_file():
            patients = _from_table(root / name)
            if not patients and name == TABLES[0]:
                raise InputError(
                    f"'{root / name}' does not tell whose scan each case is: it needs the columns"
                    " 'case' and 'patient'",
                    code="PATIENTS",
                )
            if patients:
                return patients
    return {}


def _from_table(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        first = stream.readline()
        stream.seek(0)
        delimiter = max("\t;,", key=first.count)
        rows = list(csv.DictReader(stream, delimiter=delimiter))
    columns = {str(name).strip().lower(): str(name) for name in (rows[0] if rows else ())}
    case = next((columns[name] for name in _CASE if name in columns), None)
    patient = next((columns[name] for name in _PATIENT if name in columns), None)
    if case is None or patient is None:
        return {}
    return {_case_name(row[case]): str(row[patient]).strip() for row in rows if row[patient]}


def _case_name(text: str | None) -> str:
    return re.sub(r"_\d{4}$", "", without_suffix(Path((text or "").strip())))
