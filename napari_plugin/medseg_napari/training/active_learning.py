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
from medseg_napari.config_files import read_config, write_config

if TYPE_CHECKING:
    from medseg.discovery import ScanSource
    from medseg.inference import Predictor
    from medseg.model_package import ModelPackage


class Ranking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Uncertainties of a folder's scans under one model, by :func:`scan_key`."""

    schema_version: int = 1
    uncertainties: dict[str, Uncertainty] = {}


@dataclass(frozen=True)
class Ranked:
    """A scan and how uncertain the model is of it, or why it could not be looked at."""

    source: ScanSource
    uncertainty: Uncertainty | None
    error: str = ""


def rank(
    folder: Path, package: ModelPackage, progress: Progress, *, device: str = "auto"
) -> list[Ranked]:
    """Scans of a folder, the least certain first; those not ranked yet are segmented.

    Parameters
    ----------
    folder : Path
        Of scans; nothing is written into it.
    package : ModelPackage
    progress : Progress
        Called for each tile; raising `medseg.errors.Cancelled` stops, and what was found stays.
    device : str, default "auto"

    Raises
    ------
    InputError
        When there are no scans.
    """
    sources = list_scans(folder, progress)
    file = ranking_file(folder, package)
    ranking = read_config(file, Ranking())
    missing = [source for source in sources if scan_key(source) not in ranking.uncertainties]
    failures: dict[str, str] = {}
    if missing:
        progress(0, len(missing), "loading the model")
        from medseg.inference import Predictor

        predictor = Predictor.load(package, device=device)
    for done, source in enumerate(missing):
        step = _step(progress, done, len(missing))
        try:
            uncertainty = _uncertainty_of(predictor, source, step)
        except Cancelled:
            raise
        except MedsegError as error:
            failures[scan_key(source)] = str(error)
        else:
            ranking = Ranking(
                uncertainties={**ranking.uncertainties, scan_key(source): uncertainty}
            )
            write_config(file, ranking)
    return ordered(sources, ranking, failures)


def list_scans(folder: Path, progress: Progress) -> list[ScanSource]:
    """The scans of a folder; `InputError` when there are none."""
    from medseg.discovery import find_scans

    progress(0, 1, "looking for scans")
    sources = list(find_scans(folder))
    if not sources:
        raise InputError(f"no scans in '{folder}'; choose a folder of NIfTI files or DICOM series")
    return sources


def ordered(
    sources: Sequence[ScanSource], ranking: Ranking, failures: Mapping[str, str]
) -> list[Ranked]:
    """Sources with their uncertainty or failure, both by :func:`scan_key`; least certain first."""
    rows = []
    for source in sources:
        key = scan_key(source)
        rows.append(Ranked(source, ranking.uncertainties.get(key), failures.get(key, "")))
    return sorted(rows, key=lambda row: -row.uncertainty.mean_percent if row.uncertainty else 1.0)


def scan_key(source: ScanSource) -> str:
    """A digest that changes when the scan is moved or written anew."""
    about = source.path.stat()
    identity = f"{source.path.resolve()}|{source.series_uid}|{about.st_size}|{about.st_mtime_ns}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def ranking_file(folder: Path, package: ModelPackage) -> str:
    """Name, among the person's settings, of the ranking of a folder under a model."""
    identity = f"{folder.resolve()}|{package.manifest.weights.sha256}"
    return f"ranking/{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"


def _uncertainty_of(predictor: Predictor, source: ScanSource, progress: Progress) -> Uncertainty:
    from medseg.reading import read_scan

    scan = read_scan(source.path, series=source.series_uid or None, progress=progress)
    return mean_uncertainty(predictor, scan, progress=progress)


def _step(progress: Progress, done: int, total: int) -> Progress:
    """Progress within one scan told as progress over all of them."""

    def step(_done: int, _total: int, _message: str, /) -> None:
        progress(done, total, "scans")

    return step
