"""Loss and Dice of a run, drawn with Qt alone."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

Points = Sequence[tuple[float, float]]

_LOSS, _DICE = QColor(230, 159, 0), QColor(86, 180, 233)
_AXES, _TEXT = QColor(110, 115, 125), QColor(200, 204, 210)
_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 38, 34, 18, 18
_MOST_POINTS = 400


class CurvePlot(QWidget):  # type: ignore[misc]
    """Loss (left axis) and mean Dice of held-out cases (right axis, 0 to 1) over the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[tuple[float, float]] = []
        self.dices: list[tuple[float, float]] = []
        self._steps = 1.0
        self.setFixedHeight(150)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("Loss (orange) and mean Dice of held-out cases (blue)")

    def show_curves(self, losses: Points, dices: Points, *, total_steps: int = 0) -> None:
        """Draw these points, long curves averaged; the axis ends at `total_steps` if known."""
        self.losses, self.dices = thinned(losses), list(dices)
        last = max([1.0, *(point[0] for point in (*self.losses, *self.dices))])
        self._steps = max(last, float(total_steps))
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw axes and curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = QFont(self.font())
        font.setPointSizeF(7.5)
        painter.setFont(font)
        inner = self.inner()
        low, high = self._loss_range()
        self._draw_axes(painter, inner, low, high)
        self._draw(painter, self.losses, _LOSS, (low, high))
        self._draw(painter, self.dices, _DICE, (0.0, 1.0), dots=True)
        painter.end()

    def inner(self) -> QRectF:
        """Where curves are drawn."""
        area = QRectF(self.rect())
        return area.adjusted(_MARGIN_LEFT, _MARGIN_TOP, -_MARGIN_RIGHT, -_MARGIN_BOTTOM)

    def _loss_range(self) -> tuple[float, float]:
        values = [value for _, value in self.losses] or [0.0, 1.0]
        low, high = min(values), max(values)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def _draw_axes(self, painter: QPainter, inner: QRectF, low: float, high: float) -> None:
        painter.setPen(QPen(_AXES, 1))
        painter.drawRect(inner)
        left = QRectF(0, 0, _MARGIN_LEFT - 4, 14)
        for value, y in ((high, inner.top()), (low, inner.bottom())):
            _write(painter, left.translated(0, y - 7), f"{value:.2f}", _LOSS, Qt.AlignRight)
        right = QRectF(inner.right() + 4, 0, _MARGIN_RIGHT, 14)
        for text, y in (("1", inner.top()), ("0", inner.bottom())):
            _write(painter, right.translated(0, y - 7), text, _DICE, Qt.AlignLeft)
        top = QRectF(inner.left(), 1, inner.width(), 14)
        _write(painter, top, "loss", _LOSS, Qt.AlignLeft)
        _write(painter, top, "Dice, held-out cases", _DICE, Qt.AlignRight)
        bottom = QRectF(inner.left(), inner.bottom() + 2, inner.width(), 14)
        _write(painter, bottom, "0", _TEXT, Qt.AlignLeft)
        _write(painter, bottom, f"{self._steps:.0f} steps", _TEXT, Qt.AlignRight)

    def _draw(
        self,
        painter: QPainter,
        points: Points,
        color: QColor,
        span: tuple[float, float],
        *,
        dots: bool = False,
    ) -> None:
        low, high = span
        inner = self.inner()
        line = QPolygonF()
        for step, value in points:
            x = inner.left() + inner.width() * step / self._steps
            y = inner.bottom() - inner.height() * (value - low) / (high - low)
            line.append(QPointF(x, y))
        painter.setPen(QPen(color, 1.6))
        painter.drawPolyline(line)
        painter.setBrush(color)
        for point in line if dots else ():
            painter.drawEllipse(point, 2.5, 2.5)
        painter.setBrush(Qt.BrushStyle.NoBrush)


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most some hundred points, each the mean of its neighbours."""
    size = -(-len(points) // _MOST_POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _write(
    painter: QPainter, area: QRectF, text: str, color: QColor, side: Qt.AlignmentFlag
) -> None:
    painter.setPen(color)
    painter.drawText(area, int(side | Qt.AlignVCenter), text)
