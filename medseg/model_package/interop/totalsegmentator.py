"""TotalSegmentator's weights: folders of nnU-Net that a table makes into models of its tasks."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from medseg.errors import MedsegError, PackageError
from medseg.model_package.interop.kept import models_folder, stored_folder
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg.model_package.interop.structure_codes import coded
from medseg.model_package.interop.totalsegmentator_table import (
    LICENCES,
    LICENSED,
    NO_KEY,
    Task,
    has_key,
    table,
)
from medseg.model_package.manifest import Card, Crop, Manifest
from medseg.model_package.package import NONE, ModelPackage, save_foreign, save_package
from medseg.planning import Interpolation, Plan, Resampling
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelTable

PREFIX = "totalsegmentator-"
_AXES = "SAR"
"""Of arrays: TotalSegmentator turns scans to RAS, and nnU-Net reads their axes in reverse."""
_ORDER_OF = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


@dataclass(frozen=True)
class Outcome:
    """What became of a task whose weights are there, all or some.

    Parameters
    ----------
    task : str
    licence : str
    package : ModelPackage or None
    reason : str
        Why there is none.
    """

    task: str
    licence: str
    package: ModelPackage | None = None
    reason: str = ""


def recognises(path: Path) -> bool:
    """Whether a folder is TotalSegmentator's own (``~/.totalsegmentator``)."""
    return (path / "nnunet" / "results").is_dir()


def import_tasks(root: Path, task: str = "", *, progress: Progress = silent) -> list[Outcome]:
    """Make models of all tasks whose weights lie in TotalSegmentator's folder.

    Parameters
    ----------
    root : Path
    task : str, optional
        Only this one, such as ``"total"`` or ``"total-fast"``.
    progress : Progress, optional
        May raise `Cancelled`.

    Returns
    -------
    list of Outcome
        One for each task of which a dataset is there.

    Raises
    ------
    PackageError
        When the task is unknown, or no weights are there.
    """
    if task and task not in table().tasks:
        raise PackageError(
            f"TotalSegmentator has no task '{task}'; it has {', '.join(table().tasks)}",
            code="NO_CONFIGURATION",
        )
    datasets = _datasets(root)
    tasks = {
        name: row
        for name, row in table().tasks.items()
        if (name == task if task else {*row.ids} & {*datasets})
    }
    if not tasks:
        raise PackageError(
            f"'{root}' holds no weights of TotalSegmentator (nnunet/results/DatasetNNN_...)",
            code="NO_MODEL",
        )
    return [_outcome(name, row, root, datasets, progress) for name, row in tasks.items()]


def _datasets(root: Path) -> dict[int, Path]:
    """Folders by number."""
    folders = (root / "nnunet" / "results").glob("Dataset*_*")
    return {int(path.name[7:10]): path for path in folders if re.match(r"Dataset\d{3}_", path.name)}


def _outcome(
    name: str, row: Task, root: Path, datasets: dict[int, Path], progress: Progress
) -> Outcome:
    licence = LICENCES[row.licence]
    folder = stored_folder(PREFIX + name)
    if folder.exists():
        return Outcome(name, licence, ModelPackage.open(folder), "was there already")
    if row.licence == LICENSED and not has_key(root):
        return Outcome(name, licence, reason=NO_KEY)
    store = models_folder()
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".medseg-", dir=store) as scratch:
        try:
            made = _Maker(datasets, Path(scratch), progress).make(name, Path(scratch) / "whole")
        except MedsegError as error:
            if error.code == "CANCELLED":
                raise
            return Outcome(name, licence, reason=str(error))
        made.folder.rename(folder)
    return Outcome(name, licence, ModelPackage.open(folder))


