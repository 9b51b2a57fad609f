"""A study as rows to read, and a row as layers: what the Study panel shows and runs, without Qt."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medseg.reading import Policies, read_labels
from medseg.runtime.progress import Progress
from medseg.volume import Scan
from medseg_napari.layers import KEY, LayerTuple, layer_from_labels
from medseg_napari.time_points import layer_from_volumes

if TYPE_CHECKING:
    from medseg.discovery.series_list import SeriesEntry

_REFUSED_SHORTLY = {
    "MOSAIC": "unplaced mosaic",
    "INTERLEAVED": "mixed spacing",
    "MIXED_VALUES": "mixed values",
    "REVERSED_ROWS": "reversed rows",
    "BAD_VALUE": "unusable header",
    "DUPLICATE_UID": "two images, one identity",
    "EMPTY": "empty file",
    "COLOUR": "colour picture",
    "DAMAGED": "damaged",
    "TRUNCATED": "cut short",
    "NO_GEOMETRY": "no position",
    "INCOMPLETE_GEOMETRY": "positions missing",
    "AMBIGUOUS_4D": "volumes not told apart",
    "IRREGULAR": "uneven slices",
    "MISSING_SLICE": "slices missing",
}
_REPAIRS = {
    "IRREGULAR": ("on even slices (interpolated)", Policies(irregular="resample")),
    "MISSING_SLICE": (
        "with the missing slices filled in (interpolated)",
        Policies(missing="interpolate"),
    ),
}
_SHOWN_DEGREES = 1.0
_SHORT_KINDS = {"RTSTRUCT": "RT", "picture": "2-D"}
TIMES = "\N{MULTIPLICATION SIGN}"


class Row(NamedTuple):
    """A series in the table's columns."""

    modality: str
    description: str
    spacing: str
    slices: str
    verdict: str


@dataclass(frozen=True)
class Opening:
    """A way to open a series; the first one offered is the one that changes least.

    Parameters
    ----------
    text : str
        For the person who chooses.
    policies : Policies
    straighten : bool
        Whether leaning slices (gantry tilt) are shifted into a right-angled volume.
    overlaps : {"refuse", "first", "last"}
        Which label a voxel gets that several segments hold.
    """

    text: str
    policies: Policies = dataclasses.field(default_factory=Policies)
    straighten: bool = False
    overlaps: Literal["refuse", "first", "last"] = "refuse"

    @property
    def changes(self) -> bool:
        """Whether the voxels will not be those of the files, which a person must know."""
        return self.straighten or self.policies != Policies() or self.overlaps != "refuse"


_LABEL_OPENINGS = (
    Opening("as it is; refused where segments overlap"),
    Opening("where segments overlap, the first one counts", overlaps="first"),
    Opening("where segments overlap, the last one counts", overlaps="last"),
)


def list_entries(path: str | Path, progress: Progress) -> tuple[SeriesEntry, ...]:
    """Every series and file at `path`; see :func:`medseg.discovery.series_list.list_series`."""
    from medseg.discovery.series_list import list_series
    from medseg.errors import InputError

    entries = list_series(path, progress=progress)
    if not entries:
        raise InputError(
            f"'{Path(path).name}' holds no scan: no DICOM, NIfTI, NRRD or MetaImage file and no"
            " picture was found in it or below; choose another folder"
        )
    return entries


def row_of(entry: SeriesEntry) -> Row:
    """What the table says of a series.

    For the screen only: descriptions may hold what identifies a patient.
    """
    report = entry.report
    spacing = TIMES.join(f"{mm:.2f}".rstrip("0").rstrip(".") for mm in report.spacing_mm)
    slices = str(report.slices or "")
    if entry.volumes > 1:
        slices += f"{TIMES}{entry.volumes} T"
    kind = report.modality or report.format
    return Row(
        modality=_SHORT_KINDS.get(kind, kind),
        description=entry.description or report.name,
        spacing=spacing if report.has_physical_size else "not known",
        slices=slices,
        verdict=_verdict(entry),
    )


def description_text(entry: SeriesEntry) -> str:
    """All that is to be known of a series before it is opened, as sentences for a person."""
    report = entry.report
    why = report.verdict.why
    if report.verdict.code in _REPAIRS:
        why = why.split(";")[0] + "; export it again, or open it with interpolated slices"
    parts = [why, *report.notes]
    if entry.is_labels:
        parts.append("labels: they open as a label map in the place of their scan")
    if entry.volumes > 1:
        parts.insert(0, f"{entry.volumes} volumes of one place; they open as one layer, axis T")
    parts += _fourth_axis(entry)
    if report.tilt_degrees >= _SHOWN_DEGREES:
        parts.append(
            f"the slices lean by {report.tilt_degrees:.1f}°; distances across slices are true, the"
            " display shows them upright"
        )
    return " ".join(_sentence(part) for part in parts if part)


