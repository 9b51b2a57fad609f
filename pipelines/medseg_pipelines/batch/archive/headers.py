"""Files of an archive, looked into: which unit each belongs to, and which scans a unit holds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from medseg.discovery import stack_facts
from medseg.discovery.file_facts import facts_of_file
from medseg.discovery.stack_facts import SCAN_ENDINGS, StackHeader
from medseg.errors import InputError, ReadError
from medseg.reading import picture, zip_archive
from medseg.runtime.progress import silent
from medseg_pipelines.batch.archive.case_keys import (
    digest,
    key_of,
    lineage_of,
    listing_digest,
    path_key,
)
from medseg_pipelines.batch.archive.index import Part, Row, Unit
from medseg_pipelines.batch.archive.rules import Rules
from medseg_pipelines.batch.archive.walk import Tree, joined, unreadable
from medseg_pipelines.batch.messages import Fault, ScanRecord

NOTHING = ""
"""The unit of files that hold no scan."""
_MOST_ANSWERS = 200
_CANNOT_OPEN = ReadError.default_code
_VOXELS = (b".raw", b".zraw")  # of a MetaImage that is two files
_SERIES, _BLANK, _FILE, _ZIP, _PICTURE, _DAMAGED = "sbfzpx"


class CannotOpen(Exception):  # noqa: N818
    """The system does not let us open a file, which may be otherwise the next time."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turn what the system says about a file into `CannotOpen`."""
    try:
        yield
    except OSError as error:
        raise CannotOpen(unreadable(error)) from error
    except ReadError as error:
        if error.code != _CANNOT_OPEN or not isinstance(error.__cause__, OSError):
            raise
        raise CannotOpen(unreadable(error.__cause__)) from error


class Reader:
    """Reads each header once where memory allows it; rules are answered while it is at hand."""

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self._tree, self._rules = tree, rules
        self._images: dict[str, dict[Path, stack_facts.DicomFile]] = {}
        self._faults: dict[str, ReadError] = {}
        self.held = 0  # headers in memory
        self.beside: set[bytes] = set()  # names of the files of the folder that is read

    def unit_of(self, folder: bytes, name: bytes) -> str:
        """The unit that a file belongs to; raises `CannotOpen`."""
        path = self._tree.path(folder, name)
        with _opening(path):
            unit = self._other(path, folder, name)
            if unit is not None:
                return unit
            try:
                return self._dicom(path, folder)
            except ReadError as error:
                if error.code == _CANNOT_OPEN:
                    raise
                damaged = _unit(_DAMAGED, folder, name)
                self._faults[damaged] = error
                return damaged

    def oldest(self) -> str:
        """The unit of which headers are held for the longest time."""
        return next(iter(self._images))

    def content(self, unit: str, rows: Sequence[Row]) -> Unit:
        """What is in the files of a unit; raises `CannotOpen`."""
        kind = unit[:1]
        if is_dicom(unit):
            parts = self._stacks(unit, rows)
        elif kind == _ZIP:
            parts = self._in_zip(rows[0])
        elif kind == _DAMAGED:
            parts = (self._answered(faulty(rows[0], self._fault(unit, rows[0])), {}),)
        else:
            parts = (self._answered(self._file(rows, is_picture=kind == _PICTURE), {}),)
        return Unit(parts=parts, folders=folders_of(rows))

    def forget(self, unit: str) -> None:
        """Let go of the headers of a unit."""
        self.held -= len(self._images.pop(unit, {}))

    def with_answers(self, unit: str, content: Unit, rows: Sequence[Row]) -> Unit:
        """What was found in a unit, with answers to all questions."""
        if unit[:1] == _ZIP:
            return self.content(unit, rows)
        parts = []
        for part in content.parts:
            source = [row for row in rows if _path_of(row) == part.text_source]
            image = self._again(source[0]) if source else None
            parts.append(self._answered(part, stack_facts.free_text_of(image) if image else {}))
        return replace(content, parts=tuple(parts))

    def _answered(self, part: Part, words: Mapping[str, str | float]) -> Part:
        """A part with answers to all questions; its words are not kept."""
        answers = self._rules.ask({**part.found.facts, **words})
        kept = part.found.answers if len(part.found.answers) < _MOST_ANSWERS else {}
        return replace(part, found=replace(part.found, answers={**kept, **answers}))

    def _other(self, path: Path, folder: bytes, name: bytes) -> str | None:
        """The unit of a file that is no DICOM; None when it may be."""
        lower = path.name.lower()
        if lower == "dicomdir":
            return NOTHING
        if name.lower().endswith(_VOXELS) and (header := self._header_beside(name)):
            return _unit(_FILE, folder, header)
        if lower.endswith(SCAN_ENDINGS):
            return _unit(_FILE, folder, name)
        if zip_archive.recognises(path):
            return _unit(_ZIP, folder, name)
        return _unit(_PICTURE, folder, name) if picture.recognises(path) else None

    def _dicom(self, path: Path, folder: bytes) -> str:
        image = stack_facts.read_file(path)
        if image is None:
            return NOTHING
        unit = _unit_of_image(image, folder)
        images = self._images.setdefault(unit, {})
        self.held += path not in images
        images[path] = image
        return unit

    def _stacks(self, unit: str, rows: Sequence[Row]) -> tuple[Part, ...]:
        """The stacks of a series; headers that are not held are read again."""
        held = self._images.get(unit, {})
        images = {}
        for row in rows:
            path = self._tree.path(row[0], row[1])
            image = held.get(path) or self._again(row)
            if image is not None and _unit_of_image(image, row[0]) == unit:
                images[path] = image
        listed = {self._tree.path(row[0], row[1]): row for row in rows}
        headers = stack_facts.headers_of(list(images.values()))
        home = os.path.commonpath([os.fsdecode(row[0]) for row in rows])
        return tuple(
            self._answered(
                _part(header, twin, home, [listed[path] for path in header.paths]), header.free_text
            )
            for header, twin in _twins(headers)
        )

    def _again(self, row: Row) -> stack_facts.DicomFile | None:
        """A header that was read before; None when the file has gone."""
        path = self._tree.path(row[0], row[1])
        try:
            with _opening(path):
                return stack_facts.read_file(path)
        except ReadError as error:  # it has changed for the worse since
            raise CannotOpen(unreadable(error)) from error
        except CannotOpen:
            if os.path.lexists(path):
                raise
            return None

    def _in_zip(self, row: Row) -> tuple[Part, ...]:
        path = self._tree.path(row[0], row[1])
        try:
            with _opening(path):
                headers = stack_facts.read_zip(path, silent)
        except InputError as error:
            return (faulty(row, _fault_of(error)),)
        return tuple(
            self._answered(_part(header, twin, _path_of(row), [row]), header.free_text)
            for header, twin in _twins(headers)
        )

    def _fault(self, unit: str, row: Row) -> Fault:
        """Why a file cannot be read."""
        error = self._faults.pop(unit, None)
        if error is None:
            try:
                with _opening(self._tree.path(row[0], row[1])):
                    stack_facts.read_file(self._tree.path(row[0], row[1]))
            except ReadError as again:
                error = again
        return _fault_of(error) if error else Fault(code="CHANGED", message="it has changed")

    def _file(self, rows: Sequence[Row], *, is_picture: bool) -> Part:
        """A file of another format, with that of its voxels if they are apart."""
        first, *voxels = sorted(rows, key=lambda row: row[1].lower().endswith(_VOXELS))
        found = replace(
            _record_of(first),
            signature=listing_digest([row[:4] for row in (first, *voxels)]),
            files=len(rows),
            bytes=sum(row[2] for row in rows),
            facts=facts_of_file(self._tree.path(first[0], first[1])),
        )
        return Part(found=found, is_picture=is_picture)

    def _header_beside(self, name: bytes) -> bytes:
        """The name of the MetaImage header that tells of a file of voxels; empty if none does."""
        header = name[: name.rindex(b".")] + b".mhd"
        return header if header in self.beside else b""


