"""How a label map came about, and what to tell the makers when something went wrong.

Neither holds patient text: unique identifiers only when asked for, and no paths or names of files
or layers at all.
"""

from __future__ import annotations

import datetime as dt
import platform
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg import __version__
from medseg.volume import Creator, Provenance
from medseg.workflows.record import Record

RUN_KEY = "medseg_run"
"""Where ``layer.metadata`` keeps what made a Labels layer: a `RunRecord`, or a tuple of them."""

_PACKAGES = (
    "medseg",
    "napari",
    "PySide6_Essentials",
    "PyQt6",
    "qtpy",
    "vispy",
    "npe2",
    "numpy",
    "torch",
    "monai",
    "SimpleITK",
    "pydicom",
    "highdicom",
    "nibabel",
)

_LONGEST_NAME = 64  # characters in DICOM's value representation LO

_QUOTED_PATH = re.compile(r"(['\"])(?:[A-Za-z]:)?[/\\].*?\1")
_PATH = re.compile(r"(?<![\w.<])(?:[A-Za-z]:)?[/\\][^\s'\":,;]+(?: [^\s'\":,;]*[/\\][^\s'\":,;]*)*")
_DATA_FILE = re.compile(
    r"[^\s'\"/\\]+\.(?:nii(?:\.gz)?|dcm|ima|nrrd|mha|mhd|zip|json|csv)\b", re.IGNORECASE
)
_NAMED = re.compile(r"\b(layer|folder|file|series|case|patient) (['\"]).*?\2")
_UID = re.compile(r"\b\d+(?:\.\d+){5,}\b")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of a model whose result lies in a layer."""

    record: Record
    crc32: int = 0

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.record.model.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.record.model.version

    @property
    def weights(self) -> str:
        """The model's weights, for a person."""
        return f"sha256 {self.record.model.weights[:16]}"

    @property
    def finished(self) -> str:
        """Local time, ISO 8601 with the offset; empty when not known."""
        ended = self.record.ended
        return dt.datetime.fromisoformat(ended).astimezone().isoformat() if ended else ""


Runs = tuple[RunRecord, ...]


def runs_of(attributes: Mapping[str, Any]) -> Runs:
    """The runs whose results are in a layer, the latest last; none when no model of medseg was."""
    runs = attributes.get("metadata", {}).get(RUN_KEY)
    return (runs,) if isinstance(runs, RunRecord) else tuple(runs or ())


def with_run(data: npt.NDArray[Any], runs: Runs, run: RunRecord, *, drawn: bool) -> Runs:
    """The runs of a layer after the result of one more was merged into it."""
    return (*runs, replace(run, crc32=-1 if drawn else checksum(data)))


def maker_of(data: npt.NDArray[Any], attributes: Mapping[str, Any]) -> Creator:
    """Who drew a Labels layer: a model, a model and a person, or a person."""
    runs = runs_of(attributes)
    if not runs:
        return Creator("manual", "", "")
    kind: Literal["automatic", "semiautomatic"] = (
        "automatic" if checksum(data) == runs[-1].crc32 else "semiautomatic"
    )
    versions = {run.model: run.version for run in runs}
    if len(versions) == 1:
        return Creator(kind, runs[-1].model, f"{runs[-1].version}, medseg {__version__}")
    models = ", ".join(f"{model} {version}" for model, version in versions.items())
    name = " and ".join(versions)
    if len(name) > _LONGEST_NAME:
        name = f"{len(versions)} models"
    return Creator(kind, name, f"{models}, medseg {__version__}"[:_LONGEST_NAME])


def checksum(values: npt.NDArray[Any]) -> int:
    """CRC-32 of label values, whatever their data type; plane by plane, without a copy of all."""
    crc = 0
    for plane in values:
        crc = zlib.crc32(np.ascontiguousarray(plane, np.uint16).data, crc)
    return crc


def run_facts(runs: Runs) -> dict[str, str]:
    """What a person reads of the runs in a layer, by name.

    Parameters
    ----------
    runs : tuple of RunRecord
        None for labels that were drawn, or read from a file.
    """
    if not runs:
        return {"Made by": "hand, another program, or a file: no run of a model is known"}
    run, earlier = runs[-1], runs[:-1]
    record = run.record
    seconds = sum(record.seconds.values())
    facts = {
        "Model": f"{run.model}, version {run.version}",
        "Weights": run.weights,
        "Licence": record.model.licence,
        "Device": record.device,
        "Settings": ", ".join(f"{name} {value}" for name, value in record.settings.items()),
        "Finished": run.finished,
        "Took": f"{seconds:.1f} s" if seconds else "",
        "Program": f"medseg {record.versions.get('medseg', __version__)}",
        "Worth knowing": "; ".join(record.warnings),
        "Before that": "; ".join(
            f"{run.model}, version {run.version}, {run.weights}, {run.finished}" for run in earlier
        ),
    }
    return {name: text for name, text in facts.items() if text}


def source_facts(provenance: Provenance, *, show_uids: bool) -> dict[str, str]:
    """What a person reads of the scan's origin, by name."""
    facts = {"Scan read from": f"{provenance.format}, {_files(len(provenance.files))}"}
    if provenance.series_uid:
        facts["Series UID"] = provenance.series_uid if show_uids else "hidden"
    if provenance.notes:
        facts["Repaired or worth knowing"] = "; ".join(provenance.notes)
    return facts if show_uids else {name: without_patient(text) for name, text in facts.items()}


def bug_report(lines: Iterable[str], *, hidden: Iterable[str] = ()) -> str:
    """Versions and the last log lines, fit to be shown to strangers."""
    versions = [f"- {name} {version}" for name in _PACKAGES if (version := _version(name))]
    log = [without_patient(line, hidden=tuple(hidden)) for line in lines]
    return "\n".join(
        [
            "### Versions",
            f"- Python {platform.python_version()}, {platform.system()} {platform.machine()}",
            *versions,
            "",
            "### Last lines of the log",
            "```",
            *(log or ["(none)"]),
            "```",
        ]
    )


def without_patient(text: str, *, hidden: Iterable[str] = ()) -> str:
    """`text` without paths, names of data files, layers and folders, and DICOM UIDs."""
    for word in sorted(hidden, key=len, reverse=True):
        if word:
            text = text.replace(word, "<hidden>")
    text = _NAMED.sub(r"\1 <hidden>", text)
    text = _QUOTED_PATH.sub(_last_name, text)
    text = _PATH.sub(_last_name, text)
    return _UID.sub("<uid>", _DATA_FILE.sub("<file>", text))


def _last_name(match: re.Match[str]) -> str:
    """The name of a program's file; nothing of another path."""
    name = re.split(r"[/\\]", match.group().strip("'\""))[-1]
    return f"<path> {name}" if name.endswith(".py") else "<path>"


def _files(count: int) -> str:
    return f"{count} file" + ("" if count == 1 else "s")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
