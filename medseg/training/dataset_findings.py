"""What is wrong with cases when they are seen together: labels, folds, copies, patients, kinds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.planning import Plan
from medseg.training.case_facts import CaseFacts
from medseg.training.dataset import Dataset
from medseg.training.findings import Finding, Severity, listed, listed_cases
from medseg.training.outliers import outliers
from medseg.training.stored_names import is_named
from medseg.volume.conventions import RAS, Reorientation
from medseg.volume.resampling import shape_for_spacing

FEW_CASES = 5
"""Below this a fold holds out a single case."""
RARE_CASES = 2
"""Below this a structure cannot both be learnt and be measured."""
MANY_LABELS = 30
"""Without names, and few of them in many cases: rather numbers of objects than structures."""
MOST_VOXELS = 2e9
"""Of a prepared case: as float32, 8 GB."""


@dataclass(frozen=True)
class Sides:
    """Which cases are trained on and which are held out.

    Parameters
    ----------
    fold : int or None
    training, held_out : frozenset of str
        Their names.
    """

    fold: int | None
    training: frozenset[str]
    held_out: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset, fold: int | None) -> Sides:
        """Those of a fold; a single case is on no side."""
        if len(dataset.cases) < RARE_CASES:
            return cls(fold, frozenset(case.name for case in dataset.cases), frozenset())
        training, held_out = dataset.fold(fold)
        return cls(
            fold,
            frozenset(case.name for case in training),
            frozenset(case.name for case in held_out),
        )

    def split(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """Those of some names that are trained on, and those held out."""
        names = sorted(names)
        return (
            [name for name in names if name in self.training],
            [name for name in names if name in self.held_out],
        )


def findings_about(
    dataset: Dataset, cases: Sequence[CaseFacts], sides: Sides, plan: Plan | None
) -> list[Finding]:
    """What is to be said of the cases of a dataset together.

    Parameters
    ----------
    dataset : Dataset
    cases : sequence of CaseFacts
        All of them, in its order.
    sides : Sides
    plan : Plan or None
        What they are to be prepared by, where that is known.
    """
    read = [facts for facts in cases if facts.readable]
    findings = [*_count(cases, sides), *_patients(dataset, sides)]
    if read:
        findings += _channels(dataset, read, plan)
        findings += _labels(dataset, read, sides)
        findings += [*_same_scans(read, sides), *_same_labels(read), *_same_channels(read)]
        findings += [*_sizes(read, plan), *outliers(read), *_kinds(read)]
    return findings


def _finding(severity: Severity, code: str, message: str, case: str = "") -> Finding:
    return Finding(severity=severity, code=code, message=message, case=case)


def _count(cases: Sequence[CaseFacts], sides: Sides) -> Iterator[Finding]:
    if len(cases) < RARE_CASES:
        severity: Severity = "warning" if sides.fold is None else "error"
        message = "there is one case only: with none held out nothing is measured; add another"
        yield _finding(severity, "ONE_CASE", message)
    elif len(cases) < FEW_CASES:
        message = f"{len(cases)} cases are few; scores will be rough"
        yield _finding("note", "FEW_CASES", message)
    if len(cases) >= RARE_CASES and sides.fold is not None and not sides.held_out:
        message = f"fold {sides.fold} holds out no case, so nothing is measured; name some in it"
        yield _finding("warning", "NONE_HELD_OUT", message)


def _patients(dataset: Dataset, sides: Sides) -> Iterator[Finding]:
    """Patients who are on both sides of the fold."""
    for group in dataset.patients:
        trained, held = sides.split(group)
        if trained and held:
            yield _finding(
                "warning",
                "SAME_PATIENT",
                f"{listed(trained)} (trained on) and {listed(held)} (held out) are of one patient,"
                " so the score will be too good; keep a patient's cases together (--splits)",
            )


def _channels(dataset: Dataset, read: Sequence[CaseFacts], plan: Plan | None) -> Iterator[Finding]:
    """Cases of another number of channels than the plan's, or than most have."""
    counts = Counter(len(facts.channels) for facts in read)
    wanted = len(plan.channels) if plan else counts.most_common(1)[0][0]
    who = "the plan has" if plan else "most cases have"
    for facts in read:
        count = len(facts.channels)
        if count != wanted:
            yield Finding(
                severity="error",
                code="CHANNELS",
                message=f"{facts.name}: it has {count} channel(s) where {who} {wanted}; correct its"
                " files, or leave it out",
                case=facts.name,
                value=str(count),
            )
    if dataset.channels and len(dataset.channels) != wanted:
        message = (
            f"dataset.json names {len(dataset.channels)} channels ({', '.join(dataset.channels)})"
            f" and the scans have {wanted}; correct it, or the names are not used"
        )
        yield _finding("warning", "CHANNEL_NAMES", message)


