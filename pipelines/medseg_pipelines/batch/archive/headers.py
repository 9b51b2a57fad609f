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
from medseg.discovery.scan_files import SCAN_ENDINGS, VOXEL_ENDINGS
from medseg.discovery.stack_facts import StackHeader
from medseg.errors import InputError, ReadError
from medseg.reading import picture, zip_archive
from medseg.runtime.progress import silent
from medseg_pipelines.batch.archive.case_keys import digest, key_of, lineage_of, path_key
from medseg_pipelines.batch.archive.index import Part, Row, Unit, listing_of
from medseg_pipelines.batch.archive.rules import Rules
from medseg_pipelines.batch.archive.walk import Tree, joined, unreadable
from medseg_pipelines.batch.messages import Fault, ScanRecord

NO_SCAN = ""
"""The unit of files that hold no scan."""
_MOST_ANSWERS = 200
_CANNOT_OPEN = ReadError.default_code
_VOXELS = tuple(end.encode() for end in VOXEL_ENDINGS)
_SERIES, _BLANK, _FILE, _ZIP, _PICTURE, _DAMAGED = "sbfzpx"


class CannotOpen(Exception):  # noqa: N818
    """The system does not let us open a file, which may be otherwise the next time."""

    def __init__(self, error: Exception) -> None:
        self.fault = unreadable(error)
        super().__init__(self.fault.message)


@contextmanager
def _opening() -> Iterator[None]:
    """Turn what the system says about a file into `CannotOpen`."""
    try:
        yield
    except OSError as error:
        raise CannotOpen(error) from error
    except ReadError as error:
        if error.code != _CANNOT_OPEN or not isinstance(error.__cause__, OSError):
            raise
        raise CannotOpen(error.__cause__) from error


class Reader:
    """Reads each header once where memory allows it; rules are answered while it is at hand."""

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self._tree, self._rules = tree, rules
        self._images: dict[str, dict[Path, stack_facts.DicomFile]] = {}
        self.held = 0  # headers in memory
        self.beside: set[bytes] = set()  # names of the files of the folder that is read

    def unit_of(self, folder: bytes, name: bytes) -> str:
        """The unit that a file belongs to; raises `CannotOpen`."""
        path = self._tree.path(folder, name)
        if path.name.lower() == "dicomdir":
            return NO_SCAN
        with _opening():
            kind, own = self._kind(path, name)
            if kind:
                return kind + path_key(joined(folder, own))
            try:
                image = stack_facts.read_file(path)
            except ReadError as error:
                if error.code == _CANNOT_OPEN:
                    raise
                return _DAMAGED + path_key(joined(folder, name))
        if image is None:
            return NO_SCAN
        unit = _unit_of_image(image, folder)
        images = self._images.setdefault(unit, {})
        self.held += path not in images
        images[path] = image
        return unit

    def _kind(self, path: Path, name: bytes) -> tuple[str, bytes]:
        """The kind of a file that is no DICOM, and the file it is told by; empty when it may be."""
        voxels = next((end for end in _VOXELS if name.lower().endswith(end)), b"")
        for ending in (b".mhd", b".nhdr") if voxels else ():
            header = name[: -len(voxels)] + ending
            if header in self.beside:
                return _FILE, header
        if path.name.lower().endswith(SCAN_ENDINGS):
            return _FILE, name
        if zip_archive.recognises(path):
            return _ZIP, name
        return (_PICTURE if picture.recognises(path) else ""), name

    def oldest(self) -> str:
        """The unit of which headers are held for the longest time."""
        return next(iter(self._images))

    def forget(self, unit: str) -> None:
        """Let go of the headers of a unit."""
        self.held -= len(self._images.pop(unit, {}))

    def content(self, unit: str, rows: Sequence[Row]) -> Unit:
        """The scans in the files of a unit; raises `CannotOpen`."""
        if is_dicom(unit):
            parts = self._stacks(unit, rows)
        elif unit[:1] == _ZIP:
            parts = self._in_zip(rows[0])
        elif unit[:1] == _DAMAGED:
            parts = [self._answered(faulty(rows[0], self._damage(rows[0])), {})]
        else:
            parts = [self._answered(self._file(rows, is_picture=unit[:1] == _PICTURE), {})]
        return Unit(parts=tuple(parts), folders=folders_of(rows))

    def with_answers(self, unit: str, content: Unit, rows: Sequence[Row]) -> Unit:
        """The scans of a unit, with answers to all questions."""
        if unit[:1] == _ZIP:
            return self.content(unit, rows)
        by_path = {_path_of(row): row for row in rows}
        parts = []
        for part in content.parts:
            row = by_path.get(part.text_source)
            image = self._again(row) if row else None
            parts.append(self._answered(part, stack_facts.free_text_of(image) if image else {}))
        return replace(content, parts=tuple(parts))

    def _answered(self, part: Part, free_text: Mapping[str, str | float]) -> Part:
        """A part with answers to all questions; the free text is not kept."""
        scan = part.scan
        answers = self._rules.ask({**scan.facts, **free_text})
        kept = scan.answers if len(scan.answers) < _MOST_ANSWERS else {}
        return replace(part, scan=replace(scan, answers={**kept, **answers}))

    def _stacks(self, unit: str, rows: Sequence[Row]) -> list[Part]:
        """The stacks of a series; headers that are not held are read again."""
        held = self._images.get(unit, {})
        listed = {self._tree.path(row[0], row[1]): row for row in rows}
        images = []
        for path, row in listed.items():
            image = held.get(path) or self._again(row)
            if image is not None and _unit_of_image(image, row[0]) == unit:
                images.append(image)
        home = os.path.commonpath([os.fsdecode(row[0]) for row in rows])
        return [
            self._answered(
                _part(header, twin, home, [listed[path] for path in header.paths]), header.free_text
            )
            for header, twin in _twins(stack_facts.headers_of(images))
        ]

    def _again(self, row: Row) -> stack_facts.DicomFile | None:
        """A header that was read before; None when the file has gone."""
        path = self._tree.path(row[0], row[1])
        try:
            with _opening():
                return stack_facts.read_file(path)
        except ReadError as error:  # it has changed for the worse since
            raise CannotOpen(error) from error
        except CannotOpen:
            if os.path.lexists(path):
                raise
            return None

    def _in_zip(self, row: Row) -> list[Part]:
        try:
            with _opening():
                headers = stack_facts.read_zip(self._tree.path(row[0], row[1]), silent)
        except InputError as error:
            return [faulty(row, _fault_of(error))]
        return [
            self._answered(_part(header, twin, _path_of(row), [row]), header.free_text)
            for header, twin in _twins(headers)
        ]

    def _damage(self, row: Row) -> Fault:
        """Why a file cannot be read."""
        try:
            with _opening():
                stack_facts.read_file(self._tree.path(row[0], row[1]))
        except ReadError as error:
            return _fault_of(error)
        return Fault(code="CHANGED", message="it has changed")

    def _file(self, rows: Sequence[Row], *, is_picture: bool) -> Part:
        """A file of another format, with that of its voxels if they are apart."""
        rows = sorted(rows, key=lambda row: row[1].lower().endswith(_VOXELS))
        facts = facts_of_file(self._tree.path(rows[0][0], rows[0][1]))
        return Part(scan=replace(_record_of(rows), facts=facts), is_picture=is_picture)


