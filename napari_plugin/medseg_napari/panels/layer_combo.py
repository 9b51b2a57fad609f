"""Combo boxes of the viewer's layers of one kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox

from medseg_napari.editing.active_layers import active_layers_of, is_scan
from medseg_napari.editing.saved_layers import is_label_map
from medseg_napari.layers import MAP_KEY
from medseg_napari.panels.form_parts import narrow_combo

if TYPE_CHECKING:
    from napari.components import LayerList, ViewerModel
    from napari.layers import Image


class ImageLayerCombo(QComboBox):  # type: ignore[misc]
    """Lists the Image layers of a layer list and follows it."""

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        self._layers = layers
        narrow_combo(combo=self)
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        self._refill()

    def layer(self) -> Image | None:
        """The chosen layer, or None when there is none."""
        current = self.currentData()
        return next((layer for layer in self._layers if layer is current), None)

    def choose(self, layer: object) -> None:
        """Choose a layer of the list; nothing happens when it is not there."""
        for row in range(self.count()):
            if self.itemData(row) is layer:
                self.setCurrentIndex(row)

    def refresh(self) -> None:
        """List the layers that are there now."""
        self._refill()

    def forget(self) -> None:
        """Stop following the layer list."""
        self._layers.events.inserted.disconnect(self._on_inserted)
        self._layers.events.removed.disconnect(self._on_removed)

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Refresh the names, which may have been edited, and open."""
        self._refill()
        super().showPopup()

    def _offers(self, layer: object) -> bool:
        return is_scan(layer)

    def _on_inserted(self, event: Any) -> None:
        self._refill(prefer=event.value)

    def _on_removed(self, _event: Any) -> None:
        self._refill()

    def _refill(self, prefer: object = None) -> None:
        images = [layer for layer in self._layers if self._offers(layer)]
        wanted = prefer if prefer in images else self.currentData()
        before = self.currentData()
        blocker = QSignalBlocker(self)
        self.clear()
        for layer in images:
            self.addItem(layer.name, layer)
        rows = [row for row, layer in enumerate(images) if layer is wanted]
        self.setCurrentIndex(rows[0] if rows else len(images) - 1)
        blocker.unblock()
        if self.currentData() is not before:
            self.currentIndexChanged.emit(self.currentIndex())


class LabelsLayerCombo(ImageLayerCombo):
    """Lists the Labels layers of a layer list and follows it."""

    def _offers(self, layer: object) -> bool:
        return is_label_map(layer)


class ActiveLayerCombo(ImageLayerCombo):
    """Shows the active scan or label map of a viewer; another one that is chosen becomes active."""

    def __init__(self, viewer: ViewerModel, kind: Literal["scan", "labels"]) -> None:
        self._active, self._kind = active_layers_of(viewer), kind
        super().__init__(viewer.layers)
        self._active.events.changed.connect(self._on_changed)
        viewer.layers.events.renamed.connect(self._on_changed)
        self.currentIndexChanged.connect(self._on_chosen)

    def forget(self) -> None:
        """Stop following the layer list."""
        super().forget()
        self._active.events.changed.disconnect(self._on_changed)
        self._layers.events.renamed.disconnect(self._on_changed)

    def _offers(self, layer: object) -> bool:
        return is_scan(layer) if self._kind == "scan" else is_label_map(layer)

    def _on_changed(self, _event: Any = None) -> None:
        self._refill()

    def _on_chosen(self, _row: int) -> None:
        layer = self.layer()
        if layer is not None and layer is not getattr(self._active, self._kind):
            self._active.choose(layer)

    def _refill(self, prefer: object = None) -> None:
        before = self.currentData()
        blocker = QSignalBlocker(self)
        self.clear()
        for layer in self._layers:
            if self._offers(layer):
                self.addItem(layer.name, layer)
        self.setCurrentIndex(-1)
        self.choose(getattr(self._active, self._kind))
        blocker.unblock()
        if self.currentData() is not before:
            self.currentIndexChanged.emit(self.currentIndex())


class OptionalLayerCombo(ImageLayerCombo):
    """Lists the layers of one kind below a first row, `nothing`, that stands for none of them."""

    def __init__(self, layers: LayerList, kind: type, nothing: str) -> None:
        self._kind, self._nothing = kind, nothing
        super().__init__(layers)

    def _offers(self, layer: object) -> bool:
        is_map = getattr(layer, "metadata", {}).get(MAP_KEY)
        return isinstance(layer, self._kind) and not is_map

    def _on_inserted(self, _event: Any) -> None:
        self._refill()

    def _refill(self, prefer: object = None) -> None:
        before = self.currentData()
        wanted = before if prefer is None else prefer
        blocker = QSignalBlocker(self)
        self.clear()
        self.addItem(self._nothing, None)
        for layer in self._layers:
            if self._offers(layer):
                self.addItem(layer.name, layer)
        self.choose(wanted)
        blocker.unblock()
        if self.currentData() is not before:
            self.currentIndexChanged.emit(self.currentIndex())