def _labels(dataset: Dataset, read: Sequence[CaseFacts], sides: Sides) -> Iterator[Finding]:
    """Structures that few cases hold, or that are on one side of the fold only."""
    trained = [facts for facts in read if facts.name in sides.training]
    empty = not any(any(facts.volumes_ml.values()) for facts in trained)
    if empty and len(trained) == len(sides.training):
        message = (
            f"none of the {len(trained)} label maps to train on holds a label, so there is"
            " nothing to learn; draw the structures, or correct the label maps"
        )
        yield _finding("error", "NO_LABELS", message)
        return
    if _are_instances(dataset, read):
        count = len(dataset.labels)
        message = (
            f"{count} labels have no name and most are in less than half of the cases, as when each"
            ' object has a number of its own; to learn them as one, give --labels {"labels":'
            f' {{"object": [1, 2, ..., {dataset.labels.values[-1]}]}}, "regions_class_order": [1]}}'
            " in a JSON file; if they are structures, name them there"
        )
        yield _finding("error", "INSTANCES", message)
        return
    is_whole = len(read) == len(dataset.cases)
    for name in dataset.labels.names:
        holding = [facts.name for facts in read if facts.volumes_ml[name] > 0]
        in_training, in_held_out = sides.split(holding)
        if len(holding) < RARE_CASES:
            where = f"one case only ({holding[0]})" if holding else "no case"
            message = f"'{name}' is in {where}, so it can hardly be learnt"
            yield _finding("warning", "RARE_LABEL", message)
        elif is_whole and not in_training:
            message = (
                f"'{name}' is in no case that fold {sides.fold} trains on, only in"
                f" {listed(in_held_out)}; choose another fold, or other folds (--splits)"
            )
            yield _finding("warning", "NOT_TRAINED", message)
        elif is_whole and sides.held_out and not in_held_out:
            message = f"'{name}' is in no held-out case of fold {sides.fold}, so it has no score"
            yield _finding("note", "NOT_MEASURED", message)


def _are_instances(dataset: Dataset, read: Sequence[CaseFacts]) -> bool:
    """Whether labels look like the numbers of single objects, such as nuclei."""
    labels = dataset.labels.labels
    if len(labels) <= MANY_LABELS or any(map(is_named, labels)):
        return False
    counts = [sum(facts.volumes_ml[label.name] > 0 for facts in read) for label in labels]
    return sum(2 * count < len(read) for count in counts) > len(labels) / 2


def _same_scans(read: Sequence[CaseFacts], sides: Sides) -> Iterator[Finding]:
    """Scans of the same voxels under several names."""
    by_voxels = defaultdict(list)
    for facts in read:
        if any(channel.low != channel.high for channel in facts.channels):
            by_voxels[tuple(channel.digest for channel in facts.channels)].append(facts)
    for copies in by_voxels.values():
        if len(copies) > 1:
            yield _same_scan(copies, sides)


def _same_scan(copies: Sequence[CaseFacts], sides: Sides) -> Finding:
    names = [facts.name for facts in copies]
    trained, held = sides.split(names)
    if len({facts.drawn for facts in copies}) > 1:
        message = (
            f"{listed_cases(names)} are the same scan with different labels; keep the right one"
        )
        return _finding("error", "TWO_TRUTHS", message)
    if trained and held:
        message = (
            f"{listed(trained)} (trained on) and {listed(held)} (held out) are the same scan, so"
            " the score will be too good; leave one of them out"
        )
        return _finding("warning", "SAME_SCAN_HELD_OUT", message)
    message = f"{listed_cases(names)} are the same scan, which counts twice; leave one out"
    return _finding("warning", "SAME_SCAN", message)


def _same_labels(read: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Label maps of the same values under scans that differ."""
    by_labels = defaultdict(list)
    for facts in read:
        if facts.drawn:
            by_labels[facts.drawn].append(facts)
    for copies in by_labels.values():
        if len({facts.channels for facts in copies}) > 1:
            names = listed_cases(facts.name for facts in copies)
            message = f"{names} have equal label maps and other scans; is one of them misnamed?"
            yield _finding("note", "SAME_LABELS", message)


def _same_channels(read: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Cases of which one channel is a copy of another, where that is not so everywhere."""
    copied = [
        facts.name
        for facts in read
        if len({channel.digest for channel in facts.channels}) < len(facts.channels)
    ]
    if copied:
        severity: Severity = "note" if len(copied) == len(read) else "warning"
        message = f"two channels of {listed_cases(copied)} are equal; is one a copy by mistake?"
        yield _finding(severity, "SAME_CHANNELS", message)


def _sizes(read: Sequence[CaseFacts], plan: Plan | None) -> Iterator[Finding]:
    """Cases that no memory would hold once they have the spacing of the others."""
    grids = {facts.name: Reorientation.towards(facts.grid, RAS).target for facts in read}
    i, j, k = np.median([grid.spacing_mm for grid in grids.values()], axis=0).tolist()
    target = plan.spacing_mm if plan else (i, j, k)
    for name, grid in grids.items():
        voxels = float(np.prod(shape_for_spacing(grid, target), dtype=np.float64))
        if voxels > MOST_VOXELS:
            spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)
            aim = " x ".join(f"{mm:.3g}" for mm in target)
            yield Finding(
                severity="error",
                code="TOO_LARGE",
                message=f"{name}: {grid.shape} voxels of {spacing} mm become {voxels:.2g} voxels of"
                f" {aim} mm, which the training works on; correct its spacing, or leave it out",
                case=name,
                value=f"{voxels:.2g}",
            )


def _kinds(read: Sequence[CaseFacts]) -> Iterator[Finding]:
    """Cases whose axes or modality are not as those of most."""
    letters = Counter(facts.orientation for facts in read)
    majority = letters.most_common(1)[0][0]
    others = [facts.name for facts in read if facts.orientation != majority]
    if others:
        message = (
            f"{listed_cases(others)}: axes do not grow to {majority} as in most; all are turned"
        )
        yield _finding("note", "ORIENTATION", message)
    modalities = Counter(facts.modality for facts in read)
    if len(modalities) > 1:
        majority = modalities.most_common(1)[0][0]
        others = [facts.name for facts in read if facts.modality != majority]
        most = f"is not '{majority}' as of most" if majority else "is known, and not that of most"
        message = f"{listed_cases(others)}: the modality {most}"
        yield _finding("warning", "MODALITY", message)
