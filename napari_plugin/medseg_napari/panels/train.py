"""The Train panel: corrected cases become a dataset, and the dataset a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QTabWidget, QWidget

from medseg_napari.display import overlays
from medseg_napari.panels.autosave import autosave_of
from medseg_napari.panels.cases_page import CasesPage
from medseg_napari.panels.form_parts import (
    button,
    column,
    growing_form,
    page,
    row,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.next_case_page import NextCasePage
from medseg_napari.panels.training_page import TrainingPage

if TYPE_CHECKING:
    import napari.viewer


class TrainPanel(QWidget):  # type: ignore[misc]
    """Three pages around one dataset: its cases, its training, what to correct next."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.where = wrapped_label("no folder chosen")
        self.browse = button("Choose...", "A dataset, or an empty folder that is to become one")
        self.cases, self.training = CasesPage(viewer), TrainingPage(viewer)
        self.next_case = NextCasePage(viewer)
        self.pages = QTabWidget()
        self._lay_out()
        self.browse.clicked.connect(self._ask_folder)
        self.training.finished.connect(self.next_case.models.choose)
        overlays.install(viewer)
        autosave_of(viewer)
        self._use_last_dataset()

    @property
    def job(self) -> JobWidget:
        """Of the page that shows."""
        job: JobWidget = (self.cases, self.training, self.next_case)[self.pages.currentIndex()].job
        return job

    def use(self, folder: str | Path) -> None:
        """Work on the dataset in this folder."""
        path = Path(folder)
        self.where.setText(path.name)
        self.where.setToolTip(str(path))
        self.cases.use(path)
        self.training.dataset = path

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer; runs go on."""
        self.training.release()
        self.next_case.job.stop()
        self.cases.job.stop()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        form = growing_form(("Dataset", row(self.where, self.browse)))
        for part, title in (
            (self.cases, "1 Cases"),
            (self.training, "2 Train"),
            (self.next_case, "3 Next"),
        ):
            holder = QWidget()
            page(holder, part, part.footer)
            self.pages.addTab(holder, title)
        layout = column(self, form, self.pages)
        form.setContentsMargins(6, 4, 6, 0)
        layout.setStretch(1, 1)

    def _use_last_dataset(self) -> None:
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

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the dataset")
        if folder:
            self.use(folder)
