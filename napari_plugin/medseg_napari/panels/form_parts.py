"""Parts that forms are put together from, narrow enough for a dock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_napari.display import commands

if TYPE_CHECKING:
    from napari.components import ViewerModel

_3D = "3-D"
KEYS_OF_VIEWS = {"axial": "Alt-7", "coronal": "Alt-8", "sagittal": "Alt-9", _3D: "Alt-6"}
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


def row(*parts: QWidget, equal: bool = False) -> QWidget:
    """Parts side by side; buttons, ticks and short labels keep their width unless all are equal."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for part in parts:
        short = isinstance(part, QLabel) and not part.wordWrap()
        fixed = isinstance(part, QPushButton | QCheckBox) or short
        layout.addWidget(part, int(equal or not fixed))
    return holder


def column(holder: QWidget, *parts: QWidget | QFormLayout, margin: int = 0) -> QVBoxLayout:
    """Parts of a widget below each other."""
    layout = QVBoxLayout(holder)
    layout.setContentsMargins(margin, margin, margin, margin)
    for part in parts:
        (layout.addLayout if isinstance(part, QFormLayout) else layout.addWidget)(part)
    return layout


def group(title: str, *parts: QWidget) -> QGroupBox:
    """Parts below each other in a box with a title."""
    box = QGroupBox(title)
    layout = column(box, *parts)
    layout.setContentsMargins(8, 4, 8, 4)
    layout.setSpacing(2)
    return box


def scrolling(widget: QWidget) -> QScrollArea:
    """A widget that scrolls where there is too little room for it."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setWidget(widget)
    return area


def page(holder: QWidget, content: QWidget, *below: QWidget) -> QScrollArea:
    """A panel: `content` scrolls where it must, what is `below` stays in sight at the bottom."""
    content.setContentsMargins(6, 4, 6, 4)
    area = scrolling(content)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    footer = QWidget()
    column(footer, *below).setContentsMargins(6, 2, 6, 4)
    column(holder, area, footer).setStretch(0, 1)
    return area


def narrow_combo(tip: str = "", combo: QComboBox | None = None) -> QComboBox:
    """A combo box, or the given one, that does not grow with its longest entry."""
    combo = QComboBox() if combo is None else combo
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo


def add_item(combo: QComboBox, text: str, data: object, tip: str) -> None:
    """Add an entry that explains itself."""
    combo.addItem(text, data)
    combo.setItemData(combo.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)


def button(text: str, tip: str = "") -> QPushButton:
    """A button that explains itself."""
    widget = QPushButton(text)
    widget.setToolTip(tip)
    return widget


def tick(text: str, tip: str = "") -> QCheckBox:
    """A check box that explains itself."""
    widget = QCheckBox(text)
    widget.setToolTip(tip)
    return widget


def number(
    low: float, high: float, value: float, *, unit: str = "", tip: str = ""
) -> QDoubleSpinBox:
    """A number in a range; with a unit it has one decimal, without one it is whole."""
    spin = QDoubleSpinBox()
    spin.setDecimals(int(bool(unit)))
    spin.setRange(low, high)
    spin.setValue(value)
    spin.setSuffix(unit and f" {unit}")
    spin.setToolTip(tip)
    spin.setMinimumWidth(72)
    return spin


def wrapped_label(text: str = "") -> QLabel:
    """Plain or rich text that breaks into lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def growing_form(*rows: tuple[str, QWidget]) -> QFormLayout:
    """A form whose fields take the whole width."""
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for title, part in rows:
        form.addRow(title, part)
    return form


def plain_table(*header: str, tips: Sequence[str] = (), stretched: int = 0) -> QTableWidget:
    """A table to read: whole rows are selected, nothing is edited, one column stretches."""
    table = QTableWidget(0, len(header))
    table.setTabKeyNavigation(False)  # Tab leaves it; arrows move in it
    table.setHorizontalHeaderLabels(header)
    for position, tip in enumerate(tips):
        table.horizontalHeaderItem(position).setToolTip(tip)
    table.verticalHeader().hide()
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    head = table.horizontalHeader()
    head.setMinimumSectionSize(30)
    head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    head.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    return table


def fill_row(table: QTableWidget, line: int, texts: Sequence[str], tips: Sequence[str]) -> None:
    """Write a row of a table: a name at the left, then numbers at the right."""
    for position, (text, tip) in enumerate(zip(texts, tips, strict=True)):
        item = QTableWidgetItem(text)
        item.setToolTip(tip)
        if position:
            item.setTextAlignment(_RIGHT)
        table.setItem(line, position, item)


def swatch(color: tuple[int, int, int], size_px: int) -> QPixmap:
    """A square of a colour."""
    pixmap = QPixmap(size_px, size_px)
    pixmap.fill(QColor(*color))
    return pixmap


def pause_timer(parent: QObject, pause_ms: int, action: Callable[[], None]) -> QTimer:
    """A timer that calls `action` when it was not started again for a while."""
    timer = QTimer(parent, singleShot=True, interval=pause_ms)
    timer.timeout.connect(action)
    return timer


def plane_buttons() -> dict[str, QPushButton]:
    """Buttons for axial, coronal, sagittal and 3-D; see :func:`connect_planes`."""
    tips = {name: f"Slices of the {name} plane" for name in commands.PLANES}
    tips[_3D] = "The patient facing you"
    return {
        name: button(name.title(), f"{tip} ({KEYS_OF_VIEWS[name]})") for name, tip in tips.items()
    }


def connect_planes(buttons: dict[str, QPushButton], viewer: ViewerModel) -> None:
    """Let buttons turn a viewer."""
    for plane in commands.PLANES:
        buttons[plane].clicked.connect(
            lambda _on=False, plane=plane: commands.show_plane(viewer, plane)
        )
    buttons[_3D].clicked.connect(lambda _on=False: commands.front_3d(viewer))
