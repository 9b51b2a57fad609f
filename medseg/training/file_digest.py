"""What a case's files are, as a digest: whether they changed is asked without reading voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the content of files, and of all files of folders."""
    whole = hashlib.sha256()
    for path in paths:
        for file in _parts(path):
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _parts(path: Path) -> list[Path]:
    """The files of a scan: those of a DICOM folder, and the voxels beside an ``.mhd`` header."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix != ".mhd":
        return [path]
    return sorted(file for file in path.parent.iterdir() if file.stem == path.stem)
