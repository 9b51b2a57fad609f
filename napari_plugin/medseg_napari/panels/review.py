"""The Review panel: two label maps, their scores by structure, and where they differ most."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QWidget

from medseg.errors import MedsegError
from medseg_napari.display import overlays
from medseg_napari.display.navigation import stepped_axis
from medseg_napari.editing.active_layers import active_layers_of
from medseg_napari.layers import adopt, source_of
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.form_parts import page
from medseg_napari.panels.layer_combo import LabelsLayerCombo
from medseg_napari.panels.review_form import ReviewForm
from medseg_napari.training.compare import (
    Request,
    Review,
    review,
    worst_first,
    worst_slice_mm,
    write_table,
)

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Labels

    from medseg.metrics import StructureComparison

_SLICES = ("axial", "coronal", "sagittal")


class ReviewPanel(QWidget):  # type: ignore[misc]
    """Compares Labels layer A with the reference B, in a worker thread."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.result: Review | None = None
        self._resample = False
        self._notes: dict[str, tuple[str, str]] = {}
        self._shown: Labels | None = None
        self._outlined: list[tuple[Labels, int]] = []
        self.active = active_layers_of(viewer)
        combos = LabelsLayerCombo(viewer.layers), LabelsLayerCombo(viewer.layers)
        self.form = ReviewForm(*combos)
        self.job = self.form.job
        page(self, self.form, self.form.footer)
        self._connect()
        overlays.install(viewer)
        autosave_of(viewer)
        self._propose_pair()

    def compare(self, *, resample: bool = False) -> None:
        """Measure A against B and show what differs; at most one comparison at a time."""
        first, second = self.form.first.layer(), self.form.second.layer()
        if first is None or second is None or first is second:
            self.form.job.show_message("choose two different Labels layers, A and B")
            return
        self._store_notes()
        request = Request(
            self._pair(first), self._pair(second), self.form.tolerance_mm.value(), resample
        )
        self.form.resample.hide()
        self.form.job.start(functools.partial(review, request), self._show)

    def jump_to_worst(self, row: int | None = None) -> None:
        """Show the slice on which the structure of a table row, or any, differs most."""
        if self.result is None:
            self.form.job.show_message("press Compare first")
            return
        axis = stepped_axis(self.viewer.dims)
        rows = worst_first(self.result.rows, axis)
        if row is not None:
            rows = [structure for structure in rows if structure is self.result.rows[row]]
        if not rows:
            self.form.job.show_message("there is no difference to jump to")
            return
        self._jump(rows[0], axis)

    def save(self, path: str | Path) -> None:
        """Write scores and notes of this case into a CSV; other cases in it stay."""
        if self.result is None:
            self.form.job.show_message("press Compare first")
            return
        self._store_notes()
        try:
            write_table(path, self.result, case=self.form.case.text(), notes=self.form.notes_text())
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")
            return
        self.form.job.show_message(f"written to {Path(path).name}")

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.form.job.stop()
        self.form.first.forget()
        self.form.second.forget()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.active.events.changed.disconnect(self._on_active)
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.compare.clicked.connect(lambda _on=False: self.compare())
        form.resample.clicked.connect(lambda _on=False: self.compare(resample=True))
        form.worst.clicked.connect(lambda _on=False: self.jump_to_worst())
        form.table.cellDoubleClicked.connect(lambda row, _column: self.jump_to_worst(row))
        form.save.clicked.connect(self._ask_path)
        form.job.changed.connect(self._on_busy)
        self.viewer.layers.events.removed.connect(self._on_removed)
        self.active.events.changed.connect(self._on_active)
        for combo in (form.first, form.second):
            combo.currentIndexChanged.connect(form.resample.hide)

    def _propose_pair(self) -> None:
        """The two newest Labels layers: the newer is A, what is reviewed."""
        if self.form.second.count() > 1:
            self.form.second.setCurrentIndex(self.form.second.count() - 2)
        self.form.resample.hide()

    def _pair(self, layer: Labels) -> tuple[Any, dict[str, Any]]:
        """Data and attributes of a layer; one drawn by hand gets the grid of what it covers."""
        data, attributes, _ = layer.as_layer_data_tuple()
        if source_of(data, attributes) is not None:
            return data, attributes
        others = [
            other.as_layer_data_tuple()[:2] for other in self.viewer.layers if other is not layer
        ]
        return data, adopt(data, attributes, others)

    def _show(self, result: Review) -> None:
        self.result = result
        self.form.show_rows(result)
        self._show_difference(result)
        case, notes = self._notes.get(result.case, (result.case, ""))
        self.form.case.setText(case)
        self.form.notes.setPlainText(notes)
        worst = worst_first(result.rows, stepped_axis(self.viewer.dims))
        outcome = f"largest difference: {worst[0].name}" if worst else "A and B are equal"
        text = f"{outcome}; {result.note}" if result.note else outcome
        self.form.job.show_message(text, kind="warning" if result.note else "info")

    def _show_difference(self, result: Review) -> None:
        from napari.layers import Layer

        if self._shown is not None and self._shown in self.viewer.layers:
            self.viewer.layers.remove(self._shown)
        pair = self.form.first.layer(), self.form.second.layer()
        self._shown = self.viewer.add_layer(Layer.create(*result.difference))
        self.viewer.layers.selection.active = pair[0]
        self._outlined = [(layer, layer.contour) for layer in pair if layer is not None]
        for layer, _ in self._outlined:
            layer.contour = max(layer.contour, 1)

    def _on_removed(self, event: Any) -> None:
        """Fill A and B again when the difference goes."""
        if event.value is self._shown:
            outlined, self._outlined, self._shown = self._outlined, [], None
            for layer, contour in outlined:
                layer.contour = contour

    def _on_active(self, _event: Any = None) -> None:
        """What is worked on is what is reviewed, unless it is the reference."""
        labels = self.active.labels
        if labels is not None and labels is not self.form.second.layer():
            self.form.first.choose(labels)

    def _jump(self, row: StructureComparison, axis: int) -> None:
        if self.result is None:
            return
        world = worst_slice_mm(self.result.difference[1], row, axis)
        self.viewer.dims.set_point(self.viewer.dims.ndim - 3 + axis, world)
        area = row.worst[axis].area_mm2
        self.form.job.show_message(
            f"{row.name}: {area:.0f} mm² differ on this {_SLICES[axis]} slice"
        )

    def _store_notes(self) -> None:
        if self.result is not None:
            self._notes[self.result.case] = (self.form.case.text(), self.form.notes_text())

    def _on_busy(self, busy: bool) -> None:
        self.form.compare.setEnabled(not busy)
        if not busy:
            self.form.resample.setVisible("Resample B" in self.form.job.message.text())

    def _ask_path(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save scores", "review.csv", "CSV (*.csv)")
        if path:
            self.save(path)
