"""What the parts of a batch hand one another: strict data that crosses processes as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from medseg.planning import Component

State = Literal["waiting", "leased", "done", "refused", "failed"]
Fact = str | int | float | list[str | float] | None


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a case has no result.

    Parameters
    ----------
    code : str
        Short upper-case word, such as ``"MISSING_SLICE"`` or ``"WORKER_DIED"``.
    message : str
        One sentence without patient text.
    """

    code: str
    message: str


class ScanRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scan of the archive, as the search knows it: from headers alone.

    Parameters
    ----------
    key : str
        Which scan it is: hex digest over the lineage and the sorted SOPInstanceUIDs of a DICOM
        stack, or over the path from the archive's root of another file. The same instances in
        other folders have the same key; a late slice makes another one.
    lineage : str
        The same for all states of one scan, so that a scan that grew supersedes its former self:
        a digest over its series and what tells it from the other stacks there, or over the path.
    path : str
        Absolute; a file or a folder.
    series : str
        Selects one of several stacks; may be empty.
    names : tuple of str
        The files of its series, from `path`, where other files lie below `path` too; empty when
        all there is belongs to it.
        Read by :func:`medseg_pipelines.batch.archive.search.read_found`.
    folder : str
        Where results go, from the output's root, with ``/``: patient, study and series by safe
        names (digests, never a description).
    signature : str
        Digest over path, size and time of change of all of its files: equal means untouched.
    files, bytes : int
        How many files, and their sizes together.
    facts : dict
        Header fields that rules may ask about, by DICOM keyword, and counts such as ``slices``;
        no patient text.
    answers : dict of str to bool
        Whether it fulfils the conditions of rules that ask for fields with free text, which are
        read, matched and not kept.
    notes : tuple of str
        What a person should know of how it lies in the archive; without patient text.
    fault : Fault or None
        Why it cannot be read, as far as headers tell. Slices that are uneven or missing
        (``IRREGULAR``, ``MISSING_SLICE``) may still be repaired if the settings say so.
    """

    key: str
    lineage: str
    path: str
    series: str = ""
    names: tuple[str, ...] = ()
    folder: str
    signature: str
    files: int = 1
    bytes: int = 0
    facts: dict[str, Fact] = {}
    answers: dict[str, bool] = {}
    notes: tuple[str, ...] = ()
    fault: Fault | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes two runs of one model on one scan the same; its digest is part of a case's name.

    Parameters
    ----------
    formats : tuple of str
        ``"nifti"``, ``"nrrd"``, ``"dicom-seg"``, ``"rtstruct"``, ``"sr"``, ``"preview"``.
    encoding : str or None
    irregular, missing : str
        What may be repaired; see :class:`medseg.reading.Policies`.
    postprocessing : tuple of Component or None
        Steps after the network, in place of the model's own.
    tta : bool
        Whether the network takes the mean over mirror images.
    deidentify : bool
        Whether DICOM results are de-identified.
    """

    formats: tuple[str, ...] = ("nifti",)
    encoding: str | None = None
    irregular: str = "refuse"
    missing: str = "refuse"
    postprocessing: tuple[Component, ...] | None = None
    tta: bool = False
    deidentify: bool = False


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One leased case, as a worker gets it.

    Parameters
    ----------
    case : str
        The row of the ledger.
    token : str
        Of this lease; a result with another token than the row's is thrown away.
    found : ScanRecord
    staging : str
        Folder to be made, and filled with all results, ``case.json`` last.
    model : str
        Folder of the model package.
    model_digest : str
        Of its manifest, which holds the digest of the weights; a worker refuses another.
    settings : Settings
    device : str
    attempt : int
        From 1.
    alone : bool
        Whether a worker has no other case in hand meanwhile: it may be the one that ended a worker.
    min_slices : int
        Scans with fewer slices than this are refused.
    known_content : str
        Digest of the bytes that the result in place was made of, when only times of change differ;
        a worker that finds the same bytes has nothing to do.
    """

    case: str
    token: str
    found: ScanRecord
    staging: str
    model: str
    model_digest: str
    settings: Settings
    device: str = "auto"
    attempt: int = 1
    alone: bool = False
    min_slices: int = 1
    known_content: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a task.

    Parameters
    ----------
    case, token : str
    state : {"done", "refused", "failed"}
        A refusal will not change by trying again.
    fault : Fault or None
        Why there is no result.
    content : str
        Digest of the bytes that were read.
    unchanged : bool
        Whether the bytes were those of `known_content`, so that nothing was computed.
    volumes_ml : dict of str to float
    warnings : tuple of str
        What a person should know of this result.
    seconds : dict of str to float
        By stage: ``read``, ``segment``, ``write``.
    """

    case: str
    token: str
    state: Literal["done", "refused", "failed"]
    fault: Fault | None = None
    content: str = ""
    unchanged: bool = False
    volumes_ml: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
