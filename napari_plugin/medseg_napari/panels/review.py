"""The Review panel: two label maps, their scores by structure, and where they differ most."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from medseg.errors import MedsegError
from medseg_napari.display import overlays
from medseg_napari.layers import adopt, source_of
from medseg_napari.panels.autosave import keeper_of
from medseg_napari.panels.job_widget import JobWidget
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
    """Compares Labels layer A with the reference B, in a worker thread.

    Attributes
    ----------
    form : ReviewForm
        The visible parts.
    result : Review or None
        The last comparison.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.result: Review | None = None
        self._resample = False
        self._notes: dict[str, tuple[str, str]] = {}
        self._shown: Labels | None = None
        combos = LabelsLayerCombo(viewer.layers), LabelsLayerCombo(viewer.layers)
        self.form = ReviewForm(*combos, JobWidget())
        QVBoxLayout(self).addWidget(self.form)
        self._connect()
        overlays.install(viewer)
        keeper_of(viewer)
        self._propose_pair()

    def compare(self, *, resample: bool = False) -> None:
        """Measure A against B and show what differs; at most one comparison at a time."""
        first, second = self.form.first.layer(), self.form.second.layer()
        if first is None or second is None or first is second:
            self.form.activity.say("choose two different Labels layers, A and B")
            return
        self._keep_notes()
        request = Request(
            self._pair(first), self._pair(second), self.form.tolerance_mm.value(), resample
        )
        self.form.resample.hide()
        self.form.activity.start(functools.partial(review, request), self._show)

    def jump_to_worst(self, row: int | None = None) -> None:
        """Show the slice on which the structure of a table row, or any, differs most."""
        if self.result is None:
            self.form.activity.say("press Compare first")
            return
        axis = self._slider_axis()
        rows = worst_first(self.result.rows, axis)
        if row is not None:
            rows = [one for one in rows if one is self.result.rows[row]]
        if not rows:
            self.form.activity.say("there is no difference to jump to")
            return
        self._jump(rows[0], axis)

    def save(self, path: str | Path) -> None:
        """Write scores and notes of this case into a CSV; other cases in it stay."""
        if self.result is None:
            self.form.activity.say("press Compare first")
            return
        self._keep_notes()
        try:
            write_table(path, self.result, case=self.form.case.text(), notes=self.form.words())
        except MedsegError as error:
            self.form.activity.say(str(error), kind="error")
            return
        self.form.activity.say(f"written to {Path(path).name}")

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop what runs and let go of the viewer."""
        self.form.activity.stop()
        self.form.first.forget()
        self.form.second.forget()
        super().closeEvent(event)

    def _connect(self) -> None:
        form = self.form
        form.compare.clicked.connect(self._on_compare)
        form.resample.clicked.connect(self._on_resample)
        form.worst.clicked.connect(self._on_worst)
        form.table.cellDoubleClicked.connect(self._on_row)
        form.save.clicked.connect(self._ask_where)
        form.activity.changed.connect(self._on_busy)
        for combo in (form.first, form.second):
            combo.currentIndexChanged.connect(self._on_pair_changed)

    def _propose_pair(self) -> None:
        """The two newest Labels layers: the newer is A, what is reviewed."""
        if self.form.second.count() > 1:
            self.form.second.setCurrentIndex(self.form.second.count() - 2)
        self._on_pair_changed()

    def _pair(self, layer: Labels) -> tuple[Any, dict[str, Any]]:
        """Data and attributes of a layer; one drawn by hand gets the grid of what it covers."""
        data, attributes, _ = layer.as_layer_data_tuple()
        if source_of(data, attributes) is not None:
            return data, attributes
        others = [one.as_layer_data_tuple()[:2] for one in self.viewer.layers if one is not layer]
        return data, adopt(data, attributes, others)

    def _show(self, result: Review) -> None:
        self.result = result
        self.form.show_rows(result)
        self._show_difference(result)
        case, words = self._notes.get(result.case, (result.case, ""))
        self.form.case.setText(case)
        self.form.notes.setPlainText(words)
        worst = worst_first(result.rows, self._slider_axis())
        found = f"largest difference: {worst[0].name}" if worst else "A and B are equal"
        told = f"{found}; {result.note}" if result.note else found
        self.form.activity.say(told, kind="warning" if result.note else "info")

    def _show_difference(self, result: Review) -> None:
        from napari.layers import Layer

        if self._shown is not None and self._shown in self.viewer.layers:
            self.viewer.layers.remove(self._shown)
        chosen = self.form.first.layer(), self.form.second.layer()
        self._shown = self.viewer.add_layer(Layer.create(*result.difference))
        for combo, layer in zip((self.form.first, self.form.second), chosen, strict=True):
            combo.choose(layer)

    def _jump(self, row: StructureComparison, axis: int) -> None:
        if self.result is None:
            return
        world = worst_slice_mm(self.result.difference[1], row, axis)
        self.viewer.dims.set_point(self.viewer.dims.ndim - 3 + axis, world)
        area = row.worst[axis].area_mm2
        self.form.activity.say(f"{row.name}: {area:.0f} mm² differ on this {_SLICES[axis]} slice")

    def _slider_axis(self) -> int:
        """Which of I, P, L the slider moves along."""
        dims = self.viewer.dims
        return int(dims.order[-3]) - (dims.ndim - 3) if dims.ndim >= 3 else 0

    def _keep_notes(self) -> None:
        if self.result is not None:
            self._notes[self.result.case] = (self.form.case.text(), self.form.words())

    def _on_pair_changed(self, _row: int = -1) -> None:
        self.form.resample.hide()

    def _on_compare(self, _checked: bool = False) -> None:
        self.compare()

    def _on_resample(self, _checked: bool = False) -> None:
        self.compare(resample=True)

    def _on_worst(self, _checked: bool = False) -> None:
        self.jump_to_worst()

    def _on_row(self, row: int, _column: int) -> None:
        self.jump_to_worst(row)

    def _on_busy(self, busy: bool) -> None:
        self.form.compare.setEnabled(not busy)
        if not busy:
            self.form.resample.setVisible("Resample B" in self.form.activity.message.text())

    def _ask_where(self, _checked: bool = False) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save scores", "review.csv", "CSV (*.csv)")
        if path:
            self.save(path)
