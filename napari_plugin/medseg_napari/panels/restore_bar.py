"""Says that unsaved labels of an earlier session can be had back; not in anybody's way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from medseg.volume import Grid
from medseg_napari.layers import KEY
from medseg_napari.panels.autosave import AutosaveTimer
from medseg_napari.panels.job_widget import JobWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from medseg_napari.editing.autosave import RecoverableSession
    from medseg_napari.editing.restore import Prepared


class RestoreBar(QFrame):  # type: ignore[misc]
    """Shown while there is something to restore; an answer in one panel hides it in all.

    Attributes
    ----------
    words : QLabel
        What can be restored.
    restore, discard : QPushButton
        Bring it back, or remove it.
    told : Signal
        Emitted with one sentence and its kind after restoring, and when autosave failed.
    """

    told = Signal(str, str)

    def __init__(self, viewer: ViewerModel, keeper: AutosaveTimer) -> None:
        super().__init__()
        self._viewer, self._keeper = viewer, keeper
        self._leftover: RecoverableSession | None = None
        self.words = QLabel("")
        self.words.setWordWrap(True)
        self.restore = QPushButton("Restore")
        self.discard = QPushButton("Discard")
        self.activity = JobWidget()
        self._lay_out()
        self.restore.clicked.connect(self._on_restore)
        self.discard.clicked.connect(self._on_discard)
        self.activity.hide()
        self.activity.changed.connect(self._on_activity)
        keeper.saved.connect(self._on_saved)
        keeper.offer_changed.connect(self._on_offer_changed)
        self.hide()

    def look(self) -> None:
        """Offer the newest session that ended with unsaved labels, or hide."""
        from medseg_napari.editing.restore import words_on

        self._leftover = self._keeper.leftover()
        self.setVisible(self._leftover is not None)
        if self._leftover is not None:
            self.words.setText(words_on(self._leftover, time.time()))

    def _lay_out(self) -> None:
        self.setFrameShape(QFrame.Shape.StyledPanel)
        buttons = QHBoxLayout()
        for button in (self.restore, self.discard):
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.addWidget(self.words)
        column.addLayout(buttons)
        column.addWidget(self.activity)

    def _on_restore(self, _checked: bool = False) -> None:
        from medseg_napari.editing.restore import prepare

        leftover = self._leftover
        if leftover is None or self.activity.busy:
            return
        scans = [one for one in self._viewer.layers if not hasattr(one, "selected_label")]
        grids = [one.metadata.get(KEY, {}).get("grid") for one in scans]
        known = [grid for grid in grids if isinstance(grid, Grid)]
        self.activity.start(lambda progress: prepare(leftover, known, progress), self._on_prepared)
        self._keeper.settle(leftover)

    def _on_prepared(self, prepared: Prepared) -> None:
        from medseg_napari.editing.restore import add

        leftover = self._leftover
        added = add(self._viewer, prepared)
        if leftover is not None:
            self._keeper.settle(leftover)
            if len(added) == len(leftover.layers):
                self._keeper.take_over(leftover)
        words = "; ".join(prepared.told) or f"{len(added)} label map(s) restored"
        self.told.emit(words, "warning" if prepared.told else "info")

    def _on_discard(self, _checked: bool = False) -> None:
        leftover = self._leftover
        if leftover is not None and not self.activity.busy:
            leftover.decline()
            self._keeper.settle(leftover)

    def _on_activity(self, busy: bool) -> None:
        """Restoring that was stopped, or failed, may be asked for again."""
        for button in (self.restore, self.discard):
            button.setEnabled(not busy)
        self.activity.setVisible(busy or bool(self.activity.message.text()))
        if not busy and self._leftover is not None:
            self._keeper.offer_again(self._leftover)

    def _on_offer_changed(self) -> None:
        if not self.activity.busy:
            self.look()

    def _on_saved(self, trouble: str) -> None:
        if trouble:
            self.told.emit(trouble, "error")
