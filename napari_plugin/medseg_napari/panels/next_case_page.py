"""Third page of the Train panel: which unlabelled scan to correct next."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from medseg_napari.panels.form_parts import (
    button,
    column,
    fill_row,
    growing_form,
    plain_table,
    row,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.model_combo import ModelCombo

if TYPE_CHECKING:
    import napari.viewer

    from medseg.runtime.progress import Progress
    from medseg_napari.layers import LayerTuple
    from medseg_napari.training.active_learning import Ranked

_ABOUT = (
    "Doubt: how probable a wrong label is, in per cent, within what the model finds and its"
    " border. Correct the first ones: they teach most. Double-click opens a scan."
)


class NextCasePage(QWidget):  # type: ignore[misc]
    """Lists the scans of a folder, the ones a model is least sure about first."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: Path | None = None
        self.rows: list[Ranked] = []
        self.models = ModelCombo()
        self.where = wrapped_label("no folder chosen")
        self.browse = button("Choose...", "A folder of scans without labels; nothing is written")
        self.rank_scans = button("Rank scans", "Segment every scan; a stopped search goes on later")
        self.table = plain_table("Scan", "Doubt\n%", "Found\nml")
        self.table.setMinimumHeight(260)
        self.job = JobWidget("the ranking of scans")
        self._lay_out()
        self._connect()

    def use(self, folder: Path) -> None:
        """Take the scans of this folder."""
        self.folder = folder
        self.where.setText(folder.name)
        self.where.setToolTip(str(folder))

    def rank(self) -> None:
        """Look at every scan that was not looked at before."""
        from medseg_napari.training import active_learning

        package = self.models.package()
        if self.folder is None or package is None:
            self.job.show_message("choose a folder of scans and a model first")
            return
        self.job.start(functools.partial(active_learning.rank, self.folder, package), self._show)

    def _lay_out(self) -> None:
        form = growing_form(("Scans", row(self.where, self.browse)), ("Model", self.models))
        column(self, form, self.table, wrapped_label(_ABOUT)).addStretch(1)
        self.footer = QWidget()
        column(self.footer, self.rank_scans, self.job)

    def _connect(self) -> None:
        self.browse.clicked.connect(self._ask_folder)
        self.rank_scans.clicked.connect(self.rank)
        self.table.cellDoubleClicked.connect(self._open)
        self.job.changed.connect(self.rank_scans.setDisabled)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of unlabelled scans")
        if folder:
            self.use(Path(folder))

    def _show(self, rows: list[Ranked]) -> None:
        self.rows = rows
        self.table.setRowCount(len(rows))
        for number, ranked in enumerate(rows):
            uncertainty = ranked.uncertainty
            cells = (
                ranked.source.name,
                f"{uncertainty.mean_percent:.1f}" if uncertainty else "-",
                f"{uncertainty.found_ml:.1f}" if uncertainty else "-",
            )
            fill_row(self.table, number, cells, (ranked.error or ranked.source.name,) * 3)
        failed = sum(ranked.uncertainty is None for ranked in rows)
        summary = f"{len(rows) - failed} scans ranked"
        text = f"{summary}; {failed} could not be read (hover for why)" if failed else summary
        self.job.show_message(text, kind="warning" if failed else "info")

    def _open(self, number: int, _column: int) -> None:
        source = self.rows[number].source
        self.job.start(functools.partial(_layer_of, source), self._add)

    def _add(self, made: LayerTuple) -> None:
        from napari.layers import Layer

        self.viewer.add_layer(Layer.create(*made))


def _layer_of(source: object, progress: Progress) -> LayerTuple:
    from medseg.discovery import ScanSource
    from medseg.reading import read_scan
    from medseg_napari.layers import layer_from_scan

    if not isinstance(source, ScanSource):
        raise TypeError(source)
    progress(0, 1, "reading")
    scan = read_scan(source.path, series=source.series_uid or None, progress=progress)
    return layer_from_scan(scan, source.name)
