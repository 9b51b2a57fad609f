"""How panels look in any theme, and what they tell those who do not see them."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QWidget,
)

_DARK = {"info": "", "warning": "#f0c000", "error": "#ff6b6b", "refused": "#f0c000"}
_LIGHT = {"info": "", "warning": "#7a5600", "error": "#a80f1f", "refused": "#7a5600"}
_CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
)
_FOCUS = (
    "QPushButton:focus, QCheckBox:focus, QComboBox:focus, QLineEdit:focus, QAbstractSpinBox:focus,"
    " QPlainTextEdit:focus, QTextEdit:focus, QTableView:focus, QTreeView:focus, QSlider:focus,"
    " QTabBar:focus {{ border: 1px solid {ring}; }}"
)


def message_color(kind: str) -> str:
    """The colour of a message in the theme of now, as a style sheet has it; empty for the usual."""
    return (_DARK if _theme_is_dark() else _LIGHT)[kind]


class ThemeStyle:
    """Gives a widget a ring around what has the keys, in the colours of the theme of now."""

    def __init__(self, widget: QWidget) -> None:
        from napari.settings import get_settings

        self._widget = widget
        get_settings().appearance.events.theme.connect(self._apply)
        self._apply()

    def _apply(self, _event: Any = None) -> None:
        ring = "#ffd54a" if _theme_is_dark() else "#0b57d0"
        self._widget.setStyleSheet(_FOCUS.format(ring=ring))


def name_parts(root: QWidget) -> None:
    """Give every control below a widget a name for screen readers: its label, text or tip."""
    for form in root.findChildren(QFormLayout):
        for line in range(form.rowCount()):
            label = form.itemAt(line, QFormLayout.ItemRole.LabelRole)
            field = form.itemAt(line, QFormLayout.ItemRole.FieldRole)
            if label is not None and field is not None and field.widget() is not None:
                _name(field.widget(), label.widget().text())
    for label in root.findChildren(QLabel):
        if label.buddy() is not None:
            _name(label.buddy(), label.text())
    for control in root.findChildren(QWidget):
        if isinstance(control, _CONTROLS) and not control.accessibleName():
            shown = control.text() if isinstance(control, QAbstractButton) else ""
            hint = control.placeholderText() if isinstance(control, QLineEdit) else ""
            control.setAccessibleName(shown or hint or control.toolTip().split("\n")[0])


def _name(field: QWidget, text: str) -> None:
    """Name a field, or the first control in a row of several, by the label before it."""
    controls = [field, *field.findChildren(QWidget)]
    first = next((control for control in controls if isinstance(control, _CONTROLS)), None)
    if first is not None and not first.accessibleName():
        first.setAccessibleName(text)


def _theme_is_dark() -> bool:
    from napari.settings import get_settings
    from napari.utils.theme import get_theme

    return bool(get_theme(get_settings().appearance.theme).type == "dark")
