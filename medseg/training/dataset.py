"""Datasets on disk: cases, what their labels mean, folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg.discovery.cases import Case
from medseg.discovery.dicom_cases import is_dicom_label, series_of
from medseg.discovery.json_file import read_json
from medseg.discovery.layouts import CaseSet, find_dataset
from medseg.discovery.mask_files import Masks
from medseg.errors import InputError, LabelError, SelectionError
from medseg.planning.channel_rules import modality_word
from medseg.planning.regions import Region, part_of_value, value_table
from medseg.reading.channels import check_same_grid, read_channels
from medseg.reading.dicom import rtstruct
from medseg.training.case_folder import Status, names_from, numbered_as
from medseg.training.dataset_source import DatasetSource, source_of
from medseg.training.label_file import Meaning, meaning_of, read_meaning
from medseg.training.patients import cases_of_patients
from medseg.training.splits import Fold, find_folds, folds_by_number, read_folds
from medseg.training.stored_names import table_in_files
from medseg.training.truth import read_truth
from medseg.volume import LabelMap, LabelTable, Scan

__all__ = ["Case", "Dataset", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """Cases, what their labels mean, and how they fall into folds.

    Parameters
    ----------
    name : str
    cases : tuple of Case
        Sorted by name.
    annotated : LabelTable
        What the label maps hold: structures, and perhaps a label named "ignore". With regions,
        the part of each that is in no smaller one.
    modality : str
        DICOM modality word of all scans, or ``""`` to take each file's own.
    folds : tuple of Fold
        Never empty.
    regions : tuple of Region
        Structures that hold one another, outer ones first; empty when labels exclude each other.
    stored : LabelTable or None
        What the files hold, where that is numbered otherwise than `annotated`.
    source : DatasetSource or None
        What it was opened from, so that a run can be taken up again.
    channels : tuple of str
        What each channel of the scans shows; empty when the folder does not say.
    renames : bool
        Whether a person's table may call values otherwise than the files do.
    patients : tuple of frozenset of str
        Names of the cases of each patient who has several.
    """

    name: str
    cases: tuple[Case, ...]
    annotated: LabelTable
    modality: str
    folds: tuple[Fold, ...]
    regions: tuple[Region, ...] = ()
    stored: LabelTable | None = None
    source: DatasetSource | None = None
    channels: tuple[str, ...] = ()
    renames: bool = False
    patients: tuple[frozenset[str], ...] = ()

    @property
    def labels(self) -> LabelTable:
        """The structures to be learnt."""
        return self.annotated.structures

    def fold(self, number: int | None) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """Cases to train on and cases held out; everything and nothing for None.

        Raises
        ------
        InputError
            When there is no such fold.
        """
        if number is None:
            return self.cases, ()
        if not 0 <= number < len(self.folds):
            raise InputError(
                f"fold {number} does not exist; there are folds 0..{len(self.folds) - 1}"
            )
        fold = self.folds[number]
        train = tuple(case for case in self.cases if case.name in fold.train)
        held_out = tuple(case for case in self.cases if case.name in fold.validation)
        if not train:
            raise InputError(
                f"fold {number} leaves no case to train on; add cases, choose other folds"
                " (--splits), or train on all and measure none (--fold all)"
            )
        return train, held_out

    def read(self, case: Case) -> tuple[Scan, LabelMap]:
        """Scan (channels stacked) and truth of a case, on one grid.

        Raises
        ------
        GeometryError
            When images or truth lie on different grids.
        """
        scan = read_images(case)
        truth = self.read_truth(case.label, scan)
        modality = self.modality or scan.modality
        return replace(scan, modality=modality, channel_names=self.channels), truth

    def numbered(self, table: LabelTable) -> Dataset:
        """The same cases with the structures in the order, and with the values, of `table`.

        Raises
        ------
        LabelError
            When the names differ, or structures hold one another in another order.
        """
        if self.labels.names == table.names and self.labels.values == table.values:
            return self
        names = ", ".join(self.labels.names)
        if set(self.labels.names) != set(table.names):
            raise LabelError(
                f"the dataset '{self.name}' has the labels {names} and the model"
                f" {', '.join(table.names)}; the names must be the same",
                code="OTHER_LABELS",
            )
        if self.regions or self.annotated.ignored is not None:
            raise LabelError(
                f"the labels {names} of the dataset '{self.name}' have other values than the"
                f" model's, {table.values}, and regions or 'ignore' cannot be renumbered; give them"
                " the model's values",
                code="OTHER_LABELS",
            )
        return replace(self, annotated=table, stored=self.annotated)

    def read_truth(self, label: Path | Masks, scan: Scan) -> LabelMap:
        """The label map of a scan, on its grid; values of regions become the innermost one's.

        Raises
        ------
        GeometryError
            When it lies on another grid.
        """
        labels = self._labels(label, scan)
        name = Path(label.first_file).name if isinstance(label, Masks) else label.name
        check_same_grid(scan, labels.grid, f"label map '{name}'")
        return replace(labels, grid=scan.grid)

    def _labels(self, label: Path | Masks, scan: Scan) -> LabelMap:
        table = self.stored or self.annotated
        if self.regions:
            table = value_table(self.regions, self.annotated)
        renames = self.renames or bool(self.regions)
        labels = read_truth(label, table, scan=scan, renames=renames)
        if self.stored is not None:
            return numbered_as(labels, self.annotated)
        if not self.regions:
            return labels
        parts = part_of_value(self.regions)
        lookup = np.arange(int(labels.values.max(initial=0)) + 1, dtype=labels.values.dtype)
        for value in set(parts) & set(range(len(lookup))):
            lookup[value] = parts[value]
        return replace(labels, values=lookup[labels.values], table=self.annotated)


def open_dataset(
    path: str | Path,
    *,
    splits: str | Path | None = None,
    labels: LabelTable | Mapping[int, str] | Path | None = None,
    modality: str | None = None,
    status: Status = "reviewed",
) -> Dataset:
    """Find the cases of a dataset folder; no voxel is read beyond what names the labels.

    Parameters
    ----------
    path : str or Path
        A folder in one of the layouts of :mod:`medseg.discovery.layouts`, or a CSV or JSON list of
        cases. Where neither ``dataset.json`` nor ``labels.json`` nor the layout says what the
        labels mean, names stored in the label maps do.
    splits : str or Path, optional
        Folds; by default ``splits.json`` or ``splits_final.json`` in the folder, else five folds
        of shuffled patients.
    labels : LabelTable or mapping of int to str or Path, optional
        What the label values mean, or a JSON file that tells it, in place of what the folder says.
    modality : str, optional
        DICOM modality word of all scans (``"CT"``, ``"MR"``), in place of what the folder says.
    status : {"raw", "draft", "reviewed"}, default "reviewed"
        In a folder with a ``cases.json``: cases that were checked less than this are left out.

    Raises
    ------
    InputError
        When the folder is no dataset, or images and labels do not pair up.
    LabelError
        When label maps that name their labels themselves contradict one another.
    """
    root = Path(path)
    case_set = find_dataset(root)
    cases = _checked(root, case_set.cases, status)
    names = [case.name for case in cases]
    about, channels = case_set.about, case_set.channels
    meaning = _given(labels) if labels else _meaning(case_set, cases)
    patients = cases_of_patients(case_set.folder, cases)
    if splits:
        folds = read_folds(Path(splits), names)
    else:
        stated = {case.name: case.fold for case in cases if case.fold is not None}
        made = find_folds(case_set.folder, names, patients)
        folds = folds_by_number(names, stated) if stated else made
    return Dataset(
        name=str(about.get("name") or root.resolve().name),
        cases=cases,
        annotated=meaning.table,
        modality=modality_word(channels[0]) if channels and modality is None else modality or "",
        folds=folds,
        regions=meaning.regions,
        source=source_of(root, splits=splits, labels=labels, modality=modality, status=status),
        channels=channels,
        renames=labels is not None,
        patients=patients,
    )


def read_images(case: Case) -> Scan:
    """The scan of a case; of several series in its folder, the one that was labelled.

    Raises
    ------
    SelectionError
        When nothing says which series was labelled.
    GeometryError
        When channels lie on different grids.
    """
    try:
        return read_channels(case.images, series=case.series or None)
    except SelectionError:
        folder = case.images[0]
        if isinstance(case.label, Masks) or not is_dicom_label(case.label) or not folder.is_dir():
            raise SelectionError(
                f"'{folder}' holds several series, and nothing in the label map of the case"
                f" '{case.name}' says which one was labelled; leave only that one in the folder"
            ) from None
        return read_channels(case.images, series=series_of(case.label, folder))


def _checked(root: Path, cases: tuple[Case, ...], status: Status) -> tuple[Case, ...]:
    """The cases that were checked far enough; all in a folder that keeps no list."""
    names = names_from(root, status)
    if names is None:
        return cases
    checked = tuple(case for case in cases if case.name in names)
    if not checked:
        raise InputError(
            f"'{root}' holds {len(cases)} case(s) but none that is {status}; mark cases as {status}"
            " first, or take those of a lower status (--cases draft)",
            code="NONE_REVIEWED",
        )
    return checked


def _given(labels: LabelTable | Mapping[int, str] | Path) -> Meaning:
    """What a person gave."""
    if isinstance(labels, Path):
        return read_meaning(labels)
    return Meaning(labels if isinstance(labels, LabelTable) else LabelTable.of(dict(labels)))


def _meaning(case_set: CaseSet, cases: tuple[Case, ...]) -> Meaning:
    """Labels from labels.json, dataset.json or the layout, else from every label map."""
    folder, about = case_set.folder, case_set.about
    if plain := read_json(folder / "labels.json"):
        return meaning_of(plain, where=folder / "labels.json")
    if isinstance(about.get("labels"), dict):
        return meaning_of(about, where=folder / "dataset.json")
    if case_set.names:
        return Meaning(LabelTable.of(dict(case_set.names)))
    masks = [case.label.names for case in cases if isinstance(case.label, Masks)]
    if masks:
        return Meaning(LabelTable.of(dict(enumerate(masks[0], start=1))))
    return Meaning(table_in_files((case.label_files[0], _as_stored(case)) for case in cases))


def _as_stored(case: Case) -> LabelMap:
    """The label map by the names in its file; contours need the scan they are drawn on."""
    like = read_images(case) if rtstruct.recognises(case.label_files[0]) else None
    return read_truth(case.label, None, scan=like)
