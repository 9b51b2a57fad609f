"""DICOM series and the SEG or RT Structure Set that was drawn on them, wherever both lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from medseg.discovery.cases import without_copies
from medseg.discovery.named_channels import NamedCase
from medseg.errors import InputError
from medseg.reading.dicom.headers import as_text, class_uid, find_images
from medseg.reading.dicom.series import list_stacks
from medseg.reading.dicom.sop_classes import label_storages
from medseg.reading.dicom.stacks import Stack, stacks_of
from medseg.runtime.progress import silent


def is_dicom_label(path: Path) -> bool:
    """Whether a file is a DICOM SEG or RT Structure Set."""
    return path.is_file() and class_uid(path) in label_storages()


def dicom_cases(folder: Path, patient: str) -> list[NamedCase]:
    """The series below a folder that a SEG or RT Structure Set below it was drawn on.

    Raises
    ------
    InputError
        When a label object refers to none of several series, or two refer to one.
    """
    images, _ = find_images(folder, silent)
    stacks = [stack for stack in stacks_of(images) if not stack.is_picture]
    pixels = {image.path for image in images}
    others = [
        path
        for path in sorted(folder.rglob("*"))
        if path not in pixels and not any(part.startswith(".") for part in path.parts)
    ]
    labels = without_copies([path for path in others if is_dicom_label(path)])
    drawn: dict[str, Path] = {}
    cases = []
    for label in labels if stacks else ():
        stack = drawn_on(label, stacks)
        if stack.selector in drawn:
            raise InputError(
                f"'{drawn[stack.selector]}' and '{label}' are both drawn on the series"
                f" {stack.selector}; keep one of them",
                code="TWO_FILES",
            )
        drawn[stack.selector] = label
        parents = {str(path.parent) for path in stack.paths}
        series_folder = Path(os.path.commonpath(sorted(parents)))
        is_alone = [series_folder in other.paths[0].parents for other in stacks].count(True) == 1
        name = patient if len(labels) == 1 else f"{patient}_{label.stem}"
        series = "" if is_alone else stack.selector
        cases.append(NamedCase(name, patient, {"": series_folder}, label, series))
    return cases


def series_of(label: Path, folder: Path) -> str:
    """What chooses the series of a folder that a SEG or RT Structure Set was drawn on."""
    stacks = [stack for stack in list_stacks(folder) if not stack.is_picture]
    return drawn_on(label, stacks).selector


def drawn_on(label: Path, stacks: Sequence[Stack]) -> Stack:
    """The stack whose images a label object refers to.

    Raises
    ------
    InputError
        When it refers to none of several.
    """
    if len(stacks) == 1:
        return stacks[0]
    instances, series = _references(label)
    counts = [
        (
            sum(frame.file.instance_uid in instances for frame in stack.frames),
            stack.series_uid in series,
        )
        for stack in stacks
    ]
    best = max(counts)
    if best == (0, False) or counts.count(best) > 1:
        raise InputError(
            f"'{label}' does not say on which of {len(stacks)} series in its folder it was drawn:"
            " no series holds the images it refers to; leave only the one that was labelled there",
            code="NO_IMAGES",
        )
    return stacks[counts.index(best)]


def _references(label: Path) -> tuple[set[str], set[str]]:
    """SOPInstanceUIDs and SeriesInstanceUIDs of the images, by any place where they may stand."""
    from pydicom import dcmread

    instances, series = set(), set()
    dataset = dcmread(label, stop_before_pixels=True, force=True)
    own = as_text(dataset, "SeriesInstanceUID")
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            instances.add(str(element.value))
        elif element.keyword == "SeriesInstanceUID":
            series.add(str(element.value))
    return instances, series - {own}
