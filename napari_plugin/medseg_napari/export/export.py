"""What can be saved of a label map, under which names, and why not: without Qt.

A plan says in words which files will be written before any of them is. Writing goes through a
hidden folder beside the target, so that either all files appear or none.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import WriteError
from medseg.runtime.progress import Progress
from medseg.volume import Creator, LabelMap, LabelTable, Provenance
from medseg.volume.label_map import present_values
from medseg_napari.export.formats import FORMATS, Format, Subject, obstacle

_FORBIDDEN = '<>:"/\\|?*'


@dataclass(frozen=True)
class Request:
    """What the person asked for; `stem` is what the files' names start with."""

    formats: tuple[str, ...]
    folder: Path
    stem: str
    replace: bool = False
    encoding: str = "binary"


@dataclass(frozen=True)
class PlannedFile:
    """One file to be written, of one structure `value` or of all; `contents` says so in words."""

    form: Format
    path: Path
    contents: str
    value: int | None = None


@dataclass(frozen=True)
class ExportPlan:
    """What will be written, and one sentence for each format or file that cannot be."""

    request: Request
    files: tuple[PlannedFile, ...]
    refused: tuple[str, ...]


def plan_export(subject: Subject, request: Request) -> ExportPlan:
    """Which files a request gives, and what cannot be written and why."""
    files: list[PlannedFile] = []
    refused: list[str] = []
    for name in request.formats:
        form = FORMATS[name]
        reason = obstacle(subject, form)
        if reason:
            refused.append(f"{form.title}: {reason}")
            continue
        for file in _files(subject, request, form):
            if file.path.is_dir():
                refused.append(f"{file.path.name}: a folder has that name; rename")
            elif file.path.exists() and not request.replace:
                refused.append(f"{file.path.name}: is there already; allow replacing, or rename")
            else:
                files.append(file)
    return ExportPlan(request, tuple(files), tuple(refused))


def write_files(subject: Subject, plan: ExportPlan, progress: Progress) -> list[Path]:
    """Write all files of a plan, or none.

    Raises
    ------
    WriteError
        When a file cannot be written, or one of that name has appeared since the plan was made.
    """
    folder = plan.request.folder
    with _stage(folder) as stage:
        for number, file in enumerate(plan.files):
            progress(number, len(plan.files), f"writing {file.path.name}")
            with _errors_name(file.path, stage):
                _write(subject, file, stage / file.path.name, plan.request)
        progress(len(plan.files), len(plan.files), "putting the files in place")
        _publish(plan, stage)
    return [file.path for file in plan.files]


def file_stem(text: str) -> str:
    """`text` as the start of a file name: without what some system forbids.

    ``"segmentation"`` when nothing is left.
    """
    allowed = "".join(
        "_" if character in _FORBIDDEN or ord(character) < 32 else character for character in text
    )
    return allowed.strip(" .") or "segmentation"


def _files(subject: Subject, request: Request, form: Format) -> Iterator[PlannedFile]:
    """The files of one format."""
    if not form.each:
        path = request.folder / f"{request.stem}{form.suffix}"
        yield PlannedFile(form, path, _contents(subject, form, request))
        return
    present = set(present_values(subject.labels.values))
    for label in subject.labels.table:
        if label.value in present:
            name = f"{request.stem}_{file_stem(label.name).replace(' ', '_')}{form.suffix}"
            contents = f"the closed surface of {label.name}, LPS mm"
            yield PlannedFile(form, request.folder / name, contents, label.value)


def _contents(subject: Subject, form: Format, request: Request) -> str:
    """What will be in a file."""
    from medseg import __version__

    table, source = subject.labels.table, subject.labels.provenance
    maker = subject.labels.creator or Creator(version=__version__)
    drawn = maker.kind + (f" by {maker.name} {maker.version}" if maker.name else "")
    grid = " x ".join(str(count) for count in subject.labels.grid.shape)
    slices = len(source.native.files if source.native else source.files)
    refers = f"refers to the {slices} source slices"
    contents = {
        "nifti": f"{_count(table)} on {_grid_text(source)} ({grid}), with names and codes",
        "seg_nrrd": f"{_count(table)} with names, colours and codes",
        "dicom_seg": f"{_coded(table)}; {request.encoding} encoding; {drawn}; {refers}",
        "rtstruct": f"closed contours of {_coded(table)}; {refers}",
        "sr": f"volumes in ml of {_count(table)}; refers to the DICOM SEG of the same labels",
        "csv": f"voxels and ml of {_count(table)}",
        "ply": f"closed surfaces of {_count(table)}, LPS mm",
        "obj": f"closed surfaces of {_count(table)}, LPS mm, one group each",
        "html": "three planes through each structure, volumes, model; one file, opens anywhere",
        "pdf": "the same as pages to print",
        "png": "what the canvas shows at this moment",
    }
    return contents[form.name]


def _grid_text(source: Provenance) -> str:
    if source.laterality_known:
        return "the scan's own grid"
    return "a grid that leaves left and right open"


def _count(table: LabelTable) -> str:
    return f"{len(table)} structure" + ("" if len(table) == 1 else "s")


def _coded(table: LabelTable) -> str:
    """Number of structures, the first names, and how many have a code."""
    names = ", ".join(table.names[:3]) + (", ..." if len(table) > 3 else "")
    coded = sum(label.code is not None for label in table)
    codes = {0: "no codes", len(table): "all with codes"}.get(coded, f"{coded} with codes")
    return f"{_count(table)} ({names}; {codes})"


@contextmanager
def _stage(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder`, which is made where it is missing; gone afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".medseg-", dir=folder))
    except OSError as error:
        raise WriteError(
            f"the folder '{folder}' may not be written ({error.strerror}), so nothing was saved;"
            " choose another",
            code="NO_PERMISSION",
        ) from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _errors_name(path: Path, stage: Path) -> Iterator[None]:
    """Errors that name the file as the person knows it."""
    try:
        yield
    except WriteError as error:
        message = str(error).replace(str(stage), str(path.parent))
        raise WriteError(message, code=error.code) from error
    except OSError as error:
        raise WriteError(
            f"'{path}' could not be written ({error.strerror}), so nothing was saved; choose"
            " another folder, or free some space"
        ) from error


def _publish(plan: ExportPlan, stage: Path) -> None:
    """Move finished files to their names."""
    taken = [file.path.name for file in plan.files if file.path.exists()]
    if taken and not plan.request.replace:
        raise WriteError(
            f"'{taken[0]}' has appeared in the folder meanwhile, so nothing was saved; allow"
            " replacing, or rename",
            code="EXISTS",
        )
    for file in plan.files:
        (stage / file.path.name).replace(file.path)


def _write(subject: Subject, file: PlannedFile, path: Path, request: Request) -> None:
    """Write one file at `path`."""
    if file.form.kind == "screenshot":
        path.write_bytes(subject.screenshot)
    elif file.form.kind == "report":
        from medseg_napari.export.case_report import write_report

        write_report(subject, path)
    else:
        from medseg.writing import write_labels

        dicom_seg = file.form.name in ("dicom_seg", "sr")
        labels = subject.labels if file.value is None else _alone(subject.labels, file.value)
        write_labels(labels, path, encoding=request.encoding if dicom_seg else None)


def _alone(labels: LabelMap, value: int) -> LabelMap:
    """A map of one structure."""
    table = LabelTable(tuple(label for label in labels.table if label.value == value))
    values = (labels.values == value) * labels.values.dtype.type(value)
    return LabelMap(values, labels.grid, table, labels.provenance)
