"""One case, looked at whole: what it holds, and what is wrong with it by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import Cancelled, MedsegError, reason
from medseg.planning.fingerprint import CaseSketch, sketch_case
from medseg.training.dataset import Case, Dataset
from medseg.training.file_digest import digest
from medseg.training.findings import Finding
from medseg.training.truth import OVERLAP
from medseg.volume import Grid, LabelMap, Scan
from medseg.volume.conventions import orientation_letters
from medseg.volume.label_map import voxel_counts

LARGEST = 1e15
"""Intensities beyond this lose themselves in float32, whose squares end at 3.4e38."""


class ChannelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Intensities of one channel of a scan.

    Parameters
    ----------
    low, high, mean, std : float
        Over all voxels.
    digest : str
        Of the voxels as float32, whatever file and type they are stored in.
    """

    low: float
    high: float
    mean: float
    std: float
    digest: str


class CaseFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a case holds; of one that cannot be read only the name, the digests and why.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Voxels along I, J, K of the file.
    affine : tuple of tuple of float
        Four rows, to RAS+ mm.
    orientation : str
        Three letters, such as ``"LPS"``.
    modality : str
    channels : tuple of ChannelFacts
    volumes_ml : dict of str to float
        By structure; 0.0 for one that is not there.
    image, label_map : str
        SHA-256 of the files.
    drawn : str
        Digest of the label values; ``""`` where none is drawn.
    has_physical_size : bool
        False for pictures, of which a pixel counts as 1 mm and is not.
    findings : tuple of Finding
        About this case alone.
    """

    name: str
    shape: tuple[int, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    orientation: str = ""
    modality: str = ""
    channels: tuple[ChannelFacts, ...] = ()
    volumes_ml: dict[str, float] = {}
    image: str = ""
    label_map: str = ""
    drawn: str = ""
    has_physical_size: bool = True
    findings: tuple[Finding, ...] = ()

    @property
    def readable(self) -> bool:
        """Whether scan and label map could be read, and lie on one grid."""
        return bool(self.shape)

    @property
    def grid(self) -> Grid:
        """Where the voxels lie; of a readable case."""
        i, j, k = self.shape
        return Grid((i, j, k), np.asarray(self.affine))


def look_at_case(dataset: Dataset, case: Case) -> tuple[CaseFacts, CaseSketch | None]:
    """Read every byte of a case once more than its digests need, and tell what it holds.

    Parameters
    ----------
    dataset : Dataset
    case : Case

    Returns
    -------
    facts : CaseFacts
    sketch : CaseSketch or None
        What planning needs of the case; None where it cannot be read.
    """
    facts = CaseFacts(name=case.name)
    try:
        facts = msgspec.structs.replace(
            facts, image=digest(case.images), label_map=digest(case.label_files)
        )
        scan, truth = dataset.read(case)
        scan.check_finite()
    except Cancelled:
        raise
    except (MedsegError, OSError, MemoryError) as error:
        message = f"{case.name}: {error if isinstance(error, MedsegError) else reason(error)}"
        code = getattr(error, "code", "UNREADABLE")
        finding = Finding(severity="error", code=code, message=message, case=case.name)
        return msgspec.structs.replace(facts, findings=(finding,)), None
    facts = _described(facts, dataset, scan, truth)
    findings = (*_about_scan(facts, scan), *_about_labels(facts, scan, truth))
    return msgspec.structs.replace(facts, findings=findings), sketch_case(scan, truth)


def _described(facts: CaseFacts, dataset: Dataset, scan: Scan, truth: LabelMap) -> CaseFacts:
    counts = voxel_counts(truth.values)
    ml = truth.grid.voxel_volume_mm3 / 1000
    return msgspec.structs.replace(
        facts,
        shape=scan.grid.shape,
        affine=tuple(map(tuple, scan.grid.affine.tolist())),
        orientation=orientation_letters(scan.grid),
        modality=scan.modality,
        channels=tuple(_channel_facts(channel) for channel in scan.voxels),
        volumes_ml={label.name: float(counts[label.value]) * ml for label in dataset.labels},
        drawn=_digest_of(truth.values.astype(np.uint16)) if counts[1:].any() else "",
        has_physical_size=scan.provenance.has_physical_size,
    )


def _channel_facts(voxels_IJK: npt.NDArray[Any]) -> ChannelFacts:
    """Statistics of a channel, plane by plane, so that no copy of the scan is made."""
    low, high = float(voxels_IJK.min()), float(voxels_IJK.max())
    whole, total, squares = hashlib.sha256(str(voxels_IJK.shape).encode()), 0.0, 0.0
    with np.errstate(over="ignore"):
        for k in range(voxels_IJK.shape[2]):
            plane = voxels_IJK[:, :, k].astype(np.float64).ravel()
            total += float(plane.sum())
            squares += float((plane - low) @ (plane - low))
            whole.update(plane.astype(np.float32).data)
    mean = total / voxels_IJK.size
    variance = squares / voxels_IJK.size - (mean - low) ** 2
    std = float(np.sqrt(max(variance, 0.0)))
    return ChannelFacts(low=low, high=high, mean=mean, std=std, digest=whole.hexdigest())


def _digest_of(values: npt.NDArray[Any]) -> str:
    whole = hashlib.sha256(str(values.shape).encode())
    whole.update(np.ascontiguousarray(values).data)
    return whole.hexdigest()


def _about_scan(facts: CaseFacts, scan: Scan) -> Iterator[Finding]:
    constant = [number for number, c in enumerate(facts.channels) if c.low == c.high]
    if constant and scan.voxels[0].size > 1:
        every = len(constant) == len(facts.channels)
        value = f"{facts.channels[constant[0]].low + 0.0:g}"
        what = "every voxel of the scan" if every else f"channel {constant[0]}"
        yield Finding(
            severity="error" if every else "warning",
            code="CONSTANT",
            message=f"{facts.name}: {what} is {value}; export the scan again, or leave it out",
            case=facts.name,
            value=value,
        )
    extreme = max(max(abs(c.low), abs(c.high)) for c in facts.channels)
    if extreme > LARGEST:
        yield Finding(
            severity="error",
            code="EXTREME",
            message=f"{facts.name}: an intensity of {extreme:.3g} is more than can be computed with"
            f" ({LARGEST:g}); correct the scan's scaling, or leave it out",
            case=facts.name,
            value=f"{extreme:.3g}",
        )
    for note in scan.provenance.notes:
        message = f"{facts.name}: {note}"
        yield Finding(severity="note", code="READING", message=message, case=facts.name)


def _about_labels(facts: CaseFacts, scan: Scan, truth: LabelMap) -> Iterator[Finding]:
    for note in truth.provenance.notes:
        code, _, what = note.partition(": ")
        if code == OVERLAP:
            message = f"{facts.name}: {what}"
            yield Finding(severity="warning", code=code, message=message, case=facts.name)
    if facts.drawn and any(np.array_equal(channel, truth.values) for channel in scan.voxels):
        yield Finding(
            severity="error",
            code="SCAN_IS_LABELS",
            message=f"{facts.name}: its scan holds the values of its label map, voxel by voxel; put"
            " the scan there",
            case=facts.name,
        )
    if not any(facts.volumes_ml.values()):
        yield Finding(
            severity="warning",
            code="NOTHING_DRAWN",
            message=f"{facts.name}: its label map is empty; correct it, or leave it out",
            case=facts.name,
        )