def folders_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Where files lie, from the root."""
    return tuple(sorted({os.fsdecode(row[0]) for row in rows}))


def is_dicom(unit: str) -> bool:
    """Whether a unit is a series of files."""
    return unit[:1] in (_SERIES, _BLANK)


def is_damaged(unit: str) -> bool:
    """Whether a unit is a file that may be a slice of any series."""
    return unit[:1] == _DAMAGED


def _unit(kind: str, folder: bytes, name: bytes) -> str:
    return kind + path_key(joined(folder, name))


def _unit_of_image(image: stack_facts.DicomFile, folder: bytes) -> str:
    """The series it says it belongs to; where it does not, those of its folder that do not."""
    uid = image.text("SeriesInstanceUID")
    return _SERIES + digest("series", uid) if uid else _BLANK + path_key(folder)


def _twins(headers: Sequence[StackHeader]) -> list[tuple[StackHeader, int]]:
    """Each header with the number of those before it that have its identity."""
    seen: Counter[tuple[str, ...]] = Counter()
    counted = []
    for header in headers:
        counted.append((header, seen[header.identity]))
        seen[header.identity] += 1
    return counted


def _part(header: StackHeader, twin: int, path: str, rows: Sequence[Row]) -> Part:
    lineage = lineage_of(header, twin)
    uids = header.instance_uids
    if not all(uids):  # blank ones tell nothing apart, but where they lie does
        uids = (*uids, *(_path_of(row) for row in rows))
    refusal = header.refusal
    found = ScanRecord(
        key=key_of(lineage, uids),
        lineage=lineage,
        path=path,
        series=header.selector,
        folder="",
        signature=listing_digest([row[:4] for row in rows]),
        files=len(header.paths),
        bytes=sum(row[2] for row in rows),
        facts=header.facts,
        notes=header.notes,
        fault=_fault_of(refusal) if refusal else None,
    )
    return Part(
        found=found,
        patient=header.patient,
        study=header.study,
        is_picture=header.is_picture,
        text_source=_path_of(rows[0]),
    )


def _record_of(row: Row, fault: Fault | None = None) -> ScanRecord:
    """A file, by its path."""
    key = path_key(joined(row[0], row[1]))
    return ScanRecord(
        key=key,
        lineage=key,
        path=_path_of(row),
        folder="",
        signature=listing_digest([row[:4]]),
        bytes=row[2],
        fault=fault,
    )


def _path_of(row: Row) -> str:
    """From the root."""
    return os.fsdecode(joined(row[0], row[1]))


def faulty(row: Row, fault: Fault) -> Part:
    """What is told of a file that cannot be read."""
    return Part(found=_record_of(row, fault))


def _fault_of(error: InputError) -> Fault:
    return Fault(code=error.code, message=str(error))
