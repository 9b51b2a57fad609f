"""Several volumes in one series told apart: by header fields, place in plane, time or number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.frames import Frame
from medseg.reading.dicom.geometry import SAME_POSITION_MM, depths_mm
from medseg.reading.dicom.header_fields import TIMES
from medseg.reading.dicom.header_values import as_numbers, as_text, sanitized

_IN_PLANE_MM = 0.1
_MOST_TOGETHER = 3
_MOST_SHOWN = 40
_CODE_TYPES = {"DS", "IS", "FD", "FL", "US", "SS", "UL", "SL", "CS"}
_OTHER_GROUPS = (0x0010, 0x0028)
"""Of the patient, and of how pixels are stored and shown."""

Values = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """Frames at distinct positions: one volume of several.

    Parameters
    ----------
    frames : list of Frame
    split_by : str
        The field that tells it from the others, and its value; empty when it is alone.
    """

    frames: list[Frame]
    split_by: str = ""


def split(frames: list[Frame]) -> list[Part]:
    """Parts with one image per position.

    Single header fields are tried first, then several together, any other field of the files,
    places in the plane, and the rank of time or InstanceNumber where its runs hold every position
    once.

    Raises
    ------
    GeometryError
        Code ``AMBIGUOUS_4D`` when nothing tells the images apart.
    """
    places = _Places.of(frames)
    if places.depth == 1:
        return [Part(frames)]
    for stage in (_by_marks, _by_any_field, _by_place, _by_rank, _by_file):
        partial: list[Part] = []
        for names, values in stage(frames, places):
            parts = _parts(frames, names, values)
            if not places.are_clean(parts):
                continue
            if all(len(part.frames) == places.count for part in parts):
                return parts
            partial = partial or parts
        if partial:
            return partial
    raise GeometryError(
        f"the series holds up to {places.depth} images at one position, and neither a header field"
        " nor the order of times and InstanceNumbers tells them apart; export the volumes (phases,"
        " echoes) as separate series",
        code="AMBIGUOUS_4D",
    )


@dataclass(frozen=True, eq=False)
class _Places:
    """The number of each frame's position along the normal, counted from 0."""

    numbers: dict[Frame, int]
    count: int
    depth: int

    @classmethod
    def of(cls, frames: list[Frame]) -> _Places:
        depths = depths_mm(frames)
        order = np.argsort(depths, kind="stable")
        steps = np.diff(depths[order], prepend=depths[order[0]]) > SAME_POSITION_MM
        numbers = np.empty(len(frames), np.intp)
        numbers[order] = np.cumsum(steps)
        by_frame = {frame: int(n) for frame, n in zip(frames, numbers, strict=True)}
        return cls(by_frame, int(numbers.max()) + 1, int(np.bincount(numbers).max()))

    def are_clean(self, parts: list[Part]) -> bool:
        """Whether there are as many parts as images at a position, each with one at most."""
        return len(parts) == self.depth and all(
            len({self.numbers[frame] for frame in part.frames}) == len(part.frames)
            for part in parts
        )


Stage = Iterator[tuple[str, Values]]


def _by_marks(frames: list[Frame], _: _Places) -> Stage:
    """Header fields that differ, alone and together."""
    names = list(dict.fromkeys(name for frame in frames for name in frame.marks))
    marks = [name for name in names if len({frame.marks.get(name, "") for frame in frames}) > 1]
    for count in range(1, _MOST_TOGETHER + 1):
        for keys in itertools.combinations(marks, count):
            yield (
                " and ".join(keys),
                [tuple(frame.marks.get(key, "") for key in keys) for frame in frames],
            )


def _by_any_field(frames: list[Frame], _: _Places) -> Stage:
    """Any other number or code of the headers, where each frame is a file of its own."""
    files = dict.fromkeys(frame.file for frame in frames)
    if len(files) < len(frames):
        return
    codes = [_codes_of(frame) for frame in frames]
    for key in dict.fromkeys(key for values in codes for key in values):
        yield key, [(values.get(key, ""),) for values in codes]


