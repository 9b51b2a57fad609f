"""DICOM results without the patient: the Basic Application Level Confidentiality Profile.

DICOM PS3.15, table E.1-1, options Clean Structured Content and Clean Descriptors. What is not in
`dicom_profile.toml` is removed, at any depth. UIDs and the patient's ID are replaced under a key
that stays beside the ledger, so that results of one study, also of later runs, belong together.
"""

from __future__ import annotations

import hmac
import re
import secrets
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock
from pydicom import Dataset, dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from medseg.errors import WriteError
from medseg.writing import atomic
from medseg_pipelines.batch.ledger.layout import Places

KEY_FILE = "deidentify.key"

PIXEL_WARNING = (
    "Warning: de-identified are the DICOM headers of results. Pictures (preview.png) show the"
    " scan, with any text burnt into it, and a face can be rebuilt from labels or pictures of a"
    " head; look before you hand them on."
)

_KEY_BYTES = 32
_CLASSES = {"SOPClassUID", "ReferencedSOPClassUID"}  # what an object is, not which
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

_METHOD = ("PS3.15 Basic Application Level Confidentiality Profile", "medseg")
_METHOD_CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
}


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords by what becomes of their elements; what is in none of them is removed."""

    kept: frozenset[str]
    sequences: frozenset[str]
    emptied: frozenset[str]
    dummies: dict[str, str]


PROFILE = msgspec.toml.decode(
    Path(__file__).with_name("dicom_profile.toml").read_bytes(), type=Profile
)


@dataclass(frozen=True)
class Pseudonyms:
    """Names that stand for others: the same for the same, and not to be traced without the key."""

    secret: bytes

    def uid(self, uid: str) -> str:
        """The UID that stands for another; those that DICOM itself gives stay."""
        if not uid or UID(uid, validation_mode=IGNORE).type:
            return uid
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=5).int}"

    def patient(self, name: str) -> str:
        """Name and ID that stand for a patient's."""
        return "P" + self._digest("patient", name).hex()[:15].upper()

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self.secret, f"{kind}\0{text}".encode(), "sha256")


def deidentify_results(folder: Path, *, key_file: Path | None = None) -> None:
    """Take the patient out of every .dcm file in a folder, each whole or not at all.

    The key is that of the batch that the folder is part of when none is given, made when missing.
    """
    names = pseudonyms(key_file or key_place(folder))
    for path in sorted(folder.rglob("*.dcm")):
        with warnings.catch_warnings(), atomic(path, suffix=".dcm") as temporary:
            warnings.simplefilter("ignore")  # the library's warnings quote patient names
            dataset = dcmread(path)
            deidentify(dataset, names)
            dataset.save_as(temporary, enforce_file_format=True)


def deidentify(dataset: Dataset, names: Pseudonyms) -> None:
    """Take the patient out of one DICOM result that medseg wrote; it is changed in place."""
    patient = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or "")
    _clean(dataset, names)
    dataset.PatientID = dataset.PatientName = names.patient(patient)
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = list(_METHOD)
    dataset.DeidentificationMethodCodeSequence = [
        _item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
        for value, meaning in _METHOD_CODES.items()
    ]
    dataset.file_meta = _meta(dataset)
    dataset.preamble = b"\0" * 128


def pseudonyms(key_file: Path) -> Pseudonyms:
    """The pseudonyms under the key in a file, which is made, for its owner alone, when missing."""
    try:
        if not key_file.exists():
            _make_key(key_file)
        secret = key_file.read_bytes()
    except OSError as error:
        raise WriteError(
            f"the key of the de-identification, '{key_file.name}', cannot be read or made:"
            f" {error.strerror or type(error).__name__}; check the output folder's permissions",
            code="KEY",
        ) from error
    if len(secret) < _KEY_BYTES:
        raise WriteError(
            f"'{key_file.name}' holds {len(secret)} bytes and is no key of a de-identification;"
            " remove it to begin with a new one",
            code="KEY",
        )
    return Pseudonyms(secret)


def key_place(folder: Path) -> Path:
    """Where the key of the batch lies that a folder is part of; `WriteError` without a batch."""
    for parent in (folder.absolute(), *folder.absolute().parents):
        own = Places(parent).own
        if parent.name == own.name or own.is_dir():
            return (parent if parent.name == own.name else own) / KEY_FILE
    raise WriteError(
        f"'{folder.name}' is not in the output of a batch, so there is no key to de-identify with;"
        " name a key file",
        code="KEY",
    )


def _make_key(key_file: Path) -> None:
    """Two that do so at once agree on one key."""
    key_file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(key_file.with_suffix(".lock"), mode=0o600):
        if key_file.exists():
            return
        with atomic(key_file, suffix=".key") as scratch:
            scratch.touch(mode=0o600)
            scratch.write_bytes(secrets.token_bytes(_KEY_BYTES))


def _clean(dataset: Dataset, names: Pseudonyms) -> None:
    """Keep, replace, empty or remove each element; values that stay are not even decoded."""
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag)
        if keyword in PROFILE.kept:
            continue
        if keyword in PROFILE.sequences:
            for item in dataset[tag].value or ():
                _clean(item, names)
        elif keyword and dictionary_VR(tag) == "UI":
            _replace_uid(dataset, keyword, names)
        elif keyword in PROFILE.emptied:
            setattr(dataset, keyword, [] if keyword.endswith("Sequence") else "")
        elif keyword in PROFILE.dummies:
            setattr(dataset, keyword, PROFILE.dummies[keyword])
        else:
            del dataset[tag]


def _replace_uid(dataset: Dataset, keyword: str, names: Pseudonyms) -> None:
    """A class of objects stays what it is; everything else gets another name."""
    value = dataset[keyword].value
    uids = [value] if isinstance(value, str) or value is None else list(value)
    new = [
        str(uid) if keyword in _CLASSES and _UID.fullmatch(str(uid)) else names.uid(str(uid or ""))
        for uid in uids
    ]
    setattr(dataset, keyword, new if len(new) > 1 else new[0] if new else "")


def _meta(dataset: Dataset) -> Any:
    """File meta information of the de-identified object, with nothing of the former one's."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return meta


def _item(**fields: str) -> Dataset:
    item = Dataset()
    for keyword, value in fields.items():
        setattr(item, keyword, value)
    return item
