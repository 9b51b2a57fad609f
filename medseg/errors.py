"""The one tree of errors: what was wrong, its value, where, and what to try.

::

    MedsegError
    ├── InputError            something given to medseg cannot be used
    │   ├── ReadError         a file or folder cannot be read as a scan or label map
    │   ├── SelectionError    a folder holds several series; one has to be chosen
    │   ├── GeometryError     voxels cannot be placed in the patient, or two grids differ
    │   ├── LabelError        a label value, name or table does not fit
    │   └── PlanError         a plan, manifest or setting does not decode
    ├── PackageError          a model package is incomplete, altered or unknown
    ├── WriteError            an output could not be written; nothing was left behind
    └── Cancelled             the person (or the scheduler) asked to stop
"""

from __future__ import annotations


class MedsegError(Exception):
    """Root of every error medseg raises on purpose.

    Parameters
    ----------
    message : str
        One sentence for the person at the screen: what was wrong, its value, where, what to try.
    code : str, optional
        Short upper-case word for machines (``"IRREGULAR"``, ``"CHECKSUM"``). The class default
        is used when it is not given.
    """

    default_code = "ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class InputError(MedsegError):
    """Something given to medseg cannot be used."""

    default_code = "INPUT"


class ReadError(InputError):
    """A file or folder cannot be read as a scan or a label map."""

    default_code = "UNREADABLE"


class SelectionError(InputError):
    """A folder holds several series and the choice between them is the user's."""

    default_code = "NEEDS_SELECTION"


class GeometryError(InputError):
    """Voxels cannot be placed in the patient, or two grids are not the same."""

    default_code = "GEOMETRY"


class LabelError(InputError):
    """A label value, name or table does not fit."""

    default_code = "LABEL"


class PlanError(InputError):
    """A plan, manifest or setting does not decode, or asks for the impossible."""

    default_code = "PLAN"


class PackageError(MedsegError):
    """A model package is incomplete, altered or unknown."""

    default_code = "PACKAGE"


class WriteError(MedsegError):
    """An output could not be written; nothing half-written was left behind."""

    default_code = "WRITE"


class Cancelled(MedsegError):  # noqa: N818 - it is a decision, not a fault
    """The person, or the scheduler, asked to stop."""

    default_code = "CANCELLED"


def reason(error: BaseException) -> str:
    """The first line of what another's code says went wrong, to be put into one sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
