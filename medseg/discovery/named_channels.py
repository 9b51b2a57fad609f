"""Channels that files name in words, ``_t1`` and ``_flair``, put into one order for all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.discovery.cases import Case
from medseg.discovery.mask_files import Masks
from medseg.errors import InputError


@dataclass(frozen=True)
class NamedCase:
    """A case whose images are told apart by words.

    Parameters
    ----------
    name, patient : str
    images : mapping of str to Path
        By what their names say beyond the case.
    label : Path or Masks
    series : str
    """

    name: str
    patient: str
    images: Mapping[str, Path]
    label: Path | Masks
    series: str = ""


def ordered(
    cases: Sequence[NamedCase], channels: Sequence[str], where: Path
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases with their images in one order, and the names of the channels.

    Parameters
    ----------
    cases : sequence of NamedCase
    channels : sequence of str
        The order, and which images to take, where the dataset says so; else all, by name.
    where : Path
        For errors.

    Returns
    -------
    cases : tuple of Case
        Sorted by name.
    channels : tuple of str
        `channels` where given; empty for single images that share no name.

    Raises
    ------
    InputError
        When two cases have one name, or a case lacks an image that others have.
    """
    if all(len(case.images) == 1 for case in cases) and len(channels) < 2:
        rows = [_case(case, list(case.images)) for case in cases]
        return _sorted(rows, where), tuple(channels)
    keys = {name.casefold(): name for case in cases for name in case.images}
    wanted = [name.casefold() for name in channels] or sorted(keys)
    for case in cases:
        own = {name.casefold() for name in case.images}
        missing = [keys.get(name, name) for name in wanted if name not in own]
        if missing:
            raise InputError(
                f"case '{case.name}' in '{where}' has {', '.join(sorted(case.images))} and no"
                f" {', '.join(missing)}, which other cases or dataset.json name as channels; add"
                " the file, name the channels to take in dataset.json ('channel_names'), or move"
                " the case away",
                code="CHANNELS",
            )
    rows = []
    for case in cases:
        spelt = {name.casefold(): name for name in case.images}
        rows.append(_case(case, [spelt[name] for name in wanted]))
    return _sorted(rows, where), tuple(channels) or tuple(keys[name] for name in wanted)


def _case(case: NamedCase, order: Sequence[str]) -> Case:
    images = tuple(case.images[name] for name in order)
    return Case(case.name, images, case.label, case.patient, series=case.series)


def _sorted(cases: Sequence[Case], where: Path) -> tuple[Case, ...]:
    by_name: dict[str, Case] = {}
    for case in cases:
        if case.name in by_name:
            other = by_name[case.name]
            raise InputError(
                f"'{other.label_files[0]}' and '{case.label_files[0]}' would both be the case"
                f" '{case.name}' of '{where}'; keep one of them, or give a CSV list of the cases",
                code="TWO_FILES",
            )
        by_name[case.name] = case
    return tuple(by_name[name] for name in sorted(by_name))