def folders_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Where files lie, from the root."""
    return tuple(sorted({os.fsdecode(row[0]) for row in rows}))


def is_dicom(unit: str) -> bool:
    """Whether a unit is a series of files."""
    return unit[:1] in (_SERIES, _BLANK)


def is_blank(unit: str) -> bool:
    """Whether a unit is files of a folder that do not say which series they are of."""
    return unit[:1] == _BLANK


def is_damaged(unit: str) -> bool:
    """Whether a unit is a file that may be a slice of any series."""
    return unit[:1] == _DAMAGED


def faulty(row: Row, fault: Fault) -> Part:
    """A file that cannot be read."""
    return Part(scan=replace(_record_of([row]), fault=fault))


def _unit_of_image(image: stack_facts.DicomFile, folder: bytes) -> str:
    """The series it says it belongs to; where it does not, those of its folder that do not."""
    uid = image.text("SeriesInstanceUID")
    return _SERIES + digest("series", uid) if uid else _BLANK + path_key(folder)


def _twins(headers: Sequence[StackHeader]) -> Iterator[tuple[StackHeader, int]]:
    """Each header with the number of those before it that have its identity."""
    seen: Counter[tuple[str, ...]] = Counter()
    for header in headers:
        yield header, seen[header.identity]
        seen[header.identity] += 1


def _part(header: StackHeader, twin: int, path: str, rows: Sequence[Row]) -> Part:
    lineage, uids = lineage_of(header, twin), header.instance_uids
    if not all(uids):  # blank ones tell nothing apart, but where they lie does
        uids = (*uids, *map(_path_of, rows))
    scan = ScanRecord(
        key=key_of(lineage, uids),
        lineage=lineage,
        path=path,
        series=header.selector,
        folder="",
        signature=listing_of(rows),
        files=len(header.paths),
        bytes=sum(row[2] for row in rows),
        facts=header.facts,
        notes=header.notes,
        fault=_fault_of(header.refusal) if header.refusal else None,
    )
    return Part(
        scan=scan,
        patient=header.patient,
        study=header.study,
        is_picture=header.is_picture,
        text_source=_path_of(rows[0]),
    )


def _record_of(rows: Sequence[Row]) -> ScanRecord:
    """A file that is no DICOM, by the path of the first."""
    key = path_key(joined(rows[0][0], rows[0][1]))
    return ScanRecord(
        key=key,
        lineage=key,
        path=_path_of(rows[0]),
        folder="",
        signature=listing_of(rows),
        files=len(rows),
        bytes=sum(row[2] for row in rows),
    )


def _path_of(row: Row) -> str:
    """From the root."""
    return os.fsdecode(joined(row[0], row[1]))


def _fault_of(error: InputError) -> Fault:
    return Fault(code=error.code, message=str(error))
