"""The Study panel: a folder becomes a table of series; one of them becomes a layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QSignalBlocker, Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from medseg_napari.display import commands, setup
from medseg_napari.display.navigation import go_to
from medseg_napari.display_settings import setting
from medseg_napari.editing.active_layers import scan_below
from medseg_napari.editing.saved_layers import is_label_map, mark_saved
from medseg_napari.layers import KEY, LayerTuple
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.form_parts import column, page
from medseg_napari.panels.header import header_of
from medseg_napari.panels.restore_bar import RestoreBar
from medseg_napari.panels.study_form import StudyForm
from medseg_napari.study_rows import (
    description_text,
    foreign_layers,
    is_refused,
    list_entries,
    open_again,
    open_entry,
    openings_of,
    row_of,
)

if TYPE_CHECKING:
    import napari.viewer

    from medseg.discovery.series_list import SeriesEntry


def opened_text(viewer: napari.viewer.Viewer, layer: Any, hidden: int) -> tuple[str, str]:
    """What a person should know of what was opened, and of which kind that is."""
    source = layer.metadata.get(KEY, {})
    parts = [f"opened {layer.name}"]
    if hidden:
        parts.append(f"{hidden} other layer{'s' * (hidden > 1)} hidden")
    if source.get("window") and source["window"] != source["first_limits"]:
        parts.append("the header's window would hide the data, so another one shows; Alt-0 is that")
    if is_label_map(layer) and scan_below(layer, viewer.layers) is None:
        parts.append("its scan is not open: open it too, to see and to correct the labels on it")
    warned = len(parts) > 1 + bool(hidden)
    return "; ".join(parts), "warning" if warned else "info"


def ask_for_folder(parent: QWidget) -> str:
    """The folder a person chooses; empty when they do not."""
    return str(QFileDialog.getExistingDirectory(parent, "Open a study with medseg"))


class StudyPanel(QWidget):  # type: ignore[misc]
    """Lists what a folder holds and opens what is chosen, both off the GUI thread."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.header = header_of(viewer)
        self.form = StudyForm()
        self.job = self.form.job
        self.entries: tuple[SeriesEntry, ...] = ()
        self.ask: Callable[[QWidget], str] = ask_for_folder
        self.autosave = autosave_of(viewer)
        self.restore = RestoreBar(viewer, self.autosave)
        inside = QWidget()
        column(inside, self.restore, self.form)
        page(self, inside, self.form.footer)
        self.setAcceptDrops(True)
        setup.install(viewer)
        self._connect()
        self._on_layers()
        self.form.neurological.setChecked(setting("display", "convention") == "neurological")
        self.restore.refresh()

    def open_study(self, path: str | Path) -> None:
        """Look for scans in a folder, an archive or a file, and list them."""
        path = Path(path)
        if self.form.job.busy:
            self.form.job.show_message("one thing at a time: press Cancel first", kind="warning")
            return
        self._list(())
        self.form.source.setText(path.name)
        self.form.source.setToolTip(str(path))
        self.form.job.start(functools.partial(list_entries, path), self._list)

    def open_series(self) -> None:
        """Open the chosen series in the way that is chosen, or say why it cannot be."""
        entry, opening = self._entry(), self.form.opening.currentData()
        if entry is None or self.form.job.busy:
            return
        if opening is None:
            self.form.job.show_message(description_text(entry), kind="error")
            return
        self.form.job.start(functools.partial(open_entry, entry, opening), self._add)

    def open_at_once(self, *_cell: int) -> None:
        """Open the chosen series by double click or Enter, unless that would change its voxels."""
        opening = self.form.opening.currentData()
        if opening is not None and opening.changes:
            text = f"this opens it {opening.text}; press Open series to do so"
            self.form.job.show_message(text, kind="warning")
            return
        self.open_series()

    def reopen_foreign_layers(self) -> None:
        """Open the files of layers that other plugins opened again, with medseg."""
        paths = [path for _, path in foreign_layers(self.viewer.layers)]
        if paths and not self.form.job.busy:
            self.form.job.start(functools.partial(open_again, paths), self._add)

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
            self.open_at_once()
            return True
        return bool(super().eventFilter(watched, event))

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.form.job.stop()
        for emitter in self._layer_events():
            emitter.disconnect(self._on_layers)
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.browse.clicked.connect(self._browse)
        form.open.clicked.connect(self.open_series)
        form.reopen.clicked.connect(self.reopen_foreign_layers)
        form.time_point.clicked.connect(lambda _on=False: commands.take_time_point(self.viewer))
        form.table.itemSelectionChanged.connect(self._on_selected)
        form.table.cellDoubleClicked.connect(self.open_at_once)
        form.table.installEventFilter(self)
        form.neurological.toggled.connect(self._on_convention)
        self.restore.message.connect(lambda text, kind: form.job.show_message(text, kind=kind))
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
        self.form.show_rows(
            [row_of(entry) for entry in entries], [is_refused(entry) for entry in entries]
        )
        if entries:
            self.form.table.selectRow(0)
            self.form.table.setFocus()
        self._on_selected()

    def _entry(self) -> SeriesEntry | None:
        row = self.form.table.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def _on_selected(self) -> None:
        entry = self._entry()
        self.form.show_openings(openings_of(entry) if entry else ())
        self.form.detail.setText(description_text(entry) if entry else "")
        self.form.detail.setVisible(bool(self.form.detail.text()))

    def _add(self, layers: list[LayerTuple]) -> None:
        from napari.layers import Layer

        added = []
        for data, attributes, kind in layers:
            if kind == "labels":
                mark_saved(data, attributes)
            added.append(self.viewer.add_layer(Layer.create(data, attributes, kind)))
        if added:
            hidden = go_to(self.viewer, added[0])
            text, kind = opened_text(self.viewer, added[0], hidden)
            self.form.job.show_message(text, kind=kind)

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

    def _on_convention(self, checked: bool) -> None:
        if checked != (setting("display", "convention") == "neurological"):
            commands.switch_convention(self.viewer)
        now = setting("display", "convention") == "neurological"
        if now != checked:
            blocker = QSignalBlocker(self.form.neurological)
            self.form.neurological.setChecked(now)
            blocker.unblock()
