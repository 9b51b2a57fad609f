"""Says that unsaved labels of an earlier session can be had back; not in anybody's way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame

from medseg_napari.layers import KEY
from medseg_napari.panels.autosave import AutosaveTimer
from medseg_napari.panels.form_parts import button, column, row, wrapped_label
from medseg_napari.panels.job_widget import JobWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from medseg_napari.editing.autosave import RecoverableSession
    from medseg_napari.editing.restore import Prepared


class RestoreBar(QFrame):  # type: ignore[misc]
    """Shown while there is something to restore; an answer in one panel hides it in all.

    `message` is emitted with one sentence and its kind after restoring, and when autosave failed.
    """

    message = Signal(str, str)

    def __init__(self, viewer: ViewerModel, autosave: AutosaveTimer) -> None:
        super().__init__()
        self._viewer, self._autosave = viewer, autosave
        self._session: RecoverableSession | None = None
        self.offer = wrapped_label()
        self.restore, self.discard = button("Restore"), button("Discard")
        self.job = JobWidget()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        column(self, self.offer, row(self.restore, self.discard, equal=True), self.job, margin=9)
        self.restore.clicked.connect(self._on_restore)
        self.discard.clicked.connect(self._on_discard)
        self.job.hide()
        self.job.changed.connect(self._on_job)
        autosave.saved.connect(self._on_saved)
        autosave.offer_changed.connect(self._on_offer_changed)
        self.hide()

    def refresh(self) -> None:
        """Offer the newest session that ended with unsaved labels, or hide."""
        from medseg_napari.editing.restore import session_text

        self._session = self._autosave.recoverable()
        self.setVisible(self._session is not None)
        if self._session is not None:
            self.offer.setText(session_text(self._session, time.time()))

    def _on_restore(self) -> None:
        from medseg_napari.editing.restore import prepare

        session = self._session
        if session is None or self.job.busy:
            return
        images = [layer for layer in self._viewer.layers if not hasattr(layer, "selected_label")]
        scans = [layer.metadata[KEY] for layer in images if KEY in layer.metadata]
        self.job.start(lambda progress: prepare(session, scans, progress), self._on_prepared)
        self._autosave.dismiss(session)

    def _on_prepared(self, prepared: Prepared) -> None:
        from medseg_napari.editing.restore import add

        session = self._session
        added = add(self._viewer, prepared)
        if session is not None:
            self._autosave.dismiss(session)
            if len(added) == len(session.layers):
                self._autosave.replace(session)
        text = "; ".join(prepared.warnings) or f"{len(added)} label map(s) restored"
        self.message.emit(text, "warning" if prepared.warnings else "info")

    def _on_discard(self) -> None:
        if self._session is not None and not self.job.busy:
            session = self._session
            session.discard()
            self._autosave.dismiss(session)

    def _on_job(self, busy: bool) -> None:
        """Restoring that was stopped, or failed, may be asked for again."""
        for part in (self.restore, self.discard):
            part.setEnabled(not busy)
        self.job.setVisible(busy or bool(self.job.message.text()))
        if not busy and self._session is not None:
            self._autosave.offer_again(self._session)

    def _on_offer_changed(self) -> None:
        if not self.job.busy:
            self.refresh()

    def _on_saved(self, error: str) -> None:
        if error:
            self.message.emit(error, "error")
