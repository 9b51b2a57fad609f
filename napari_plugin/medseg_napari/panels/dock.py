"""The dock of medseg: all that a person does with a scan, as tabs under one header."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QTabWidget, QWidget

from medseg_napari.panels.form_parts import column
from medseg_napari.panels.header import header_of
from medseg_napari.panels.looks import ThemeStyle, name_parts

if TYPE_CHECKING:
    import napari.viewer

DOCK = "Panels"
"""What the manifest calls the dock."""

TABS = {
    "Study": ("study", "StudyPanel"),
    "Segment": ("segment", "SegmentPanel"),
    "Labels": ("labels", "LabelsPanel"),
    "Review": ("review", "ReviewPanel"),
    "Train": ("train", "TrainPanel"),
    "Export": ("export", "ExportPanel"),
}
"""File and class of the panel in each tab."""

_LEAST_WIDTH = 360


def open_tab(viewer: napari.viewer.Viewer, name: str) -> Any:
    """Show one tab of the dock, which is made on first use; its panel."""
    dock, widget = viewer.window.add_plugin_dock_widget("medseg", DOCK)
    dock.show()
    dock.raise_()
    return widget.open(name)


class MedsegDock(QWidget):  # type: ignore[misc]
    """Header and tabs; a panel is made when its tab is shown first."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari's proxy never is the same twice
        self.viewer = viewer
        self.header = header_of(viewer)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.panels: dict[str, Any] = {}
        for name in TABS:
            page = QWidget()
            column(page)
            self.tabs.addTab(page, name)
        column(self, self.header, self.tabs).setStretch(1, 1)
        self.setMinimumWidth(_LEAST_WIDTH)
        self.tabs.currentChanged.connect(lambda _number: self._make())
        self.header.saver.message.connect(self.show_message)
        name_parts(self.header)
        self._theme = ThemeStyle(self)

    def open(self, name: str) -> Any:
        """Show a tab; its panel."""
        self.tabs.setCurrentIndex(list(TABS).index(name))
        return self._make()

    def show_message(self, text: str, kind: str = "info") -> None:
        """Put a sentence on the line at the bottom of the tab that shows."""
        self._make().job.show_message(text, kind=kind)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Make the panel of the first tab, unless another is asked for at once."""
        super().showEvent(event)
        QTimer.singleShot(0, self, self._make)

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer."""
        for panel in self.panels.values():
            panel.close()
        self.header.forget()
        super().closeEvent(event)

    def _make(self) -> Any:
        name = self.tabs.tabText(self.tabs.currentIndex())
        if name not in self.panels:
            file, kind = TABS[name]
            made = getattr(import_module(f"medseg_napari.panels.{file}"), kind)(self.viewer)
            self.panels[name] = made
            self.tabs.currentWidget().layout().addWidget(made)
            name_parts(made)
        return self.panels[name]


def open_study(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Study."""
    open_tab(viewer, "Study")


def open_segment(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Segment."""
    open_tab(viewer, "Segment")


def open_labels(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Labels."""
    open_tab(viewer, "Labels")


def open_review(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Review."""
    open_tab(viewer, "Review")


def open_train(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Train."""
    open_tab(viewer, "Train")


def open_export(viewer: napari.viewer.Viewer) -> None:
    """Open the tab Export."""
    open_tab(viewer, "Export")
