"""What a file format must offer to be read: a file in this folder with these functions.

It may offer `read`, `read_labels` or both; `recognises` is always needed. The file name is the
public name of the format. A file of this folder stands in `medseg.reading.READERS`, in the order of
asking; what the entry points ``medseg.readers`` of installed packages name is asked last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from medseg.reading.policies import Policies
from medseg.reading.segment_selection import SegmentSelection
from medseg.runtime.progress import Progress, silent
from medseg.volume import LabelMap, LabelTable, Scan


class Recogniser(Protocol):
    """Says whether a path is its format."""

    def recognises(self, path: Path) -> bool:
        """Whether `path`, which exists, looks like this format; looks at no more than it must.

        Parameters
        ----------
        path : Path
            A file or a folder.
        """
        ...


class ScanReader(Recogniser, Protocol):
    """A format that holds intensities."""

    def read(self, path: Path, *, series: str | None, progress: Progress) -> Scan:
        """Read a scan.

        Parameters
        ----------
        path : Path
            A path that `recognises` accepts.
        series : str or None
            Which series of a folder; formats with one image per file ignore it.
        progress : Progress
            Called after each step; may raise to cancel.

        Raises
        ------
        ReadError
            When the file is damaged or holds something else.
        GeometryError
            When its voxels cannot be placed in the patient.
        """
        ...


class RepairingReader(ScanReader, Protocol):
    """A format whose volumes may be uneven or incomplete, and can be repaired when asked to."""

    def read_by_policy(
        self, path: Path, *, series: str | None, policies: Policies, progress: Progress
    ) -> Scan:
        """Read a scan, and repair what the user allows.

        Parameters
        ----------
        path : Path
            A path that `recognises` accepts.
        series : str or None
            Which series of a folder.
        policies : Policies
        progress : Progress
            Called after each step; may raise to cancel.

        Returns
        -------
        Scan
            What was repaired stands in its provenance.
        """
        ...


class LabelReader(Recogniser, Protocol):
    """A format that holds label maps."""

    def read_labels(self, path: Path, *, table: LabelTable | None) -> LabelMap:
        """Read a label map.

        Parameters
        ----------
        path : Path
            A path that `recognises` accepts.
        table : LabelTable or None
            What the values mean; None takes what the file says, else "label 1", "label 2"...

        Raises
        ------
        ReadError
            When the file is damaged or holds something else.
        LabelError
            When a value is not a whole number or not in `table`.
        """
        ...


class ChoosingLabelReader(LabelReader, Protocol):
    """A format whose segments may overlap, so that some must be chosen while reading."""

    def read_labels_by_choice(
        self,
        path: Path,
        *,
        table: LabelTable | None,
        choice: SegmentSelection,
        progress: Progress = silent,
    ) -> LabelMap:
        """Read a label map of the segments that are wanted.

        Parameters
        ----------
        path : Path
            A path that `recognises` accepts.
        table : LabelTable or None
        choice : SegmentSelection
            Which segments, and what becomes of voxels that several of them hold.
        progress : Progress
            Called after each step; may raise to cancel.

        Returns
        -------
        LabelMap
            What was decided stands in its provenance.
        """
        ...


class DrawnLabelReader(ChoosingLabelReader, Protocol):
    """A format without voxels, whose structures are drawn on a scan."""

    def read_labels_on(
        self,
        path: Path,
        *,
        scan: Scan,
        table: LabelTable | None,
        choice: SegmentSelection,
        progress: Progress = silent,
    ) -> LabelMap:
        """Read a label map on the grid of a scan.

        Parameters
        ----------
        path : Path
            A path that `recognises` accepts.
        scan : Scan
            What the structures were drawn on.
        table : LabelTable or None
        choice : SegmentSelection
            Which structures, and what becomes of voxels that several of them hold.
        progress : Progress
            Called after each step; may raise to cancel.

        Returns
        -------
        LabelMap
            With the scan's provenance.
        """
        ...
