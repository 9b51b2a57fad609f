"""What may be chosen when a model of nnU-Net is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What may be chosen of what lies in a folder.

    Parameters
    ----------
    name : str
        Of the model; its dataset's where there is none.
    configuration : str
        One of several.
    folds : tuple of str
        Of those that were trained; all when empty.
    axes : str
        Orientation of arrays, where the plans' reader does not say all.
    """

    name: str = ""
    configuration: str = ""
    folds: tuple[str, ...] = ()
    axes: str = ""
