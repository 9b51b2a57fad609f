"""Unlabelled scans, the least certain first; kept, so that the search can go on later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from medseg.errors import Cancelled, InputError, MedsegError
from medseg.runtime.progress import Progress
from medseg.training.active_learning import Uncertainty, mean_uncertainty
from medseg_napari.training.model_list import config_folder

if TYPE_CHECKING:
    from medseg.discovery import ScanSource
    from medseg.inference import Predictor
    from medseg.model_package import ModelPackage


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of the scans of a folder under one model; holds no name and no path.

    Parameters
    ----------
    schema_version : int
    doubts : dict of str to Uncertainty
        By digest of a scan's place, size and time.
    """

    schema_version: int = 1
    doubts: dict[str, Uncertainty] = {}


@dataclass(frozen=True)
class Ranked:
    """A scan and how sure the model is of it.

    Parameters
    ----------
    source : ScanSource
    doubt : Uncertainty or None
        None when it could not be looked at, or was not yet.
    words : str
    """

    source: ScanSource
    doubt: Uncertainty | None
    words: str = ""


def rank(
    folder: Path, package: ModelPackage, progress: Progress, *, device: str = "auto"
) -> list[Ranked]:
    """Look at every scan of a folder that was not looked at before.

    Parameters
    ----------
    folder : Path
        Of scans; nothing is written into it.
    package : ModelPackage
    progress : Progress
        Called for each tile; raising `medseg.errors.Cancelled` stops, and what was found stays.
    device : str, default "auto"

    Returns
    -------
    list of Ranked
        Least sure first, and those that could not be looked at last.

    Raises
    ------
    InputError
        When there are no scans.
    """
    sources = scans_in(folder, progress)
    file = kept_file(folder, package)
    kept = read_kept(file)
    missing = [source for source in sources if key_of(source) not in kept.doubts]
    failures: dict[str, str] = {}
    if missing:
        progress(0, len(missing), "loading the model")
        predictor = _predictor(package, device)
    for done, source in enumerate(missing):
        step = _step(progress, done, len(missing))
        try:
            doubt = _look_at(predictor, source, step)
        except Cancelled:
            raise
        except MedsegError as error:
            failures[key_of(source)] = str(error)
        else:
            kept = Kept(doubts={**kept.doubts, key_of(source): doubt})
            _write(file, kept)
    return ordered(sources, kept, failures)


def scans_in(folder: Path, progress: Progress) -> list[ScanSource]:
    """The scans of a folder; `InputError` when there are none."""
    from medseg.discovery import find_scans

    progress(0, 1, "looking for scans")
    sources = list(find_scans(folder))
    if not sources:
        raise InputError(f"no scans in '{folder}'; choose a folder of NIfTI files or DICOM series")
    return sources


def ordered(sources: Sequence[ScanSource], kept: Kept, failures: Mapping[str, str]) -> list[Ranked]:
    """Sources with what is known of them, least sure first.

    Parameters
    ----------
    sources : sequence of ScanSource
    kept : Kept
        Doubts, by :func:`key_of` the scan.
    failures : mapping of str to str
        Why others could not be looked at, by the same key.
    """
    rows = []
    for source in sources:
        key = key_of(source)
        rows.append(Ranked(source, kept.doubts.get(key), failures.get(key, "")))
    return sorted(rows, key=lambda row: -row.doubt.mean_percent if row.doubt else 1.0)


def key_of(source: ScanSource) -> str:
    """A digest that changes when the scan is moved or written anew."""
    about = source.path.stat()
    words = f"{source.path.resolve()}|{source.series_uid}|{about.st_size}|{about.st_mtime_ns}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def kept_file(folder: Path, package: ModelPackage) -> Path:
    """Where the doubts of a folder under a model are kept: among the person's settings."""
    words = f"{folder.resolve()}|{package.manifest.weights.sha256}"
    return config_folder() / "ranking" / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"


def read_kept(file: Path) -> Kept:
    """What is known so far; nothing when there is no file that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def _predictor(package: ModelPackage, device: str) -> Predictor:
    from medseg.inference import Predictor

    return Predictor.load(package, device=device)


def _look_at(predictor: Predictor, source: ScanSource, progress: Progress) -> Uncertainty:
    from medseg.reading import read_scan

    scan = read_scan(source.path, series=source.series_uid or None, progress=progress)
    return mean_uncertainty(predictor, scan, progress=progress)


def _step(progress: Progress, done: int, total: int) -> Progress:
    """Progress within one scan told as progress over all of them."""

    def step(_done: int, _total: int, _message: str, /) -> None:
        progress(done, total, "scans")

    return step


def _write(file: Path, kept: Kept) -> None:
    from medseg.writing import atomic

    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file, suffix=".json") as temporary:
        temporary.write_bytes(msgspec.json.encode(kept))
