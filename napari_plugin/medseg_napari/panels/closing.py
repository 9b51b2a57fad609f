"""Nothing is lost when a window closes: labels are kept, and a person is asked about them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

from medseg_napari.editing.saved_layers import is_label_map, is_unsaved
from medseg_napari.panels.saving import saver_of
from medseg_napari.workers import JobRunner

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from medseg_napari.panels.autosave import AutosaveTimer

Answer = Literal["save", "keep", "discard", "stay"]
_SHOWN_NAMES = 3
_ANSWERS = (
    "Save writes each onto the grid of its scan. Keep offers them at the next start. Discard throws"
    " them away."
)


class CloseGuard(QObject):  # type: ignore[misc]
    """Asks before a person closes a window over unsaved labels or a run, and ends what runs.

    A window that a program closes is not asked about; its labels are kept. Ctrl+S on a label map is
    Save, whichever part of the window has the keys: napari's own dialog begins with a writer that
    cannot write labels with their place.
    """

    def __init__(self, viewer: ViewerModel, autosave: AutosaveTimer, window: QWidget) -> None:
        super().__init__(window)
        self._viewer, self._autosave = weakref.ref(viewer), weakref.ref(autosave)
        self._answered = False
        self.ask: Callable[[Sequence[str], Sequence[str]], Answer] = self._ask
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """See the window's closing, and Ctrl+S before the menu does."""
        if watched is self.parent() and event.type() == QEvent.Type.Close:
            return self._on_close(event)
        if event.type() == QEvent.Type.ShortcutOverride and _is_save(event):
            return self._on_save(event)
        return False

    def _on_save(self, event: Any) -> bool:
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None
        if viewer is None or not is_label_map(active):
            return False
        event.accept()
        saver_of(viewer).save(active)
        return True

    def _on_close(self, event: Any) -> bool:
        """Whether the window stays."""
        viewer, autosave, window = self._viewer(), self._autosave(), self.parent()
        if viewer is None or autosave is None or self._answered:
            return False
        unsaved = [layer for layer in viewer.layers if is_label_map(layer) and is_unsaved(layer)]
        by_person = event.spontaneous() or getattr(window, "_quit_app", False)
        answer: Answer = "keep"
        runs = self._runs()
        if by_person and (unsaved or runs):
            answer = self.ask([layer.name for layer in unsaved], runs)
        saver = saver_of(viewer)
        if answer == "save" and not all(map(saver.save_now, unsaved)):
            answer = "stay"
        if answer == "stay":
            window._quit_app = False  # noqa: SLF001 - set by the close that is refused here
            event.ignore()
            return True
        (autosave.forget_all if answer == "discard" else autosave.save_now)()
        for runner in window.findChildren(JobRunner):
            runner.stop()
        self._answered = True  # a program that quits closes its windows once more
        QTimer.singleShot(0, self, self._ask_again)
        return False

    def _ask_again(self) -> None:
        """The window is still there: napari's own question was answered with Cancel."""
        self._answered = False

    def _runs(self) -> list[str]:
        """What is going on that would be lost, in words."""
        runners = self.parent().findChildren(JobRunner)
        return [runner.what for runner in runners if runner.what and runner.current is not None]

    def _ask(self, unsaved: Sequence[str], runs: Sequence[str]) -> Answer:
        box = QMessageBox(self.parent())
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Close napari?")
        box.setText(question_text(unsaved, runs))
        box.setInformativeText(_ANSWERS if unsaved else "What it found so far is not kept.")
        roles = QMessageBox.ButtonRole
        answers: dict[Any, Answer] = {}
        if unsaved:
            answers[box.addButton("&Save", roles.AcceptRole)] = "save"
            answers[box.addButton("&Keep for the next start", roles.AcceptRole)] = "keep"
            answers[box.addButton("&Discard", roles.DestructiveRole)] = "discard"
        else:
            answers[box.addButton("Stop and &close", roles.AcceptRole)] = "keep"
        answers[box.addButton("Cancel", roles.RejectRole)] = "stay"
        box.setDefaultButton(next(iter(answers)))
        box.exec()
        return answers.get(box.clickedButton(), "stay")


def question_text(unsaved: Sequence[str], runs: Sequence[str]) -> str:
    """What a person who closes a window should know."""
    texts = []
    if unsaved:
        names = ", ".join(f"'{name}'" for name in unsaved[:_SHOWN_NAMES])
        more = f" and {len(unsaved) - _SHOWN_NAMES} more" if len(unsaved) > _SHOWN_NAMES else ""
        texts.append(f"{len(unsaved)} unsaved label map{'s' * (len(unsaved) > 1)}: {names}{more}.")
    if runs:
        texts.append(f"{' and '.join(runs).capitalize()} is going on and will be stopped.")
    return " ".join(texts)


def _is_save(event: Any) -> bool:
    return bool(
        event.key() == Qt.Key.Key_S and event.modifiers() == Qt.KeyboardModifier.ControlModifier
    )