@dataclass(frozen=True)
class _Maker:
    """Packages of tasks from folders of datasets."""

    datasets: dict[int, Path]
    scratch: Path
    progress: Progress

    def make(self, name: str, folder: Path) -> ModelPackage:
        """The package of a task, with its parts and the model that it looks around inside."""
        row = table().tasks[name]
        missing = [number for number in row.ids if number not in self.datasets]
        if missing:
            numbers = ", ".join(map(str, missing))
            raise PackageError(
                f"the weights of dataset {numbers}, which '{name}' needs, are not there; get them"
                f" with totalseg_download_weights -t {row.labels}",
                code="NO_FILE",
            )
        inner, crop = dict(self._cropping(name, row)), None
        if inner:
            crop = Crop(model="crop", labels=row.crop, margin_mm=row.margin_mm)
        common: dict[str, Any] = {
            "name": PREFIX + name,
            "card": Card(
                summary=f"TotalSegmentator's task '{name}'.",
                licence=LICENCES[row.licence],
                attribution="Wasserthal et al., Radiology: Artificial Intelligence 5 (2023)",
                modality="MR" if "_mr" in name or name == "brain_aneurysm" else "CT",
            ),
            "crop": crop,
        }
        parts = [self._part(number, row) for number in row.ids]
        if len(parts) == 1:
            manifest = structs.replace(parts[0].manifest, **common)
            return save_foreign(replace(parts[0], manifest=manifest), folder, inner=inner)
        inner |= {f"dataset_{n}": part.folder for n, part in zip(row.ids, parts, strict=True)}
        manifest = Manifest(
            **common,
            plan=parts[0].manifest.plan,
            labels=_labels(table().labels[row.labels]),
            provenance=parts[0].manifest.provenance | {"dataset": ", ".join(map(str, row.ids))},
            weights=NONE,
            parts=tuple(f"dataset_{number}" for number in row.ids),
        )
        return save_package(folder, manifest, None, inner=inner)

    def _cropping(self, name: str, row: Task) -> Iterator[tuple[str, Path]]:
        if not row.crop:
            return
        try:
            yield "crop", self.make(row.crop_by, self.scratch / f"crop_of_{name}").folder
        except PackageError as error:
            raise PackageError(
                f"'{name}' looks around {', '.join(row.crop)}, and {error}", code=error.code
            ) from error

    def _part(self, number: int, row: Task) -> ModelPackage:
        """The model of one dataset, with the names of the table, prepared as the task says."""
        from medseg.model_package.interop.nnunet.importing import import_nnunet

        options = ImportOptions(configuration=row.configuration, axes=_AXES)
        raw = import_nnunet(
            self.datasets[number], self.scratch / f"raw_{number}", options, progress=self.progress
        )
        names = table().parts.get(str(number)) or table().labels[row.labels]
        if len(names) != len(raw.manifest.labels):
            raise PackageError(
                f"dataset {number} has {len(raw.manifest.labels)} labels and TotalSegmentator's"
                f" table names {len(names)}: weights of another version, whose labels are not known"
                " here",
                code="LABELS",
            )
        plan = raw.manifest.plan
        if row.spacing_mm is not None:
            plan = _resampled_first(plan, row.spacing_mm)
        manifest = structs.replace(raw.manifest, labels=_labels(names), plan=plan, scores={})
        return save_foreign(replace(raw, manifest=manifest), self.scratch / f"part_{number}")


def _labels(names: list[str]) -> LabelTable:
    return coded(LabelTable.of(dict(enumerate(names, start=1))))


def _resampled_first(plan: Plan, spacing_mm: tuple[float, float, float]) -> Plan:
    """The plan of a task that resamples scans linearly, and labels back to the nearest, itself."""
    image = Interpolation(order=1, separate_across=False)
    labels = Interpolation(order=0, separate_across=False)
    x, y, z = (spacing_mm[_ORDER_OF[letter]] for letter in plan.orientation)
    return structs.replace(
        plan,
        spacing_mm=(x, y, z),
        normalise_first=False,
        resampling=Resampling(image=image, logits=labels, labels=labels),
    )
