"""The header of the dock: what all tabs work on, and how the viewer shows it."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from medseg_napari.display.window_level import (
    AUTO,
    PRESETS,
    show_auto,
    show_first_window,
    show_preset,
)
from medseg_napari.editing.active_layers import active_layers_of, lies_on
from medseg_napari.editing.saved_layers import seems_unsaved
from medseg_napari.layers import UNKNOWN_PLACE, is_foreign
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.form_parts import (
    button,
    connect_planes,
    narrow_combo,
    plane_buttons,
    row,
    wrapped_label,
)
from medseg_napari.panels.layer_combo import ActiveLayerCombo
from medseg_napari.panels.looks import message_color
from medseg_napari.panels.saving import saver_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

AS_DICOM = "as DICOM asks"
_headers: weakref.WeakKeyDictionary[ViewerModel, weakref.ref[Header]] = weakref.WeakKeyDictionary()


def header_of(viewer: ViewerModel) -> Header:
    """The header of a viewer, made on first use; its dock or the panels keep it."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes plugins a proxy
    reference = _headers.get(viewer)
    header = reference() if reference is not None else None
    if header is None:
        header = Header(viewer)
        _headers[viewer] = weakref.ref(header)
    return header


class Header(QWidget):  # type: ignore[misc]
    """The active scan and label map, View, Window and Save."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = viewer
        self.active = active_layers_of(viewer)
        self.scans = ActiveLayerCombo(viewer, "scan")
        self.scans.setToolTip("The scan that all tabs work on; the layer list follows")
        self.labels = ActiveLayerCombo(viewer, "labels")
        self.labels.setToolTip("The label map that all tabs and commands work on")
        self.planes = plane_buttons()
        self.window = narrow_combo("Window of the scan; or drag with the right button")
        self.window.addItems([AUTO, AS_DICOM, *PRESETS])
        self.window.setPlaceholderText("Window")
        self.window.setCurrentIndex(-1)
        self.save = button("Save")
        self.note = wrapped_label()
        self.saver, self.autosave = saver_of(viewer), autosave_of(viewer)
        self._lay_out()
        self._connect()
        self._show_unsaved()
        self._show_note()

    def forget(self) -> None:
        """Stop following the viewer."""
        self.scans.forget()
        self.labels.forget()
        self.active.events.changed.disconnect(self._on_changed)
        _headers.pop(self.viewer, None)

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(6, 4, 6, 2)
        grid.setSpacing(4)
        for line, (text, combo) in enumerate((("Scan", self.scans), ("Labels", self.labels))):
            label = QLabel(text)
            label.setBuddy(combo)
            grid.addWidget(label, line, 0)
            grid.addWidget(combo, line, 1, 1, 1 if line else 2)
        grid.addWidget(self.save, 1, 2)
        grid.addWidget(row(*self.planes.values(), self.window), 2, 0, 1, 3)
        grid.addWidget(self.note, 3, 0, 1, 3)
        grid.setColumnStretch(1, 1)

    def _connect(self) -> None:
        connect_planes(self.planes, self.viewer)
        self.window.textActivated.connect(self._show_window)
        self.save.clicked.connect(lambda _on=False: self.saver.save(self.active.labels))
        self.saver.saved.connect(self._show_unsaved)
        self.autosave.changed.connect(self._show_unsaved)
        self.active.events.changed.connect(self._on_changed)

    def _on_changed(self, _event: Any = None) -> None:
        """Say what is so of other layers, when all have heard of them."""
        QTimer.singleShot(0, self, self._show_unsaved)
        QTimer.singleShot(0, self, self._show_note)

    def _show_note(self) -> None:
        """Say as long as it is so that nobody knows where left and right are."""
        scan, labels = self.active.scan, self.active.labels
        foreign = [layer.name for layer in (scan,) if layer is not None and is_foreign(layer)]
        if labels is not None and (scan is None or not lies_on(labels, scan)):
            foreign += [labels.name] if is_foreign(labels) else []
        self.note.setVisible(bool(foreign))
        self.note.setToolTip(UNKNOWN_PLACE)
        self.note.setStyleSheet(f"color: {message_color('warning')};")
        self.note.setText(
            f"\N{WARNING SIGN} '{foreign[0]}' was not opened with medseg: left and right are not"
            " known, so there are no letters"
            if foreign
            else ""
        )

    def _show_unsaved(self, _event: Any = None) -> None:
        """Mark Save while the label map holds what is in no file."""
        layer = self.active.labels
        unsaved = layer is not None and seems_unsaved(layer)
        self.save.setText("Save *" if unsaved else "Save")
        state = "not saved yet" if unsaved else "saved" if layer is not None else "no labels"
        self.save.setToolTip(f"Write the labels onto the grid of their scan (Ctrl+S); {state}")

    def _show_window(self, name: str) -> None:
        self.window.setCurrentIndex(-1)
        ways = {AUTO: show_auto, AS_DICOM: show_first_window}
        text = ways[name](self.viewer) if name in ways else show_preset(self.viewer, name)
        self.saver.message.emit(text, "warning" if text else "info")
