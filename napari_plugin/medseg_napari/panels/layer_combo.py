"""A combo box of the viewer's Image layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QWidget

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Image


class ImageLayerCombo(QComboBox):  # type: ignore[misc]
    """Lists the Image layers of a layer list and follows it.

    Parameters
    ----------
    layers : napari.components.LayerList
        Of the viewer.
    parent : QWidget, optional
        Owner.
    """

    def __init__(self, layers: LayerList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers = layers
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        self._refill()

    def layer(self) -> Image | None:
        """The chosen layer, or None when there is none."""
        chosen = self.currentData()
        return next((layer for layer in self._layers if layer is chosen), None)

    def forget(self) -> None:
        """Stop following the layer list."""
        self._layers.events.inserted.disconnect(self._on_inserted)
        self._layers.events.removed.disconnect(self._on_removed)

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Refresh the names, which may have been edited, and open."""
        self._refill()
        super().showPopup()

    def _on_inserted(self, event: Any) -> None:
        self._refill(prefer=event.value)

    def _on_removed(self, _event: Any) -> None:
        self._refill()

    def _refill(self, prefer: object = None) -> None:
        from napari.layers import Image

        images = [layer for layer in self._layers if isinstance(layer, Image)]
        wanted = prefer if prefer in images else self.currentData()
        before = self.currentData()
        blocker = QSignalBlocker(self)
        self.clear()
        for layer in images:
            self.addItem(layer.name, layer)
        chosen = [row for row, layer in enumerate(images) if layer is wanted]
        self.setCurrentIndex(chosen[0] if chosen else len(images) - 1)
        blocker.unblock()
        if self.currentData() is not before:
            self.currentIndexChanged.emit(self.currentIndex())
