"""First page of the Train panel: edited layers become cases of a dataset."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLineEdit, QTableWidgetItem, QVBoxLayout, QWidget

from medseg.errors import MedsegError
from medseg_napari.panels.form_parts import (
    button,
    growing_form,
    narrow_combo,
    plain_table,
    row,
    wrapped_label,
)
from medseg_napari.panels.job_widget import JobWidget
from medseg_napari.panels.layer_combo import ImageLayerCombo, LabelsLayerCombo
from medseg_napari.training.cases import (
    AddRequest,
    CaseRow,
    add_case,
    case_rows,
    checking,
    sanity_words,
)

if TYPE_CHECKING:
    import napari.viewer

    from medseg.training import CaseRecord
    from medseg.training.dataset_check import DatasetReport

_STATUSES = ("reviewed", "draft", "raw")


class CasesPage(QWidget):  # type: ignore[misc]
    """Adds cases to the dataset of the panel, and shows what it holds.

    Attributes
    ----------
    folder : Path or None
        Of the dataset.
    scans, labels : ImageLayerCombo, LabelsLayerCombo
        What is added.
    status : QComboBox
        How far the labels were checked.
    name : QLineEdit
        Of the case; digits of a digest when empty.
    add, check : QPushButton
        Actions.
    table : QTableWidget
        Cases, each with a combo box of its status.
    findings : QLabel
        What the last check found.
    activity : JobWidget
        Progress and messages.
    changed : Signal
        Emitted when the dataset has other cases.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: Path | None = None
        self.scans, self.labels = ImageLayerCombo(viewer.layers), LabelsLayerCombo(viewer.layers)
        self.status = narrow_combo("Only reviewed cases are learnt from, unless you say otherwise")
        self.status.addItems(_STATUSES)
        self.name = QLineEdit()
        self.name.setPlaceholderText("automatic")
        self.name.setToolTip("Of the case: never a patient's name. Left empty it is a digest")
        self.add = button("Add to dataset", "Write scan and labels, on the scan's own grid")
        self.check = button("Check", "Read every case and tell what is wrong")
        self.table = plain_table("Case", "Status")
        self.table.setMinimumHeight(160)
        self.findings = wrapped_label()
        self.activity = JobWidget()
        self._lay_out()
        self._connect()

    def use(self, folder: Path | None) -> None:
        """Show the cases of a dataset."""
        self.folder = folder
        self.findings.setText("")
        self.refresh()

    def refresh(self) -> None:
        """Read the list of cases again."""
        rows: list[CaseRow] = []
        try:
            rows = case_rows(self.folder) if self.folder is not None else []
        except MedsegError as error:
            self.activity.say(str(error), kind="error")
        self.table.setRowCount(len(rows))
        for number, case in enumerate(rows):
            self.table.setItem(number, 0, QTableWidgetItem(case.name))
            self.table.setCellWidget(number, 1, self._status_combo(case))

    def add_layers(self) -> None:
        """Add the chosen scan and labels."""
        scan, labels = self.scans.layer(), self.labels.layer()
        if self.folder is None:
            self.activity.say("choose the folder of the dataset first")
        elif scan is None or labels is None:
            self.activity.say("open a scan and its labels first")
        else:
            request = AddRequest(
                self.folder,
                scan.as_layer_data_tuple()[:2],
                labels.as_layer_data_tuple()[:2],
                self.status.currentText(),
                self.name.text(),
            )
            self.activity.start(functools.partial(add_case, request), self._on_added)

    def check_cases(self) -> None:
        """Read every reviewed case and show what is wrong."""
        if self.folder is None:
            self.activity.say("choose the folder of the dataset first")
            return
        self.activity.start(checking(self.folder, self.status.currentText()), self._on_checked)

    def _lay_out(self) -> None:
        form = growing_form()
        form.addRow("Scan", self.scans)
        form.addRow("Labels", self.labels)
        form.addRow("Status", self.status)
        form.addRow("Name", self.name)
        column = QVBoxLayout(self)
        column.addLayout(form)
        for part in (row(self.add, self.check), self.activity, self.table, self.findings):
            column.addWidget(part)
        column.addStretch(1)

    def _connect(self) -> None:
        self.add.clicked.connect(self._on_add)
        self.check.clicked.connect(self._on_check)
        self.table.cellDoubleClicked.connect(self._open_case)
        self.activity.changed.connect(self._on_busy)

    def _on_add(self, _checked: bool = False) -> None:
        self.add_layers()

    def _on_check(self, _checked: bool = False) -> None:
        self.check_cases()

    def _on_busy(self, busy: bool) -> None:
        self.add.setEnabled(not busy)
        self.check.setEnabled(not busy)

    def _on_added(self, record: CaseRecord) -> None:
        self.name.clear()
        self.refresh()
        self.activity.say(f"{record.name} is in the dataset as {record.status}")
        self.changed.emit()

    def _on_checked(self, found: DatasetReport) -> None:
        self.findings.setText(sanity_words(found))
        kind = "info" if found.trainable else "warning"
        self.activity.say("ready to train" if found.trainable else "not ready to train", kind=kind)

    def _status_combo(self, case: CaseRow) -> QComboBox:
        combo = QComboBox()
        combo.addItems(_STATUSES)
        combo.setCurrentText(case.status)
        combo.currentTextChanged.connect(functools.partial(self._set_status, case.name))
        return combo

    def _set_status(self, name: str, status: Any) -> None:
        from medseg.training import CaseFolder

        if self.folder is None:
            return
        try:
            CaseFolder(self.folder).set_status(name, status)
        except MedsegError as error:
            self.activity.say(str(error), kind="error")
            return
        self.activity.say(f"{name} is {status}")
        self.changed.emit()

    def _open_case(self, number: int, _column: int) -> None:
        """Open scan and labels of a case, to look at or to correct them."""
        from medseg.training import CaseFolder

        item = self.table.item(number, 0)
        if self.folder is None or item is None:
            return
        for file in CaseFolder(self.folder).files(item.text()):
            self.viewer.open(str(file), plugin="medseg")
