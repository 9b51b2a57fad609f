"""The Study panel: a folder becomes a table of series; one of them becomes a layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QSignalBlocker, Qt
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from medseg_napari.display import commands, setup
from medseg_napari.display.window_level import show_first_window, show_preset
from medseg_napari.display_settings import setting
from medseg_napari.editing.saved_layers import mark_saved
from medseg_napari.layers import KEY, LayerTuple
from medseg_napari.panels.autosave import keeper_of
from medseg_napari.panels.restore_bar import RestoreBar
from medseg_napari.panels.study_form import AS_DICOM, StudyForm
from medseg_napari.study_rows import (
    entries_of,
    foreign_layers,
    is_refused,
    open_again,
    open_entry,
    openings_of,
    row_of,
    sentence_of,
)

if TYPE_CHECKING:
    import napari.viewer

    from medseg.discovery.series_list import SeriesEntry


def ask_for_folder(parent: QWidget) -> str:
    """The folder a person chooses; empty when they do not."""
    return str(QFileDialog.getExistingDirectory(parent, "Open a study with medseg"))


class StudyPanel(QWidget):  # type: ignore[misc]
    """Lists what a folder holds and opens what is chosen, both off the GUI thread.

    Attributes
    ----------
    form : StudyForm
        The visible parts.
    entries : tuple of SeriesEntry
        The rows of the table.
    ask : callable
        Asks for a folder.
    keeper : AutosaveKeeper
        Keeps unsaved labels of the viewer; other panels have the same.
    restore : RestoreBar
        Offers those of a session that crashed.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.form = StudyForm()
        self.entries: tuple[SeriesEntry, ...] = ()
        self.ask: Callable[[QWidget], str] = ask_for_folder
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.keeper = keeper_of(viewer)
        self.restore = RestoreBar(viewer, self.keeper)
        column.addWidget(self.restore)
        column.addWidget(self.form)
        self.setAcceptDrops(True)
        setup.install(viewer)
        self._connect()
        self._on_layers()
        self.form.neurological.setChecked(setting("display", "convention") == "neurological")
        self.restore.look()

    def open_study(self, path: str | Path) -> None:
        """Look for scans in a folder, an archive or a file, and list them."""
        place = Path(path)
        if self.form.activity.busy:
            self.form.activity.say("one thing at a time: press Cancel first", kind="warning")
            return
        self._list(())
        self.form.place.setText(place.name)
        self.form.place.setToolTip(str(place))
        self.form.activity.start(functools.partial(entries_of, place), self._list)

    def open_series(self) -> None:
        """Open the chosen series in the way that is chosen, or say why it cannot be."""
        entry, opening = self._chosen(), self.form.opening.currentData()
        if entry is None or self.form.activity.busy:
            return
        if opening is None:
            self.form.activity.say(sentence_of(entry), kind="error")
            return
        self.form.activity.start(functools.partial(open_entry, entry, opening), self._add)

    def reopen_strangers(self) -> None:
        """Open the files of layers that other plugins opened again, with medseg."""
        paths = [path for _, path in foreign_layers(self.viewer.layers)]
        if paths and not self.form.activity.busy:
            self.form.activity.start(functools.partial(open_again, paths), self._add)

    def dragEnterEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take files and folders."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Look into the first of what was dropped."""
        event.acceptProposedAction()
        self.open_study(event.mimeData().urls()[0].toLocalFile())

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802 - Qt's name
        """Enter in the table opens the series."""
        if event.type() == QEvent.Type.KeyPress and event.key() in (
            Qt.Key.Key_Return,
            Qt.Key.Key_Enter,
        ):
            self.open_series()
            return True
        return bool(super().eventFilter(watched, event))

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.form.activity.stop()
        for emitter in self._layer_events():
            emitter.disconnect(self._on_layers)
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.browse.clicked.connect(self._browse)
        form.open.clicked.connect(self.open_series)
        form.reopen.clicked.connect(self.reopen_strangers)
        form.time_point.clicked.connect(self._take_time_point)
        form.table.itemSelectionChanged.connect(self._on_chosen)
        form.table.cellDoubleClicked.connect(self._on_double_click)
        form.table.installEventFilter(self)
        form.window.textActivated.connect(self._show_window)
        form.neurological.toggled.connect(self._on_convention)
        self.restore.told.connect(lambda words, kind: form.activity.say(words, kind=kind))
        for plane in commands.PLANES:
            form.planes[plane].clicked.connect(functools.partial(self._show_plane, plane))
        form.planes["3-D"].clicked.connect(self._show_3d)
        for emitter in self._layer_events():
            emitter.connect(self._on_layers)

    def _layer_events(self) -> tuple[Any, ...]:
        layers = self.viewer.layers
        return layers.events.inserted, layers.events.removed, layers.selection.events.active

    def _browse(self) -> None:
        folder = self.ask(self)
        if folder:
            self.open_study(folder)

    def _list(self, entries: tuple[SeriesEntry, ...]) -> None:
        self.entries = entries
        self.form.show_rows([row_of(one) for one in entries], [is_refused(one) for one in entries])
        if entries:
            self.form.table.selectRow(0)
            self.form.table.setFocus()
        self._on_chosen()

    def _chosen(self) -> SeriesEntry | None:
        row = self.form.table.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def _on_chosen(self) -> None:
        entry = self._chosen()
        self.form.show_openings(openings_of(entry) if entry else ())
        self.form.detail.setText(sentence_of(entry) if entry else "")
        self.form.detail.setVisible(bool(self.form.detail.text()))

    def _on_double_click(self, _row: int, _column: int) -> None:
        self.open_series()

    def _add(self, layers: list[LayerTuple]) -> None:
        from napari.layers import Layer

        for data, attributes, kind in layers:
            if kind == "labels":
                mark_saved(data, attributes)
            self.viewer.add_layer(Layer.create(data, attributes, kind))
        self.form.activity.say(f"opened {layers[0][1]['name']}" if layers else "")

    def _on_layers(self, _event: Any = None) -> None:
        """Offer what the layers that are there allow."""
        count = len(foreign_layers(self.viewer.layers))
        self.form.reopen.setText(f"Re-open {count} layer{'s' * (count > 1)} with medseg")
        self.form.reopen.setToolTip(
            "They were opened by another plugin, which does not say where the patient's left is"
        )
        self.form.reopen.setVisible(count > 0)
        active = self.viewer.layers.selection.active
        timed = active is not None and active.metadata.get(KEY, {}).get("lead") == "T"
        self.form.time_point.setVisible(timed)

    def _show_window(self, name: str) -> None:
        viewer = self.viewer
        self.form.window.setCurrentIndex(-1)
        words = show_first_window(viewer) if name == AS_DICOM else show_preset(viewer, name)
        self.form.activity.say(words, kind="warning" if words else "info")

    def _on_convention(self, checked: bool) -> None:
        if checked != (setting("display", "convention") == "neurological"):
            commands.switch_convention(self.viewer)
        now = setting("display", "convention") == "neurological"
        if now != checked:
            blocker = QSignalBlocker(self.form.neurological)
            self.form.neurological.setChecked(now)
            blocker.unblock()

    def _take_time_point(self) -> None:
        commands.take_time_point(self.viewer)

    def _show_plane(self, plane: str, _checked: bool = False) -> None:
        commands.show_plane(self.viewer, plane)

    def _show_3d(self, _checked: bool = False) -> None:
        commands.front_3d(self.viewer)
