"""A result once more in the encoding that every archive takes, from the same labels."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.reading import Policies, read_labels, read_scan
from medseg.reading.dicom.file import dataset_of
from medseg.reading.dicom.headers import as_text
from medseg.writing import write_labels
from medseg_pipelines.pacs.offers import OutgoingObject, sendable
from medseg_pipelines.pacs.peer_errors import PeerError
from medseg_pipelines.pacs.spool import Spool
from medseg_pipelines.pacs.validate import instance_name


def in_binary(
    seg: OutgoingObject, target: Path, *, spool: Spool, policies: Policies
) -> OutgoingObject:
    """Write the labels of a label-map DICOM SEG as a binary one, or as the SR of that one.

    Parameters
    ----------
    seg : OutgoingObject
        A DICOM SEG of labels; the slices it refers to are in the spool.
    target : Path
        ``.sr.dcm`` for an SR, else ``.dcm``.
    spool : Spool
    policies : Policies
        By which the scan was read.

    Returns
    -------
    OutgoingObject
        What was written.

    Raises
    ------
    PeerError
        When the scan is not in the spool.
    """
    with warnings.catch_warnings(), _slices_of(seg, spool) as folder:
        warnings.simplefilter("ignore")  # the libraries' warnings quote patient names
        labels = read_labels(seg.path, like=read_scan(folder, policies=policies))
        return sendable(write_labels(labels, target, encoding="binary"))


@contextmanager
def _slices_of(seg: OutgoingObject, spool: Spool) -> Iterator[Path]:
    """A folder with exactly the slices that a SEG refers to."""
    header = dataset_of(seg.path, stop_before_pixels=True)
    (series, *_) = header.ReferencedSeriesSequence
    uids = [as_text(item, "ReferencedSOPInstanceUID") for item in series.ReferencedInstanceSequence]
    folder = spool.scratch()
    folder.mkdir()
    try:
        for name in map(instance_name, uids):
            os.link(spool.folder(seg.source) / f"{name}.dcm", folder / f"{name}.dcm")
        yield folder
    except FileNotFoundError as error:
        raise PeerError(
            "the peer takes no label-map DICOM SEG, and the scan is not in the spool to write a"
            " binary one; pull the scan first, or segment again with --encoding binary",
            code="CONTEXT",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
