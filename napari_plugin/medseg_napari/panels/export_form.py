"""What the Export panel looks like; what it does is in :mod:`medseg_napari.panels.export`."""

from __future__ import annotations

from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.export.export import ExportPlan
from medseg_napari.export.formats import FORMATS
from medseg_napari.panels.layer_combo import LabelsLayerCombo

_GROUPS = {
    "Label map": ("nifti", "seg_nrrd", "dicom_seg", "rtstruct", "sr", "csv"),
    "Surfaces": ("stl", "ply", "obj"),
    "Report": ("html", "pdf", "png"),
}
_TICKED = ("nifti", "dicom_seg", "csv")
_ENCODINGS = {
    "binary": "one bit a voxel: every viewer reads it",
    "labelmap": "one number a voxel: small, for programs of 2025 and later",
    "auto": "labelmap for more than eight structures",
}
_REFUSED = "#f0c000"


class ExportForm(QWidget):  # type: ignore[misc]
    """The panel's parts.

    Parameters
    ----------
    labels : LabelsLayerCombo
        The choice of the Labels layer.

    Attributes
    ----------
    scan, origin : QLabel
        The scan found under the labels; how the labels came about.
    formats : dict of str to QCheckBox
        By the name of the format.
    encoding : QComboBox
        Of a DICOM SEG; its item data are the names.
    folder, stem : QLineEdit
        Where, and what the names start with.
    replace, show_uids : QCheckBox
        Choices.
    preview : QTextEdit
        What will be written.
    browse, export, copy_report : QPushButton
        Actions.
    """

    def __init__(self, labels: LabelsLayerCombo) -> None:
        super().__init__()
        self.labels = labels
        self.scan = _wrapped_label()
        self.formats = {name: _tick(form.title) for name, form in FORMATS.items()}
        for name in _TICKED:
            self.formats[name].setChecked(True)
        self.encoding = QComboBox()
        for name, words in _ENCODINGS.items():
            self.encoding.addItem(name, name)
            self.encoding.setItemData(self.encoding.count() - 1, words, Qt.ItemDataRole.ToolTipRole)
        self.encoding.setToolTip("How the voxels of a DICOM SEG are stored")
        self.folder, self.stem = QLineEdit(), QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        self.browse = QPushButton("Choose...")
        self.replace = _tick("Replace files that are there")
        self.preview = QTextEdit()
        self.preview.setReadOnly(True)
        self.preview.setMinimumHeight(150)
        self.export = QPushButton("Export")
        self.origin = _wrapped_label()
        self.origin.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.show_uids = _tick("Show the identifiers of the source")
        self.copy_report = QPushButton("Copy bug report")
        self.copy_report.setToolTip("Versions and the last log lines; no patient text, no paths")
        self._lay_out()

    def chosen_formats(self) -> tuple[str, ...]:
        """Names of the formats that are ticked."""
        return tuple(name for name, box in self.formats.items() if box.isChecked())

    def show_plan(self, plan: ExportPlan) -> None:
        """Say what will be written and what cannot be."""
        parts = []
        if plan.files:
            folder = escape(str(plan.request.folder))
            parts.append(f"<p>Into <b>{folder}</b>:</p>")
            parts += [_entry(file.path, file.words) for file in plan.files]
        else:
            parts.append("<p>Nothing will be written.</p>")
        if plan.refused:
            parts.append("<p>Not possible:</p>")
            parts += [
                f'<p style="margin:0 0 4px 8px; color:{_REFUSED}">{escape(one)}</p>'
                for one in plan.refused
            ]
        self.preview.setHtml("".join(parts))

    def show_facts(self, facts: dict[str, str]) -> None:
        """Say how the labels came about."""
        lines = [f"<b>{escape(name)}</b>: {escape(words)}" for name, words in facts.items()]
        self.origin.setText("<br>".join(lines))

    def _lay_out(self) -> None:
        top = QFormLayout()
        top.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        top.addRow("Labels", self.labels)
        top.addRow("Scan", self.scan)
        where = QFormLayout()
        where.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        where.addRow("Folder", _row(self.folder, self.browse))
        where.addRow("Name", self.stem)
        where.addRow("", self.replace)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        for title, names in _GROUPS.items():
            column.addWidget(self._group(title, names))
        column.addLayout(where)
        column.addWidget(self.preview, 1)
        column.addWidget(self.export)
        column.addWidget(_boxed("How it came about", self.origin, self.show_uids, self.copy_report))

    def _group(self, title: str, names: tuple[str, ...]) -> QGroupBox:
        rows: list[QWidget] = []
        for name in names:
            box = self.formats[name]
            rows.append(_row(box, self.encoding) if name == "dicom_seg" else box)
        return _boxed(title, *rows)


def _entry(path: Path, words: str) -> str:
    return (
        f'<p style="margin:0 0 4px 8px"><b>{escape(path.name)}</b><br>'
        f"<small>{escape(words)}</small></p>"
    )


def _tick(title: str) -> QCheckBox:
    return QCheckBox(title)


def _wrapped_label() -> QLabel:
    label = QLabel("")
    label.setWordWrap(True)
    return label


def _boxed(title: str, *parts: QWidget) -> QGroupBox:
    box = QGroupBox(title)
    column = QVBoxLayout(box)
    column.setContentsMargins(8, 4, 8, 4)
    column.setSpacing(2)
    for part in parts:
        column.addWidget(part)
    return box


def _row(*parts: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, 1 if isinstance(part, QLineEdit) else 0)
    return row
