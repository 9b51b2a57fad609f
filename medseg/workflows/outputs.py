"""Whether a result can be written as asked, said before anything is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import InputError, MedsegError, WriteError
from medseg.volume import LabelMap, Scan
from medseg.writing import check_encoding, label_suffixes, obstacle


def check(
    subject: Scan | LabelMap | None, path: str | Path, *, encoding: str | None = None
) -> MedsegError | None:
    """Why a label map cannot be written to `path`; None when it can.

    Parameters
    ----------
    subject : Scan or LabelMap or None
        The labels, or the scan they will be made of; without either, only the suffix and the
        encoding are judged.
    path : str or Path
        Its suffix says the format. The file system is not looked at, see :func:`check_file`.
    encoding : {"binary", "labelmap", "auto"}, optional
        Of a DICOM SEG.

    Returns
    -------
    MedsegError or None
        With codes ``UNKNOWN_FORMAT``, ``ENCODING``, or those of the formats, such as
        ``NO_DICOM_SOURCE``, ``BLANK_UIDS`` and ``SHEARED``; for the caller to raise, show or count.
    """
    path = Path(path)
    unknown = unknown_suffix(path, label_suffixes())
    if unknown:
        return unknown
    try:
        check_encoding(path, encoding)
    except WriteError as error:
        return error
    limit = None if subject is None else obstacle(subject, path)
    return WriteError(f"'{path.name}' {limit.reason}", code=limit.code) if limit else None


def unknown_suffix(path: Path, suffixes: tuple[str, ...]) -> InputError | None:
    """The error for a file name that ends in none of `suffixes`."""
    if path.name.lower().endswith(suffixes):
        return None
    return InputError(
        f"cannot tell the format of the output '{path.name}'; end it in one of:"
        f" {', '.join(suffixes)}",
        code="UNKNOWN_FORMAT",
    )


def check_label_file(
    path: Path, *, sources: Sequence[Path] = (), encoding: str | None = None
) -> None:
    """Raise unless some label map could be written to `path`.

    Parameters
    ----------
    path : Path
    sources : sequence of Path, optional
        What is read, which must not be overwritten.
    encoding : str, optional
        See :func:`check`.

    Raises
    ------
    InputError
        When its suffix is unknown, or it is a folder or one of the sources.
    WriteError
        When nothing can be written there, or the format does not have the encoding.
    """
    reason = check(None, path, encoding=encoding)
    if reason:
        raise reason
    check_file(path, sources=sources)


def check_file(path: Path, *, sources: Sequence[Path] = ()) -> None:
    """Raise unless a file could be written to `path`.

    Parameters
    ----------
    path : Path
    sources : sequence of Path, optional
        What is read, which must not be overwritten.

    Raises
    ------
    InputError
        When `path` is a folder, or one of the sources.
    WriteError
        When nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"the output '{path}' is a folder; name a file in it")
    if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
        raise InputError(f"the output '{path}' is the input itself; choose another file")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise `WriteError` unless files can be made in `folder`, or it can be made."""
    parents = (folder, *folder.absolute().parents)
    there = next(parent for parent in parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise WriteError(
            f"cannot write into '{there}': {error.strerror or error}; choose another output folder"
        ) from error