def _sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a file, and a full stop."""
    first = text.split(maxsplit=1)[0].rstrip(":;,")
    names_a_file = any(character in first for character in "._/\\")
    return (text if names_a_file else text[0].upper() + text[1:]).rstrip(".") + "."


def is_refused(entry: SeriesEntry) -> bool:
    """Whether no way of opening is offered."""
    return not openings_of(entry)


def openings_of(entry: SeriesEntry) -> tuple[Opening, ...]:
    """The ways in which a series can be opened; none when it is refused whatever is allowed."""
    report = entry.report
    if report.verdict.outcome == "refused":
        repair = _REPAIRS.get(report.verdict.code)
        return (Opening(repair[0], repair[1]),) if repair else ()
    if _may_overlap(entry):
        return _LABEL_OPENINGS
    plain = Opening("as it lies in the files")
    if report.tilt_degrees < _SHOWN_DEGREES:
        return (plain,)
    return (plain, Opening("straightened (interpolated within slices)", straighten=True))


def open_entry(entry: SeriesEntry, opening: Opening, progress: Progress) -> list[LayerTuple]:
    """Read a series and lay it out as layers, as napari takes them."""
    from medseg.discovery.series_list import read_volumes
    from medseg_napari.memory_check import check_room
    from medseg_napari.reader import layers_of_path

    check_room(entry)
    if _may_overlap(entry):
        progress(0, 1, "reading")
        labels = read_labels(entry.path, overlaps=opening.overlaps)
        return [layer_from_labels(labels, entry.report.name)]
    if entry.selectors == ("",):
        progress(0, 1, "reading")
        return layers_of_path(entry.path)
    scans = read_volumes(entry.path, entry.selectors, policies=opening.policies, progress=progress)
    if opening.straighten:
        scans = [straightened(scan) for scan in scans]
    window = entry.window.limits if entry.window else None
    name = entry.report.name + " (interpolated)" * (opening.policies != Policies())
    return [layer_from_volumes(scans, name, window=window)]


def open_again(paths: Sequence[str], progress: Progress) -> list[LayerTuple]:
    """The layers of files that another plugin opened; see :func:`foreign_layers`."""
    from medseg_napari.reader import layers_of_path

    layers: list[LayerTuple] = []
    for done, path in enumerate(dict.fromkeys(paths), start=1):
        layers += layers_of_path(Path(path))
        progress(done, len(paths), "opening again")
    return layers


def straightened(scan: Scan) -> Scan:
    """A scan with leaning slices as a right-angled one, whose results go back to its own slices.

    Interpolated within slices, which its provenance says; one that does not lean stays as it is.
    """
    from medseg.volume.native_slices import NativeSlices
    from medseg.volume.straightening import straightening_of

    straightening = straightening_of(scan.grid)
    if straightening is None:
        return scan
    source = scan.provenance
    provenance = dataclasses.replace(
        source,
        instance_uids=(),
        native=NativeSlices.of(scan.grid, source.files, source.instance_uids),
        notes=(*source.notes, f"straightened: slices leaned by {scan.grid.shear_degrees:.1f}°"),
    )
    voxels = straightening.apply(scan.voxels)
    return Scan(voxels, straightening.target, scan.modality, provenance)


def foreign_layers(layers: Iterable[Any]) -> list[tuple[Any, str]]:
    """Image and Labels layers that another reader opened, each with its file if that is there."""
    foreign = []
    for layer in layers:
        path = str(layer.source.path or "")
        is_foreign = KEY not in layer.metadata and layer.source.reader_plugin != KEY
        if (
            is_foreign
            and type(layer).__name__ in ("Image", "Labels")
            and Path(path).exists()
            and path
        ):
            foreign.append((layer, path))
    return foreign


def _may_overlap(entry: SeriesEntry) -> bool:
    """Whether it is a DICOM object of labels, of which several may hold a voxel."""
    from medseg.discovery.series_list import LABEL_KINDS

    return entry.report.modality in LABEL_KINDS


def _verdict(entry: SeriesEntry) -> str:
    report = entry.report
    verdict = report.verdict
    if verdict.outcome == "refused":
        text = _REFUSED_SHORTLY.get(verdict.code, "cannot be opened")
        if verdict.code == "MISSING_SLICE" and report.missing:
            text = f"{report.missing} slice{'s' * (report.missing > 1)} missing"
        return f"{text}: choose how" if verdict.code in _REPAIRS else text
    text = "ready" if verdict.outcome == "ok" else "ready, repaired"
    if entry.is_labels:
        return "ready, labels"
    if not report.has_physical_size:
        return f"{text}, no size in mm"
    if report.tilt_degrees >= _SHOWN_DEGREES:
        return f"{text}, tilted {report.tilt_degrees:.1f}°"
    if report.oblique_degrees >= _SHOWN_DEGREES:
        return f"{text}, oblique {report.oblique_degrees:.0f}°"
    return text


def _fourth_axis(entry: SeriesEntry) -> list[str]:
    """What the fourth axis of a NIfTI file is taken for."""
    from medseg.reading.nifti import fourth_axis

    count_and_step = fourth_axis(entry.path) if entry.report.format == "nifti" else None
    if count_and_step is None:
        return []
    count, step_s = count_and_step
    kind, axis = f"{count} channels (the header gives no time between them)", "C"
    if step_s:
        kind, axis = f"{count} time points, {step_s:g} s apart", "T"
    return [f"{kind}; they open as one layer, axis {axis}"]