def _codes_of(frame: Frame) -> dict[str, str]:
    """Numbers and codes of a file's header by keyword, without those about the patient."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    dataset = dataset_of(frame.file.path, force=True, stop_before_pixels=True)
    return {
        keyword_for_tag(tag): as_text(dataset, tag)
        for tag in dataset.keys()  # noqa: SIM118 - iterating parses values, which may fail
        if keyword_for_tag(tag) not in ("", "InstanceNumber")
        and tag.group not in _OTHER_GROUPS
        and dictionary_VR(tag) in _CODE_TYPES
    }


def _by_place(frames: list[Frame], _: _Places) -> Stage:
    """Where the corner of each image lies along its rows and columns."""
    axes = np.reshape(frames[0].orientation, (2, 3))
    corners = np.array([frame.position_mm for frame in frames]) @ axes.T
    numbers = np.empty(corners.shape, np.intp)
    for axis in range(2):
        order = np.argsort(corners[:, axis], kind="stable")
        numbers[order, axis] = np.cumsum(
            np.diff(corners[order, axis], prepend=-np.inf) > _IN_PLANE_MM
        )
    means = {
        (a, b): corners[(numbers == (a, b)).all(axis=1)].mean(axis=0) for a, b in numbers.tolist()
    }
    texts = {key: f"{mean[0]:.1f}, {mean[1]:.1f} mm" for key, mean in means.items()}
    yield "place in plane", [(texts[a, b],) for a, b in numbers.tolist()]


def _by_rank(frames: list[Frame], places: _Places) -> Stage:
    """The rank of time, then of InstanceNumber."""
    if len(frames) != places.count * places.depth:
        return
    for key in (*TIMES, "InstanceNumber"):
        numbers = [as_numbers(frame.file.header, key, 1) for frame in frames]
        if all(numbers) and (ranks := _ranks(frames, places, [n[0] for n in numbers])):
            yield f"order of {key}", [(f"{ranks[frame]}",) for frame in frames]


def _ranks(frames: list[Frame], places: _Places, values: list[float]) -> dict[Frame, int]:
    """The volume of each frame, from 1; empty unless runs hold each position exactly once.

    Either every run of as many images as there are positions holds each position once (volume after
    volume), or every run of as many as there are volumes holds one position (slice after slice).
    """
    order = sorted(
        range(len(frames)), key=lambda index: (values[index], places.numbers[frames[index]])
    )
    for length, volume_by_volume in ((places.count, True), (places.depth, False)):
        runs = [order[at : at + length] for at in range(0, len(order), length)]
        positions = [{places.numbers[frames[index]] for index in run} for run in runs]
        whole = length if volume_by_volume else 1
        edges = runs if volume_by_volume else [[index] for index in order]
        apart = all(
            values[before[-1]] < values[after[0]]
            for before, after in itertools.pairwise(edges)
            if volume_by_volume
            or places.numbers[frames[before[0]]] == places.numbers[frames[after[0]]]
        )
        if apart and all(len(run) == whole for run in positions):
            return {
                frames[index]: (number if volume_by_volume else rank) + 1
                for number, run in enumerate(runs)
                for rank, index in enumerate(run)
            }
    return {}


def _by_file(frames: list[Frame], _: _Places) -> Stage:
    """The file that holds them."""
    files = list(dict.fromkeys(frame.file for frame in frames))
    numbers = {file: str(number) for number, file in enumerate(files, start=1)}
    yield "file", [(numbers[frame.file],) for frame in frames]


def _parts(frames: list[Frame], name: str, values: Values) -> list[Part]:
    """A part for each value, in the order of the values."""
    parts: dict[tuple[str, ...], list[Frame]] = {}
    for frame, value in zip(frames, values, strict=True):
        parts.setdefault(value, []).append(frame)
    return [
        Part(parts[value], f"{name} {_shown(value)}") for value in sorted(parts, key=_numbers_first)
    ]


def _shown(value: tuple[str, ...]) -> str:
    """Values for a person."""
    texts = [sanitized(text[:_MOST_SHOWN].replace("\\", " ")) or "(none)" for text in value]
    return " and ".join(texts)


def _numbers_first(value: tuple[str, ...]) -> list[tuple[float, str]]:
    """Sort key: numbers by size, then text."""
    return [(float(text) if _is_number(text) else float("inf"), text) for text in value]


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False
