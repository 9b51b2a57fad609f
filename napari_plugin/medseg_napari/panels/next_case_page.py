"""Third page of the Train panel: which unlabelled scan to correct next."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QTableWidgetItem, QVBoxLayout, QWidget

from medseg_napari.panels.form_parts import button, growing_form, plain_table, row, wrapped_label
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


class NextPage(QWidget):  # type: ignore[misc]
    """Lists the scans of a folder, the ones a model is least sure about first.

    Attributes
    ----------
    folder : Path or None
        Of unlabelled scans.
    models : ModelCombo
        The model that looks at them.
    browse, look : QPushButton
        Actions.
    table : QTableWidget
        Scan, doubt in per cent, volume found in ml.
    rows : list of Ranked
        As shown.
    activity : JobWidget
        Progress and messages.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: Path | None = None
        self.rows: list[Ranked] = []
        self.models = ModelCombo()
        self.where = wrapped_label("no folder chosen")
        self.browse = button("Choose...", "A folder of scans without labels; nothing is written")
        self.look = button("Rank scans", "Segment every scan; a stopped search goes on later")
        self.table = plain_table("Scan", "Doubt\n%", "Found\nml")
        self.table.setMinimumHeight(260)
        self.activity = JobWidget()
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
            self.activity.say("choose a folder of scans and a model first")
            return
        self.activity.start(
            functools.partial(active_learning.rank, self.folder, package), self._show
        )

    def _lay_out(self) -> None:
        form = growing_form()
        form.addRow("Scans", row(self.where, self.browse))
        form.addRow("Model", self.models)
        column = QVBoxLayout(self)
        column.addLayout(form)
        for part in (self.look, self.activity, self.table, wrapped_label(_ABOUT)):
            column.addWidget(part)
        column.addStretch(1)

    def _connect(self) -> None:
        self.browse.clicked.connect(self._ask_where)
        self.look.clicked.connect(self._on_look)
        self.table.cellDoubleClicked.connect(self._open)
        self.activity.changed.connect(self.look.setDisabled)

    def _on_look(self, _checked: bool = False) -> None:
        self.rank()

    def _ask_where(self, _checked: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of unlabelled scans")
        if folder:
            self.use(Path(folder))

    def _show(self, rows: list[Ranked]) -> None:
        self.rows = rows
        self.table.setRowCount(len(rows))
        for number, one in enumerate(rows):
            doubt = one.doubt
            cells = (
                one.source.name,
                f"{doubt.mean_percent:.1f}" if doubt else "-",
                f"{doubt.found_ml:.1f}" if doubt else "-",
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(one.words or one.source.name)
                if column:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.table.setItem(number, column, item)
        failed = sum(one.doubt is None for one in rows)
        words = f"{len(rows) - failed} scans ranked"
        told = f"{words}; {failed} could not be read (hover for why)" if failed else words
        self.activity.say(told, kind="warning" if failed else "info")

    def _open(self, number: int, _column: int) -> None:
        source = self.rows[number].source
        self.activity.start(functools.partial(_layer_of, source), self._add)

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
