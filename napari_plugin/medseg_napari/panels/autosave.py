"""Autosave at work in a viewer: a timer, and files that are written in another thread.

A round follows the last stroke within seconds, and one more the closing of the window. The panels
of a viewer share one timer; it starts with the first panel and ends with the window.
"""

from __future__ import annotations

import functools
import logging
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from medseg.errors import MedsegError
from medseg_napari.display_settings import setting
from medseg_napari.editing.autosave import (
    RecoverableSession,
    Session,
    default_folder,
    recoverable_sessions,
)
from medseg_napari.editing.saved_layers import (
    Snapshot,
    is_label_map,
    knows_its_file,
    mark_saved,
    note_stroke,
    snapshot,
)
from medseg_napari.panels.closing import CloseGuard
from medseg_napari.panels.form_parts import pause_timer
from medseg_napari.workers import call_in_worker

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

logger = logging.getLogger(__name__)
_MINUTE_MS = 60_000
_AFTER_CHANGE_MS = 2_000
_timers: weakref.WeakKeyDictionary[ViewerModel, AutosaveTimer] = weakref.WeakKeyDictionary()


def autosave_of(viewer: ViewerModel) -> AutosaveTimer:
    """The autosave of a viewer, made on first use; it does not keep the viewer alive."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes plugins a proxy
    timer = _timers.get(viewer)
    if timer is None:
        window = _window_of(viewer)
        timer = _timers[viewer] = AutosaveTimer(viewer, window)
        if window is not None:
            window.destroyed.connect(functools.partial(_on_window_gone, weakref.ref(viewer)))
            timer.guard = CloseGuard(viewer, timer, window)
        weakref.finalize(viewer, timer.session.close).atexit = False
    return timer


class AutosaveTimer(QObject):  # type: ignore[misc]
    """Keeps the label maps of a viewer soon after they change, and every few minutes.

    `changed` is emitted with a layer whose voxels have changed; `saved` after each round, with an
    empty string or what went wrong; `offer_changed` when :meth:`recoverable` may give another
    session.
    """

    changed = Signal(object)
    saved = Signal(str)
    offer_changed = Signal()

    def __init__(
        self, viewer: ViewerModel, parent: QObject | None = None, root: Path | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._busy = self._again = False
        self._dismissed: set[Path] = set()
        self._restored: list[RecoverableSession] = []
        self._covered: list[RecoverableSession] = []
        self.guard: CloseGuard | None = None
        self.session = Session(root or default_folder())
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.save)
        self._soon = pause_timer(self, _AFTER_CHANGE_MS, self.save)
        viewer.layers.events.inserted.connect(self._on_inserted)
        for layer in self._labels():
            self._note(layer)
        self._start_timer()

    def save(self) -> None:
        """Write what changed, off the GUI thread; nothing while autosave is switched off.

        A round that is asked for while another one runs follows it.
        """
        viewer = self._viewer()
        self._start_timer()
        if viewer is None or _is_closed(viewer) or not setting("autosave", "enabled"):
            return
        if self._busy:
            self._again = True
            return
        self._soon.stop()
        snapshots = [snapshot(layer, viewer.layers) for layer in self._labels()]
        self._covered, self._restored = self._restored, []
        self._busy = True
        call_in_worker(_save, self.session, snapshots, then=self._on_saved)

    def save_now(self) -> None:
        """Write what changed before anything else happens, as the window closes."""
        viewer, labels = self._viewer(), self._labels()
        if viewer is None or not labels or not setting("autosave", "enabled"):
            return  # without layers the window has been emptied already, and what is kept stays
        self._soon.stop()
        error = _save(self.session, [snapshot(layer, viewer.layers) for layer in labels])
        if error:
            logger.error(error)

    def forget_all(self) -> None:
        """Keep nothing of this session: the person discards it."""
        self._soon.stop()
        self.session.clear()

    def recoverable(self) -> RecoverableSession | None:
        """The newest session that ended with unsaved labels, and that nobody answered to yet."""
        sessions = recoverable_sessions(self.session.root)
        return next((s for s in sessions if s.folder not in self._dismissed), None)

    def dismiss(self, session: RecoverableSession) -> None:
        """The person said what is to become of it: no panel of this viewer asks again."""
        self._dismissed.add(session.folder)
        self.offer_changed.emit()

    def offer_again(self, session: RecoverableSession) -> None:
        """Ask again, as nothing came of the answer."""
        self._dismissed.discard(session.folder)
        self.offer_changed.emit()

    def replace(self, session: RecoverableSession) -> None:
        """Keep in this session what was restored from another one, and only then remove that."""
        self._restored.append(session)
        self.save()

    def _start_timer(self) -> None:
        self._timer.start(max(1, int(setting("autosave", "minutes"))) * _MINUTE_MS)

    def _labels(self) -> list[Labels]:
        viewer = self._viewer()
        return [] if viewer is None else [layer for layer in viewer.layers if is_label_map(layer)]

    def _on_inserted(self, event: Any) -> None:
        if is_label_map(event.value):
            self._note(event.value)
            self._soon.start()

    def _on_stroke(self, event: Any) -> None:
        note_stroke(event.source)
        self._soon.start()
        self.changed.emit(event.source)

    def _note(self, layer: Labels) -> None:
        """A layer that was just read need not be kept until it is changed."""
        if (layer.source.path or layer.source.sample) and not knows_its_file(layer):
            mark_saved(layer.data, {"metadata": layer.metadata})
        layer.events.paint.disconnect(self._on_stroke)
        layer.events.paint.connect(self._on_stroke)

    def _on_saved(self, error: str) -> None:
        self._busy = False
        covered, self._covered = self._covered, []
        if error:
            self._restored += covered
        else:
            for session in covered:
                session.discard()
        self.saved.emit(error)
        again, self._again = self._again, False
        if again:
            self.save()


def _window_of(viewer: ViewerModel) -> QObject | None:
    """The window of a viewer that has one."""
    return getattr(getattr(viewer, "window", None), "_qt_window", None)


def _is_closed(viewer: ViewerModel) -> bool:
    """Whether the layers are gone only because the window was closed."""
    return hasattr(viewer, "window") and _window_of(viewer) is None


def _on_window_gone(viewer_ref: weakref.ref[ViewerModel], _window: object = None) -> None:
    viewer = viewer_ref()
    timer = _timers.pop(viewer, None) if viewer is not None else None
    if timer is not None:
        timer.session.close()


def _save(session: Session, snapshots: list[Snapshot]) -> str:
    """Write a round; never raises, as an error in a worker would be lost."""
    try:
        session.save(snapshots)
    except MedsegError as error:
        return str(error)
    except OSError as error:
        logger.exception("autosave failed")
        return f"autosave failed: {error.strerror or error}"
    return ""
