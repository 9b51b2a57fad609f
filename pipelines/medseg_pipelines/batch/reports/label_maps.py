"""Label maps of a batch by the name of the scan each belongs to, to be held against a truth."""

from __future__ import annotations

import functools
from pathlib import Path

from medseg.errors import InputError
from medseg.reading.file_names import without_suffix
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.ledger.ledger import AllCases
from medseg_pipelines.batch.result_files import FILES

_LABEL_FILES = tuple(FILES[name] for name in ("nifti", "nrrd", "dicom-seg"))
_CHANNEL = "_0000"  # that nnU-Net's images have after the name of their case


def is_batch(folder: Path) -> bool:
    """Whether a folder is the output of a batch."""
    return Places(folder).ledger.is_file()


def label_maps(output: Path) -> dict[str, Path]:
    """Label maps of all cases that are done, by the name of the scan's file or folder.

    Names are without the suffix of the format, and without nnU-Net's ``_0000``; of each case it is
    the first of NIfTI, NRRD and DICOM SEG that it has.

    Raises
    ------
    InputError
        When it is no batch, no case has a label map, or two have the same name.
    """
    maps: dict[str, Path] = {}
    for _, row in AllCases(output):
        at = functools.partial(Places(output).file, row.folder)
        files = (at(name) for name in _LABEL_FILES if row.state == "done")
        path = next((file for file in files if file.is_file()), None)
        if path is None:
            continue
        own_name = without_suffix(Path(row.scan.path)).removesuffix(_CHANNEL)
        name = row.scan.case or own_name
        if name in maps:
            raise InputError(
                f"two results of the batch '{output}' are of scans called '{name}' (several series"
                " in a folder, or several models); evaluate their files one by one, `medseg batch"
                " status --cases --paths` tells which is which",
                code="SAME_NAME",
            )
        maps[name] = path
    if not maps:
        raise InputError(f"no case of the batch '{output}' has a label map")
    return maps
