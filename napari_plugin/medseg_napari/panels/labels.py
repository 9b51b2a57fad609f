"""The Labels panel: the labels of a label map, tools that correct them, names and codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QTabWidget, QWidget

from medseg.errors import MedsegError
from medseg_napari.display import overlays
from medseg_napari.display.navigation import centre_on, step_to_slice, stepped_axis
from medseg_napari.editing import label_tables
from medseg_napari.editing.label_locks import LockGuard
from medseg_napari.editing.targets import statistics_of
from medseg_napari.layers import FOREIGN, KEY, UNKNOWN_PLACE, provenance_of
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.edit_tools import EditTools
from medseg_napari.panels.form_parts import column, page, pause_timer
from medseg_napari.panels.header import header_of
from medseg_napari.panels.labels_form import LabelsForm
from medseg_napari.panels.restore_bar import RestoreBar
from medseg_napari.panels.schema_editor import SchemaEditor
from medseg_napari.workers import call_in_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import napari.viewer
    from napari.layers import Labels

    from medseg.editing import LabelStatistics
    from medseg.volume import LabelTable

_SMALL_VOXELS = 8_000_000
"""Up to here volumes are measured at once; larger label maps in another thread."""
_PAUSE_MS = 250


class LabelsPanel(QWidget):  # type: ignore[misc]
    """Lists, shows, locks and corrects the labels of the chosen Labels layer."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.header = header_of(viewer)
        self.form = LabelsForm(self.header.labels)
        self.job = self.form.job
        self.schema = SchemaEditor()
        make_labels = functools.partial(self._guarded, self._new_layer)
        self.tools = EditTools(viewer, self.form, self.refresh, make_labels)
        self.autosave = autosave_of(viewer)
        self.restore = RestoreBar(viewer, self.autosave)
        self.statistics: Mapping[int, LabelStatistics] = {}
        self.ask_color: Callable[[QColor], QColor] = lambda color: QColorDialog.getColor(
            color, self, "Colour of the organ"
        )
        self._layer: Labels | None = None
        self._guards: dict[int, LockGuard] = {}
        self._measuring = False
        self._last_view: object = None
        self._pause = pause_timer(self, _PAUSE_MS, self.measure)
        self._lay_out()
        self._connect()
        overlays.install(viewer)
        self._on_layer()
        self.restore.refresh()

    def refresh(self) -> None:
        """Fill the list again and measure soon."""
        layer = self._layer
        if layer is None:
            return
        self.form.label_list.show_table(
            label_tables.table_of(layer),
            label_tables.visibility_of(layer),
            int(layer.selected_label),
        )
        self.form.label_list.search(self.form.search.text())
        self._show_statistics()
        self._pause.start()

    def measure(self) -> None:
        """Measure volumes; of a large label map in another thread."""
        layer = self._layer
        if layer is None or layer.data.ndim != 3 or self._measuring:
            return
        if layer.data.size <= _SMALL_VOXELS:
            self._on_measured((layer, statistics_of(layer)))
            return
        self._measuring = True
        call_in_worker(_measured, layer, then=self._on_measured)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Be as wide as the parts need, which is known now that the window has its style."""
        bar_px = self._area.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(self._area.widget().minimumSizeHint().width() + bar_px)
        super().showEvent(event)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer."""
        self.release()
        super().closeEvent(event)

    def release(self) -> None:
        """Stop following the viewer and its layers; what is unsaved stays kept."""
        self._pause.stop()
        self.tools.put_down()
        self.form.job.stop()
        self._leave_layer()
        self.form.layers.currentIndexChanged.disconnect(self._on_layer)
        for guard in self._guards.values():
            guard.release()
        self._guards.clear()
        self.viewer.dims.events.order.disconnect(self._show_statistics)
        self.viewer.layers.events.removed.disconnect(self._on_removed)

    def _lay_out(self) -> None:
        tabs = QTabWidget()
        tabs.addTab(self.form, "Organs")
        tabs.addTab(self.schema, "Names and codes")
        inside = QWidget()
        column(inside, self.restore, tabs)
        self._area = page(self, inside, self.form.job)

    def _connect(self) -> None:
        form, table = self.form, self.form.label_list
        form.layers.currentIndexChanged.connect(self._on_layer)
        form.search.textChanged.connect(table.search)
        form.opacity.valueChanged.connect(self._on_opacity)
        table.selected.connect(self._on_row)
        table.visibility_changed.connect(self._on_shown)
        table.lock_changed.connect(self._on_locked)
        table.renamed.connect(self._on_renamed)
        actions = {
            "New labels": self._new_layer,
            "Add": self._add,
            "Remove": self._remove,
            "Colour...": self._recolour,
            "Solo": self._solo,
            "Centre": self._centre,
            "< Slice": lambda: self._step(-1),
            "Slice >": lambda: self._step(1),
            "Undo": lambda: self._history("undo"),
            "Redo": lambda: self._history("redo"),
        }
        for text, action in actions.items():
            form.buttons[text].clicked.connect(lambda _on=False, do=action: self._guarded(do))
        self.schema.applied.connect(self._on_schema)
        self.viewer.dims.events.order.connect(self._show_statistics)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self.restore.message.connect(lambda text, kind: form.job.show_message(text, kind=kind))

    def _on_layer(self, _row: int = -1) -> None:
        layer = self.form.layers.layer()
        if layer is self._layer:
            return
        self.tools.put_down()
        self._leave_layer()
        if layer is None or layer.data.ndim != 3 or not self._adopt(layer):
            self.form.label_list.setRowCount(0)
            if layer is None or layer.data.ndim != 3:
                text = "" if layer is None else f"layer '{layer.name}' is not a volume"
                self.form.job.show_message(text)
            return
        self._layer = layer
        layer.events.paint.connect(self._on_paint)
        layer.events.selected_label.connect(self._on_selected)
        layer.events.set_data.connect(self._on_redrawn)
        if id(layer) not in self._guards:
            self._guards[id(layer)] = LockGuard(layer, _at_leisure)
        layer.events.opacity.connect(self._on_layer_opacity)
        self._on_layer_opacity()
        self._select_named(layer)
        self.schema.show_table(label_tables.table_of(layer))
        foreign = provenance_of(layer.metadata[KEY]).format == FOREIGN.format
        text = UNKNOWN_PLACE if foreign else ""
        self.form.job.show_message(text, kind="warning" if text else "info")
        self.refresh()

    def _adopt(self, layer: Labels) -> bool:
        """Give a layer place and names; False, and why, where it cannot be worked on."""
        self.statistics = statistics_of(layer) if layer.data.size <= _SMALL_VOXELS else {}
        try:
            label_tables.adopt_layer(layer, self.viewer.layers, self.statistics)
        except MedsegError as error:
            self.job.show_message(str(error), kind="error")
            return False
        return True

    def _leave_layer(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None:
            layer.events.paint.disconnect(self._on_paint)
            layer.events.set_data.disconnect(self._on_redrawn)
            layer.events.selected_label.disconnect(self._on_selected)
            layer.events.opacity.disconnect(self._on_layer_opacity)

    def _select_named(self, layer: Labels) -> None:
        """Make a label of the table the active one."""
        values = label_tables.table_of(layer).values
        if values and int(layer.selected_label) not in values:
            layer.selected_label = values[0]

    def _on_removed(self, event: Any) -> None:
        guard = self._guards.pop(id(event.value), None)
        if guard is not None:
            guard.release()

    def _new_layer(self) -> None:
        scan = self.header.active.scan
        if scan is None or scan.data.ndim != 3 or scan.rgb:
            self.form.job.show_message(
                "open a scan first; the new labels lie on its voxels", kind="warning"
            )
            return
        self.viewer.add_layer(label_tables.new_layer(scan))

    def _on_row(self, value: int) -> None:
        if self._layer is None:
            return
        self._layer.selected_label = value
        if self.form.buttons["Solo"].isChecked():
            label_tables.set_solo(self._layer, value)

    def _on_selected(self, _event: Any = None) -> None:
        if self._layer is not None:
            self.form.label_list.select(int(self._layer.selected_label))

    def _on_shown(self, value: int, visible: bool) -> None:
        if self._layer is not None:
            label_tables.set_visible(self._layer, value, visible)

    def _on_locked(self, value: int, locked: bool) -> None:
        if self._layer is not None:
            label_tables.set_locked(self._layer, value, locked)

    def _on_renamed(self, value: int, name: str) -> None:
        if self._layer is None:
            return
        with self._errors_shown():
            label_tables.edit_label(self._layer, value, name=name)
        self._table_changed()

    def _on_opacity(self, percent: int) -> None:
        if self._layer is not None:
            self._layer.opacity = percent / 100

    def _on_layer_opacity(self, _event: Any = None) -> None:
        if self._layer is not None:
            self.form.show_opacity(self._layer.opacity)

    def _add(self) -> None:
        if self._layer is None:
            self._new_layer()
            return
        added = label_tables.add_label(self._layer, also_used=self.statistics)
        self._layer.selected_label = added.value
        self._table_changed()
        self.form.label_list.editItem(self.form.label_list.currentItem())

    def _remove(self) -> None:
        value = self.form.label_list.current_value()
        if self._layer is None or value is None:
            return
        gone = label_tables.remove_label(self._layer, value)
        self._select_named(self._layer)
        self._table_changed()
        text = f"removed; {gone:,} voxels became background, Undo brings them back"
        self.form.job.show_message(text)

    def _recolour(self) -> None:
        value = self.form.label_list.current_value()
        if self._layer is None or value is None:
            return
        old = next(
            label.color for label in label_tables.table_of(self._layer) if label.value == value
        )
        color = self.ask_color(QColor(*old))
        if color.isValid():
            rgb = (color.red(), color.green(), color.blue())
            label_tables.edit_label(self._layer, value, color=rgb)
            self._table_changed()

    def _solo(self) -> None:
        if self._layer is not None:
            alone = self.form.buttons["Solo"].isChecked()
            label_tables.set_solo(
                self._layer, self.form.label_list.current_value() if alone else None
            )

    def _table_changed(self) -> None:
        if self._layer is not None:
            self.schema.show_table(label_tables.table_of(self._layer))
        self.refresh()

    def _on_schema(self, table: LabelTable) -> None:
        if self._layer is None:
            self.schema.show_message("choose a label map first", error=True)
            return
        missing = sorted(set(self.statistics) - set(table.values))
        if missing:
            self.schema.show_message(f"value {missing[0]} is in use and needs a row", error=True)
            return
        label_tables.set_table(self._layer, table, self.statistics)
        self._select_named(self._layer)
        self.schema.show_message(f"{len(table)} labels; they are saved with the label map")
        self.refresh()

    def _centre(self) -> None:
        statistics = self.statistics.get(self.form.label_list.current_value() or 0)
        if self._layer is None or statistics is None:
            self.form.job.show_message("this organ has no voxel yet", kind="warning")
            return
        centre_on(self.viewer, self._layer, statistics.centre)

    def _step(self, step: int) -> None:
        value = self.form.label_list.current_value()
        if self._layer is None or value is None:
            return
        if not step_to_slice(self.viewer, self._layer, value, step):
            self.form.job.show_message("no further slice holds this organ", kind="warning")

    def _on_paint(self, _event: Any = None) -> None:
        self._pause.start()

    def _on_redrawn(self, _event: Any = None) -> None:
        """Undo and redo draw the slice again without telling so; scrolling draws another one."""
        dims = self.viewer.dims
        here = (dims.point, dims.order, dims.ndisplay)
        if here == self._last_view:
            self._pause.start()
        self._last_view = here

    def _on_measured(self, measured: tuple[Labels, Mapping[int, LabelStatistics]]) -> None:
        self._measuring = False
        layer, statistics = measured
        if layer is not self._layer:
            self._pause.start()
            return
        self.statistics = statistics
        if set(statistics) - set(label_tables.table_of(layer).values):
            label_tables.adopt_layer(layer, self.viewer.layers, statistics)
            self._table_changed()
        label_tables.show_features(
            layer,
            label_tables.table_of(layer),
            {v: label.volume_ml for v, label in statistics.items()},
        )
        self._show_statistics()

    def _show_statistics(self, _event: Any = None) -> None:
        self.form.label_list.show_statistics(self.statistics, stepped_axis(self.viewer.dims))

    def _history(self, step: str) -> None:
        if self._layer is not None:
            getattr(self._layer, step)()
            self._pause.start()
            self.job.show_message({"undo": "taken back", "redo": "done again"}[step])

    def _guarded(self, do: Callable[[], None]) -> None:
        with self._errors_shown():
            do()

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """Errors of the library become the panel's message."""
        try:
            yield
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")


def _at_leisure(do: Callable[[], None]) -> None:
    QTimer.singleShot(0, do)


def _measured(layer: Labels) -> tuple[Labels, Mapping[int, LabelStatistics]]:
    return layer, statistics_of(layer)
