"""Parts that forms are put together from, narrow enough for a dock."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QWidget,
)


def row(*parts: QWidget) -> QWidget:
    """Parts side by side; combo boxes and wrapped labels take what is left."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        wide = part.wordWrap() if isinstance(part, QLabel) else isinstance(part, QComboBox)
        layout.addWidget(part, int(wide))
    return holder


def narrow_combo(tip: str) -> QComboBox:
    """A combo box that does not grow with its longest entry."""
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo


def button(words: str, tip: str) -> QPushButton:
    """A button that explains itself."""
    made = QPushButton(words)
    made.setToolTip(tip)
    return made


def wrapped_label(words: str = "") -> QLabel:
    """Text that breaks into lines."""
    label = QLabel(words)
    label.setWordWrap(True)
    return label


def growing_form() -> QFormLayout:
    """A form whose fields take the whole width."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def plain_table(*header: str) -> QTableWidget:
    """A table to read: whole rows are selected, nothing is edited, the first column stretches."""
    table = QTableWidget(0, len(header))
    table.setHorizontalHeaderLabels(header)
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    head = table.horizontalHeader()
    head.setMinimumSectionSize(30)
    head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
