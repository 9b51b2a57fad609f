"""Autosave at work in a viewer: a timer, copies on the GUI thread, files in another one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from medseg.errors import MedsegError
from medseg_napari.correcting.autosave import Leftover, Session, default_folder, leftovers
from medseg_napari.correcting.kept_layers import Snapshot, mark_saved, snapshot
from medseg_napari.display_settings import setting

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

logger = logging.getLogger(__name__)
_MINUTE_MS = 60_000
_AFTER_NEW_LAYER_MS = 2_000


class AutosaveKeeper(QObject):  # type: ignore[misc]
    """Keeps the Labels layers of a viewer every few minutes, and soon after a new one comes.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose layers are kept.
    parent : QObject
        Owner.
    root : Path, optional
        Where sessions are kept; by default
        :func:`medseg_napari.correcting.autosave.default_folder`.

    Attributes
    ----------
    session : Session
        Of this viewer.
    saved : Signal
        Emitted after each round, with an empty string or what went wrong.
    """

    saved = Signal(str)

    def __init__(self, viewer: ViewerModel, parent: QObject, root: Path | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._busy = False
        self._inherited: list[Leftover] = []
        self._covered: list[Leftover] = []
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

        A round that is asked for while another one runs is left to the next tick.
        """
        self._start_timer()
        if self._busy or not setting("autosave", "enabled"):
            return
        from napari.qt.threading import create_worker

        copies = [snapshot(layer, self._viewer.layers) for layer in self._labels()]
        self._covered, self._inherited = self._inherited, []
        self._busy = True
        worker = create_worker(_save, self.session, copies, _start_thread=False)
        worker.returned.connect(self._on_saved)
        worker.start()

    def leftover(self) -> Leftover | None:
        """The newest session that ended with unsaved labels."""
        return next(iter(leftovers(self.session.root)), None)

    def take_over(self, leftover: Leftover) -> None:
        """Keep in this session what was restored from another one, and only then remove that."""
        self._inherited.append(leftover)
        self.save()

    def stop(self) -> None:
        """Let go of the viewer; what is kept stays for the next start."""
        self._timer.stop()
        self._soon.stop()
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.session.close()

    def _start_timer(self) -> None:
        self._timer.start(max(1, int(setting("autosave", "minutes"))) * _MINUTE_MS)

    def _labels(self) -> list[Labels]:
        from napari.layers import Labels

        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def _on_inserted(self, event: Any) -> None:
        from napari.layers import Labels

        if isinstance(event.value, Labels):
            self._note(event.value)
            self._soon.start()

    def _note(self, layer: Labels) -> None:
        """A layer that was just read from a file need not be kept until it is changed."""
        if layer.source.path and not layer.metadata.get("medseg_autosave_key"):
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
