"""Files of an archive that are the channels of one case, for a model of several channels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from medseg.discovery.channel_files import ChannelFiles, by_case, complete
from medseg.discovery.label_places import is_label_map
from medseg.discovery.scan_files import SCAN_ENDINGS
from medseg.errors import InputError
from medseg_pipelines.batch.archive.case_keys import digest, file_folder, path_key
from medseg_pipelines.batch.messages import Fault, ScanRecord


def as_cases(scans: Sequence[ScanRecord], channels: Sequence[str], root: Path) -> list[ScanRecord]:
    """Scans with each case's channel files as one, and its fault where they are not complete.

    Other scans stay as they are, and so do all for a model of one channel; `root` is the archive,
    from which a case is named.
    """
    if len(channels) == 1:
        return list(scans)
    files = {Path(scan.path): scan for scan in scans if _may_be_channel(scan, channels)}
    taken: set[str] = set()
    cases = []
    for (folder, name), channel_files in by_case(files, channels).items():
        members = [files[path] for _, paths in sorted(channel_files.items()) for path in paths]
        home = os.path.relpath(folder, root.resolve() if root.is_dir() else root.resolve().parent)
        key = os.fsencode(f"channels\0{home}/{name}")
        cases.append(_case(members, name or folder.name, key, channel_files, channels))
        taken.update(member.key for member in members)
    rest = [scan for scan in scans if scan.key not in taken]
    return sorted([*rest, *cases], key=lambda scan: (scan.path, scan.series))


def _may_be_channel(scan: ScanRecord, channels: Sequence[str]) -> bool:
    """Whether it is a whole file of one image, and no label map."""
    path = Path(scan.path)
    is_file = path.name.lower().endswith(SCAN_ENDINGS) and not (scan.fault or is_label_map(path))
    return is_file and scan.facts.get("volumes", 1) != len(channels)


def _case(
    members: Sequence[ScanRecord],
    name: str,
    key: bytes,
    channel_files: ChannelFiles,
    channels: Sequence[str],
) -> ScanRecord:
    """One record of several files."""
    fault = None
    try:
        names = tuple(path.name for path in complete("it", channel_files, channels))
    except InputError as error:
        names, fault = (), Fault(code=error.code, message=str(error))
    return replace(
        members[0],
        key=path_key(key),
        lineage=path_key(key),
        case=name,
        channels=names,
        folder=file_folder(key),
        signature=digest("channels", *(member.signature for member in members)),
        files=sum(member.files for member in members),
        bytes=sum(member.bytes for member in members),
        notes=tuple(dict.fromkeys(note for member in members for note in member.notes)),
        fault=fault,
    )
