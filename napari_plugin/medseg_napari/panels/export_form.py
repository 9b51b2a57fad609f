"""What the Export panel looks like; what it does is in :mod:`medseg_napari.panels.export`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLineEdit, QTextEdit, QWidget

from medseg_napari.export.export import ExportPlan
from medseg_napari.export.formats import FORMATS
from medseg_napari.panels.form_parts import (
    add_item,
    button,
    column,
    group,
    growing_form,
    row,
    tick,
    wrapped_label,
)
from medseg_napari.panels.layer_combo import ActiveLayerCombo
from medseg_napari.panels.looks import message_color

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


class ExportForm(QWidget):  # type: ignore[misc]
    """The visible parts; what they do is in the panel."""

    def __init__(self, labels: ActiveLayerCombo) -> None:
        super().__init__()
        self.labels = labels
        self.scan = wrapped_label()
        self.formats = {name: tick(form.title) for name, form in FORMATS.items()}
        for name in _TICKED:
            self.formats[name].setChecked(True)
        self.encoding = QComboBox()
        for name, text in _ENCODINGS.items():
            add_item(self.encoding, name, name, text)
        self.encoding.setToolTip("How the voxels of a DICOM SEG are stored")
        self.folder, self.stem = QLineEdit(), QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        self.browse = button("Choose...")
        self.replace = tick("Replace files that are there")
        self.preview = QTextEdit()
        self.preview.setReadOnly(True)
        self.preview.setMinimumHeight(150)
        self.export = button("Export")
        self.origin = wrapped_label()
        self.origin.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.show_uids = tick("Show the identifiers of the source")
        self.copy_report = button(
            "Copy bug report", "Versions and the last log lines; no patient text, no paths"
        )
        self._lay_out()

    def selected_formats(self) -> tuple[str, ...]:
        """Names of the formats that are ticked."""
        return tuple(name for name, box in self.formats.items() if box.isChecked())

    def show_plan(self, plan: ExportPlan) -> None:
        """Say what will be written and what cannot be."""
        parts, refused = [], message_color("refused")
        if plan.files:
            folder = escape(str(plan.request.folder))
            parts.append(f"<p>Into <b>{folder}</b>:</p>")
            parts += [_entry(file.path, file.contents) for file in plan.files]
        else:
            parts.append("<p>Nothing will be written.</p>")
        if plan.refused:
            parts.append("<p>Not possible:</p>")
            parts += [
                f'<p style="margin:0 0 4px 8px; color:{refused}">{escape(reason)}</p>'
                for reason in plan.refused
            ]
        self.preview.setHtml("".join(parts))

    def show_written(self, files: Sequence[Path]) -> None:
        """Say what was written."""
        parts = [f"<p>In <b>{escape(str(files[0].parent))}</b>:</p>"] if files else []
        parts += [_entry(path, "written") for path in files]
        self.preview.setHtml("".join(parts))

    def show_facts(self, facts: dict[str, str]) -> None:
        """Say how the labels came about."""
        lines = [f"<b>{escape(name)}</b>: {escape(text)}" for name, text in facts.items()]
        self.origin.setText("<br>".join(lines))

    def _lay_out(self) -> None:
        folder = row(self.folder, self.browse)
        origin = group("How it came about", self.origin, self.show_uids, self.copy_report)
        layout = column(
            self,
            growing_form(("On the scan", self.scan)),
            *(self._group(title, names) for title, names in _GROUPS.items()),
            growing_form(("Folder", folder), ("Name", self.stem), ("", self.replace)),
            self.preview,
            origin,
        )
        layout.setStretch(layout.indexOf(self.preview), 1)

    def _group(self, title: str, names: tuple[str, ...]) -> QWidget:
        boxes = {name: self.formats[name] for name in names}
        if "dicom_seg" in boxes:
            boxes["dicom_seg"] = row(boxes["dicom_seg"], self.encoding)
        return group(title, *boxes.values())


def _entry(path: Path, text: str) -> str:
    return (
        f'<p style="margin:0 0 4px 8px"><b>{escape(path.name)}</b><br>'
        f"<small>{escape(text)}</small></p>"
    )
