"""What a dataset was opened from, kept in a run so that it can be taken up again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from medseg.training.case_folder import Status


class DatasetSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of :func:`medseg.training.open_dataset`.

    Parameters
    ----------
    path : str
    splits, labels : str or None
        Files given in place of the folder's own.
    modality : str or None
        Given in place of the folder's own.
    status : {"raw", "draft", "reviewed"}
        The least a case was checked.
    """

    path: str
    splits: str | None = None
    labels: str | None = None
    modality: str | None = None
    status: Status = "reviewed"


def source_of(
    root: Path, *, splits: object, labels: object, modality: str | None, status: Status
) -> DatasetSource | None:
    """What to write down; None when the labels were given as an object, which no file holds.

    Parameters
    ----------
    root : Path
    splits, labels : object
        Paths, or None.
    modality : str or None
    status : {"raw", "draft", "reviewed"}
    """
    if labels is not None and not isinstance(labels, str | Path):
        return None
    return DatasetSource(
        path=str(root.resolve()),
        splits=_absolute(splits),
        labels=_absolute(labels),
        modality=modality,
        status=status,
    )


def _absolute(path: object) -> str | None:
    return None if path is None else str(Path(str(path)).resolve())
