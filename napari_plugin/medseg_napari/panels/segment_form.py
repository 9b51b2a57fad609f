"""What the Segment panel looks like; what it does is in :mod:`medseg_napari.panels.segment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QSpinBox, QTextBrowser, QWidget

from medseg_napari.panels.channel_rows import ChannelRows
from medseg_napari.panels.form_parts import (
    button,
    column,
    growing_form,
    narrow_combo,
    row,
    tick,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.layer_combo import ActiveLayerCombo, OptionalLayerCombo
from medseg_napari.panels.looks import message_color
from medseg_napari.panels.model_combo import ModelCombo

if TYPE_CHECKING:
    from napari.components import LayerList

_CARD_HEIGHT = 220
_MOST_SLICES = 100_000
RULES = {
    "overwrite": "replace what is there",
    "only_empty": "only where nothing is",
    "keep_others": "keep labels of other names",
    "keep_edits": "keep what I edited",
}
"""Rules of merging, and how a person reads them."""


class SegmentForm(QWidget):  # type: ignore[misc]
    """The panel's parts."""

    def __init__(self, layers: LayerList, scans: ActiveLayerCombo) -> None:
        super().__init__()
        from napari.layers import Labels, Shapes

        self.scans = scans
        self.channels = ChannelRows(layers, self.scans)
        self.boxes = OptionalLayerCombo(layers, Shapes, "the whole scan")
        self.target = OptionalLayerCombo(layers, Labels, "a new layer")
        self._make_choices()
        self._make_buttons()
        self.about, self.estimate, self.warning = (wrapped_label() for _ in range(3))
        self.card = QTextBrowser()
        self.card.setFixedHeight(_CARD_HEIGHT)
        self.card.setOpenLinks(False)
        self.job = JobWidget("a run of the Segment tab")
        self._lay_out()
        for part in (self.about, self.card, self.reopen, self.accept, self.reject):
            part.hide()
        self.job.changed.connect(self.run.setDisabled)

    def show_question(self, *, visible: bool) -> None:
        """Show or hide Accept and Reject."""
        self.accept.setVisible(visible)
        self.reject.setVisible(visible)

    def show_warning(self, text: str) -> None:
        """Say below the model what is doubtful, or nothing."""
        self.warning.setStyleSheet(f"color: {message_color('warning')};")
        self.warning.setText(f"\N{WARNING SIGN} {text}" if text else "")
        self._form.setRowVisible(self.warning, bool(text))

    def show_box(self, *, visible: bool) -> None:
        """Show or hide the choice of slices."""
        self._form.setRowVisible(self._slices, visible)

    def _make_choices(self) -> None:
        self.boxes.setToolTip("The whole scan, or the shapes of a layer that enclose a box of it")
        self.target.setToolTip("A new layer, or a Labels layer to merge the result into")
        self.model = ModelCombo()
        self.model.setToolTip("The model that segments")
        self.device = narrow_combo("Where the model runs")
        self.postprocessing = narrow_combo("Steps after the network, each with its usual settings")
        self.shown = narrow_combo("A map of per cents to lay over the scan")
        self.rule = narrow_combo("Which voxels of the layer may change")
        for name, text in RULES.items():
            self.rule.addItem(text, name)
        self.first, self.last = QSpinBox(), QSpinBox()
        self.first.setRange(0, _MOST_SLICES)
        self.last.setRange(-1, _MOST_SLICES)
        self.last.setSpecialValueText("the end")
        self.last.setValue(-1)
        tip = "Up to eight times slower, often a little better"
        self.tta = tick("Mean over mirror images", tip)
        self.preview = tick(
            "Quick preview first",
            "Show a coarse result as soon as there is one, then refine it in place; on large scans",
        )

    def _make_buttons(self) -> None:
        self.browse = button("Folder...", "Add a model package of your own")
        self.draw = button("Draw box", "Add a layer and draw a rectangle on the slice you see")
        self.run = button("Run", "Segment the scan")
        self.accept = button("Accept", "Keep the result")
        self.reject = button("Reject", "Take the result back; what you painted since stays")
        self.reopen = button("Re-open with medseg", "Read the layer's file again, with its place")
        self.card_button = _fold("Model card")
        self.more = _fold("More choices")

    def _lay_out(self) -> None:
        self._slices = row(self.first, QLabel("to"), self.last)
        form = self._form = growing_form(
            ("Model", row(self.model, self.browse)),
            ("", self.warning),
            ("", self.about),
            ("", self.channels),
            ("", self.card_button),
        )
        form.addRow(self.card)
        for title, part in (
            ("Where", row(self.boxes, self.draw)),
            ("Slices", self._slices),
            ("Result", self.target),
            ("Merging", self.rule),
            ("Device", self.device),
            ("", self.estimate),
            ("", self.more),
            ("Afterwards", self.postprocessing),
            ("Also show", self.shown),
            ("", self.tta),
            ("", self.preview),
        ):
            form.addRow(title, part)
        column(self, form).addStretch(1)
        self.footer = QWidget()
        answers = row(self.accept, self.reject, equal=True)
        self.run.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        column(self.footer, answers, self.reopen, row(self.run, self.job.cancel), self.job)
        self._fold_away()

    def _fold_away(self) -> None:
        self.show_box(visible=False)
        self.card_button.toggled.connect(self.card.setVisible)
        self.more.toggled.connect(self._show_more)
        self._show_more(visible=False)
        self.target.currentIndexChanged.connect(self._on_target)
        self._on_target(0)

    def _show_more(self, visible: bool) -> None:
        for part in (self.postprocessing, self.shown, self.tta, self.preview):
            self._form.setRowVisible(part, visible)

    def _on_target(self, _row: int) -> None:
        self._form.setRowVisible(self.rule, self.target.layer() is not None)


def _fold(text: str) -> QPushButton:
    """A flat button that shows and hides something."""
    fold = QPushButton(f"▸ {text}")
    fold.setCheckable(True)
    fold.setFlat(True)
    fold.setStyleSheet("text-align: left; padding: 2px; background: transparent;")
    fold.setCursor(Qt.CursorShape.PointingHandCursor)
    fold.toggled.connect(lambda down: fold.setText(f"{'▾' if down else '▸'} {text}"))
    return fold
