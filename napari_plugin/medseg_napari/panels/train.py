"""The Train panel: corrected cases become a dataset, and the dataset a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from medseg_napari.display import overlays
from medseg_napari.panels.autosave import keeper_of
from medseg_napari.panels.cases_page import CasesPage
from medseg_napari.panels.form_parts import button, growing_form, row, wrapped_label
from medseg_napari.panels.next_case_page import NextPage
from medseg_napari.panels.training_page import TrainingPage

if TYPE_CHECKING:
    import napari.viewer

    from medseg.model_package import ModelPackage


class TrainPanel(QWidget):  # type: ignore[misc]
    """Three pages around one dataset: its cases, its training, what to correct next.

    Attributes
    ----------
    cases : CasesPage
        Adds corrected layers.
    training : TrainingPage
        Runs ``medseg train``.
    following : NextPage
        Ranks unlabelled scans.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.where = wrapped_label("no folder chosen")
        self.browse = button("Choose...", "A dataset, or an empty folder that is to become one")
        self.cases, self.training = CasesPage(viewer), TrainingPage(viewer)
        self.following = NextPage(viewer)
        self.pages = QTabWidget()
        self._lay_out()
        self.browse.clicked.connect(self._ask_where)
        self.training.finished.connect(self._on_finished)
        overlays.install(viewer)
        keeper_of(viewer)
        self._take_up()

    def use(self, folder: str | Path) -> None:
        """Work on the dataset in this folder."""
        place = Path(folder)
        self.where.setText(place.name)
        self.where.setToolTip(str(place))
        self.cases.use(place)
        self.training.dataset = place

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer; runs go on."""
        self.training.let_go()
        self.following.activity.stop()
        self.cases.activity.stop()
        self.cases.scans.forget()
        self.cases.labels.forget()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        form = growing_form()
        form.addRow("Dataset", row(self.where, self.browse))
        for page, title in (
            (self.cases, "1 Cases"),
            (self.training, "2 Train"),
            (self.following, "3 Next"),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setFrameShape(QScrollArea.Shape.NoFrame)
            area.setWidget(page)
            self.pages.addTab(area, title)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.pages)

    def _take_up(self) -> None:
        """The dataset of the run that was looked at last."""
        from medseg.errors import MedsegError
        from medseg.training.run_status import run_status

        run = self.training.run
        if run is None:
            return
        try:
            source = run_status(run).source
        except MedsegError:
            return
        if source is not None and Path(source.path).is_dir():
            self.use(source.path)

    def _on_finished(self, package: ModelPackage) -> None:
        self.following.models.choose(package)

    def _ask_where(self, _checked: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the dataset")
        if folder:
            self.use(folder)
