"""Save: a label map onto the grid of its scan, by a button, Ctrl+S, or as the window closes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from medseg.errors import MedsegError, WriteError
from medseg.runtime.progress import Progress, silent
from medseg_napari.editing.saved_layers import mark_saved, strokes_of
from medseg_napari.export.collect import provenance_of, stem_for
from medseg_napari.jobs import Done, Event, Failed, is_last
from medseg_napari.layers import adopt, attributes_of, source_of
from medseg_napari.workers import JobRunner
from medseg_napari.writer import with_ending, write_placed

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

_SAVED_TO = "medseg_saved_to"
_FILTERS = {
    "NIfTI (*.nii.gz *.nii)": ".nii.gz",
    "DICOM SEG (*.dcm)": ".dcm",
    "3D Slicer (*.seg.nrrd)": ".seg.nrrd",
    "MetaImage (*.mha)": ".mha",
    "All files (*)": ".nii.gz",
}
_savers: weakref.WeakKeyDictionary[ViewerModel, Saver] = weakref.WeakKeyDictionary()


def saver_of(viewer: ViewerModel) -> Saver:
    """The one that saves the label maps of a viewer, made on first use."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes plugins a proxy
    if viewer not in _savers:
        _savers[viewer] = Saver(viewer)
    return _savers[viewer]


def ask_for_file(suggested: Path) -> Path | None:
    """The file a person chooses; one without an ending gets that of the chosen kind."""
    name, kind = QFileDialog.getSaveFileName(
        None, "Save labels on the grid of their scan", str(suggested), ";;".join(_FILTERS)
    )
    if not name:
        return None
    typed = Path(name)
    path = with_ending(typed, _FILTERS.get(kind, ".nii.gz"))
    if path != typed and path.exists():
        raise WriteError(
            f"'{path.name}' is there already; choose it by its whole name to replace it"
        )
    return path


@dataclass(frozen=True, eq=False)
class _Saving:
    """A label map as it was when Save was pressed."""

    layer: Labels
    data: npt.NDArray[Any]
    attributes: dict[str, Any]
    strokes: int
    path: Path

    def write(self, progress: Progress) -> Path:
        """Write the file."""
        progress(0, 1, f"saving {self.path.name}")
        return write_placed(self.data, self.attributes, self.path)

    def mark(self) -> None:
        """Remember that it is in its file."""
        mark_saved(self.data, {"metadata": self.layer.metadata}, strokes=self.strokes)
        self.layer.metadata[_SAVED_TO] = str(self.path)


class Saver(QObject):  # type: ignore[misc]
    """Asks for the file of a label map the first time, and writes it off the GUI thread.

    `message` is emitted with a sentence and its kind; `saved` when a label map lies in its file.
    """

    message = Signal(str, str)
    saved = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._saving: _Saving | None = None
        self._runner = JobRunner(self)
        self._runner.event.connect(self._on_event)
        self.ask: Callable[[Path], Path | None] = ask_for_file

    def save(self, layer: Labels | None) -> None:
        """Write a label map into its file, which is asked for the first time."""
        if layer is None:
            self.message.emit("there are no labels to save; make or open some first", "warning")
        elif self._saving is None:
            self._saving = self._prepared(layer)
            if self._saving is not None:
                self.message.emit(f"saving '{layer.name}' ...", "info")
                self._runner.start(self._saving.write)

    def save_now(self, layer: Labels) -> bool:
        """As :meth:`save`, before anything else happens; whether the label map is in its file."""
        saving = self._prepared(layer)
        if saving is None:
            return False
        try:
            saving.write(silent)
        except MedsegError as error:
            self.message.emit(str(error), "error")
            return False
        saving.mark()
        self.saved.emit()
        return True

    def _prepared(self, layer: Labels) -> _Saving | None:
        """The label map and where it goes; None when the person chose no file."""
        data, attributes, _ = layer.as_layer_data_tuple()
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else ()
        others = [(other.data, attributes_of(other)) for other in layers if other is not layer]
        if source_of(data, attributes) is None:
            attributes = adopt(data, attributes, others)
        before = layer.metadata.get(_SAVED_TO)
        try:
            path = Path(before) if before else self.ask(_suggested(layer, (data, attributes)))
        except WriteError as error:
            self.message.emit(str(error), "error")
            return None
        if path is None:
            return None
        return _Saving(layer, np.array(data), attributes, strokes_of(layer), path)

    def _on_event(self, event: Event) -> None:
        saving = self._saving
        if isinstance(event, Failed):
            self.message.emit(event.message, "error")
        elif isinstance(event, Done) and saving is not None:
            saving.mark()
            self.message.emit(f"written to {event.result}", "info")
            self.saved.emit()
        if is_last(event):
            self._saving = None


def _suggested(layer: Labels, labels: tuple[npt.NDArray[Any], dict[str, Any]]) -> Path:
    """The file that labels were read from, or one beside their scan."""
    opened = Path(layer.source.path or "")
    if opened.is_file() and with_ending(opened) == opened:
        return opened
    source = provenance_of(labels, [])
    folder = source.files[0].parent if source.files else Path.home()
    if source.format == "dicom":
        folder = folder.parent
    return folder / f"{stem_for(source)}.nii.gz"
