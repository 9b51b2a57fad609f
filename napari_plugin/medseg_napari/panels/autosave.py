"""Autosave at work in a viewer: a timer, copies on the GUI thread, files in another one.

The panels of a viewer share one keeper; it starts with the first panel and ends with the window.
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
from medseg_napari.editing.autosave import RecoverableSession, Session, default_folder, leftovers
from medseg_napari.editing.saved_layers import (
    Snapshot,
    knows_its_file,
    mark_saved,
    snapshot,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

logger = logging.getLogger(__name__)
_MINUTE_MS = 60_000
_AFTER_NEW_LAYER_MS = 2_000
_keepers: weakref.WeakKeyDictionary[ViewerModel, AutosaveTimer] = weakref.WeakKeyDictionary()


def keeper_of(viewer: ViewerModel) -> AutosaveTimer:
    """The keeper of a viewer, made on first use; it does not keep the viewer alive.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Also as the proxy that napari passes to plugins.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    keeper = _keepers.get(viewer)
    if keeper is None:
        window = _window_of(viewer)
        keeper = _keepers[viewer] = AutosaveTimer(viewer, window)
        if window is not None:
            window.destroyed.connect(functools.partial(_on_window_gone, weakref.ref(viewer)))
        weakref.finalize(viewer, keeper.session.close).atexit = False
    return keeper


class AutosaveTimer(QObject):  # type: ignore[misc]
    """Keeps the Labels layers of a viewer every few minutes, and soon after a new one comes.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    parent : QObject, optional
        Owner; it ends with it.
    root : Path, optional
        Where sessions are kept; by default
        :func:`medseg_napari.editing.autosave.default_folder`.

    Attributes
    ----------
    session : Session
        Of this viewer.
    saved : Signal
        Emitted after each round, with an empty string or what went wrong.
    offer_changed : Signal
        Emitted when :meth:`leftover` may give another one.
    """

    saved = Signal(str)
    offer_changed = Signal()

    def __init__(
        self, viewer: ViewerModel, parent: QObject | None = None, root: Path | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._busy = self._again = False
        self._settled: set[Path] = set()
        self._inherited: list[RecoverableSession] = []
        self._covered: list[RecoverableSession] = []
        self.session = Session(root or default_folder())
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.save)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_AFTER_NEW_LAYER_MS)
        self._soon.timeout.connect(self.save)
        viewer.layers.events.inserted.connect(self._on_inserted)
        for layer in self._labels():
            self._note(layer)
        self._start_timer()

    def save(self) -> None:
        """Copy the layers and write what changed, off the GUI thread; nothing while switched off.

        A round that is asked for while another one runs follows it.
        """
        viewer = self._viewer()
        self._start_timer()
        if viewer is None or _is_closed(viewer) or not setting("autosave", "enabled"):
            return
        if self._busy:
            self._again = True
            return
        from napari.qt.threading import create_worker

        self._soon.stop()
        copies = [snapshot(layer, viewer.layers) for layer in self._labels()]
        self._covered, self._inherited = self._inherited, []
        self._busy = True
        worker = create_worker(_save, self.session, copies, _start_thread=False)
        worker.returned.connect(self._on_saved)
        worker.start()

    def leftover(self) -> RecoverableSession | None:
        """The newest session that ended with unsaved labels, and that nobody answered to yet."""
        found = leftovers(self.session.root)
        return next((one for one in found if one.folder not in self._settled), None)

    def settle(self, leftover: RecoverableSession) -> None:
        """The person said what is to become of it: no panel of this viewer asks again."""
        self._settled.add(leftover.folder)
        self.offer_changed.emit()

    def offer_again(self, leftover: RecoverableSession) -> None:
        """Ask again, as nothing came of the answer."""
        self._settled.discard(leftover.folder)
        self.offer_changed.emit()

    def take_over(self, leftover: RecoverableSession) -> None:
        """Keep in this session what was restored from another one, and only then remove that."""
        self._inherited.append(leftover)
        self.save()

    def _start_timer(self) -> None:
        self._timer.start(max(1, int(setting("autosave", "minutes"))) * _MINUTE_MS)

    def _labels(self) -> list[Labels]:
        from napari.layers import Labels

        viewer = self._viewer()
        layers = () if viewer is None else viewer.layers
        return [layer for layer in layers if isinstance(layer, Labels)]

    def _on_inserted(self, event: Any) -> None:
        from napari.layers import Labels

        if isinstance(event.value, Labels):
            self._note(event.value)
            self._soon.start()

    def _note(self, layer: Labels) -> None:
        """A layer that was just read need not be kept until it is changed."""
        if (layer.source.path or layer.source.sample) and not knows_its_file(layer):
            mark_saved(layer.data, {"metadata": layer.metadata})

    def _on_saved(self, trouble: str) -> None:
        self._busy = False
        covered, self._covered = self._covered, []
        if trouble:
            self._inherited += covered
        else:
            for leftover in covered:
                leftover.decline()
        self.saved.emit(trouble)
        again, self._again = self._again, False
        if again:
            self.save()


def _window_of(viewer: ViewerModel) -> QObject | None:
    """The window of a viewer that has one."""
    return getattr(getattr(viewer, "window", None), "_qt_window", None)


def _is_closed(viewer: ViewerModel) -> bool:
    """Whether the layers are gone only because the window was closed."""
    return hasattr(viewer, "window") and _window_of(viewer) is None


def _on_window_gone(viewer: weakref.ref[ViewerModel], _window: object = None) -> None:
    known = viewer()
    keeper = _keepers.pop(known, None) if known is not None else None
    if keeper is not None:
        keeper.session.close()


def _save(session: Session, copies: list[Snapshot]) -> str:
    """Write a round; never raises, as an error in a worker would be lost."""
    try:
        session.save(copies)
    except MedsegError as error:
        return str(error)
    except OSError as error:
        logger.exception("autosave failed")
        return f"autosave failed: {error.strerror or error}"
    return ""
