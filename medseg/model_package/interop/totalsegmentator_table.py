"""What TotalSegmentator's weights do not say: a table of its tasks, and who may use them.

The table (``totalsegmentator.json``) holds facts of TotalSegmentator 2.18 (Wasserthal et al.,
Radiology: AI 5, 2023; Apache-2.0): which datasets make a task, what it resamples to, where it
looks, what its labels are called, and which tasks need a licence. An id has other labels in
``total`` than in ``total_v3``: labels come by the number of a dataset, never by their place.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import msgspec

from medseg.errors import PackageError

LICENSED = "licensed"
LICENCES = {
    "": "Apache-2.0",
    "CC BY-NC": "CC BY-NC, not for commercial use",
    LICENSED: "TotalSegmentator's own: free for non-commercial use, with a licence number",
}
_KEY_LENGTH = 18
_OWN = re.compile(r"Dataset(\d{3})_\w*\d+subj")
NO_KEY = (
    "needs the licence of its owner, whose number (license_number) is not in config.json; get one"
    " with totalseg_set_license"
)
"""Why a task is refused."""


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the table.

    Parameters
    ----------
    labels : str
        Row of the table of labels.
    ids : tuple of int
        Numbers of the datasets that make it; several are its parts.
    spacing_mm : tuple of float or None
        Along R, A, S, to which scans are resampled first; None: as nnU-Net's plans say.
    crop : tuple of str
        Labels around which it looks.
    margin_mm : float
    crop_by : str
        Task that finds them.
    configuration : str
        Of nnU-Net.
    licence : {"", "CC BY-NC", "licensed"}
    """

    labels: str
    ids: tuple[int, ...]
    spacing_mm: tuple[float, float, float] | None = None
    crop: tuple[str, ...] = ()
    margin_mm: float = 0.0
    crop_by: str = ""
    configuration: str = "3d_fullres"
    licence: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table.

    Parameters
    ----------
    tasks : dict of str to Task
    labels : dict of str to list of str
        Names of values 1, 2...
    parts : dict of str to list of str
        The same, by the number of a dataset that is part of a task.
    """

    tasks: dict[str, Task]
    labels: dict[str, list[str]]
    parts: dict[str, list[str]]


@functools.cache
def table() -> Table:
    """The table of tasks."""
    return msgspec.json.decode(
        Path(__file__).with_name("totalsegmentator.json").read_bytes(), type=Table
    )


def has_key(root: Path) -> bool:
    """Whether the owner of this folder has set a licence number, as TotalSegmentator does.

    Parameters
    ----------
    root : Path
        ``~/.totalsegmentator``, which holds ``config.json``.
    """
    try:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and len(str(config.get("license_number", ""))) == _KEY_LENGTH


def check_licence(dataset: str, folder: Path) -> None:
    """Refuse weights of a licensed task to whom its owner gave no licence number.

    The number is looked for in the folders that hold the weights and in ``~/.totalsegmentator``.

    Parameters
    ----------
    dataset : str
        Those of TotalSegmentator are known by their number and by the count of subjects in their
        names, such as ``Dataset303_face_1559subj``.
    folder : Path
        Of the weights.

    Raises
    ------
    PackageError
        When there is no number.
    """
    named = _OWN.match(dataset)
    if named is None:
        return
    number = int(named[1])
    tasks = [name for name, row in table().tasks.items() if number in row.ids]
    licensed = [name for name in tasks if table().tasks[name].licence == LICENSED]
    places = (*folder.resolve().parents, Path.home() / ".totalsegmentator")
    if licensed and not any(map(has_key, places)):
        raise PackageError(
            f"'{dataset}' is of TotalSegmentator's task {licensed[0]}, which {NO_KEY}",
            code="LICENCE",
        )
