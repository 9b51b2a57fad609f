"""Which layers are the channels of a model of several: a row for each after the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget

from medseg.discovery.channel_files import channel_list, channel_of
from medseg.errors import InputError
from medseg_napari.panels.layer_combo import ImageLayerCombo, OptionalLayerCombo

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Image


class ChannelRows(QWidget):  # type: ignore[misc]
    """The layers of the channels; the scan's own layer is the first of them."""

    changed = Signal()

    def __init__(self, layers: LayerList, scans: ImageLayerCombo) -> None:
        super().__init__()
        self._layers, self._scans = layers, scans
        self._channels: tuple[str, ...] = ()
        self.combos: list[OptionalLayerCombo] = []
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        scans.currentIndexChanged.connect(self._on_scan)
        self._on_scan()

    def ask_for(self, channels: Sequence[str]) -> None:
        """Show a row for each channel of a model."""
        if tuple(channels) != self._channels:
            self._channels = tuple(channels)
            self._make_rows()
        self.guess()

    def layers(self) -> list[Image]:
        """The layers after the first, in order; none when the scan's own layer holds all channels.

        Raises
        ------
        InputError
            When a channel's layer is still to be chosen.
        """
        if not self._needed():
            return []
        selected = {
            name: combo.layer() for name, combo in zip(self._channels[1:], self.combos, strict=True)
        }
        missing = [name for name, layer in selected.items() if layer is None]
        if missing:
            raise InputError(
                f"the model takes {channel_list(self._channels)}; the scan is"
                f" {self._channels[0]}: choose the layer of {', '.join(missing)}"
            )
        return [layer for layer in selected.values() if layer is not None]

    def guess(self) -> None:
        """Choose layers by their names, such as ``c_0001`` or ``c_T2``, the scan's own too."""
        named = self._named()
        scan = self._scans.layer()
        if scan in named and self._needed():
            self._scans.choose(_layer_at(named, named[scan][0], 0))
        self._fill()

    def forget(self) -> None:
        """Let go of the viewer's layers."""
        for combo in self.combos:
            combo.forget()

    def _make_rows(self) -> None:
        from napari.layers import Image

        self.forget()
        while self._form.rowCount():
            self._form.removeRow(0)
        self.combos = []
        for number, name in enumerate(self._channels):
            if number == 0:
                self._form.addRow(name, QLabel("the scan"))
                continue
            combo = OptionalLayerCombo(self._layers, Image, "choose a layer")
            combo.setToolTip(f"The image of {name}, on the grid of the scan")
            combo.currentIndexChanged.connect(self.changed)
            self.combos.append(combo)
            self._form.addRow(name, combo)
        self._on_scan()

    def _needed(self) -> bool:
        """Whether the chosen scan does not hold all channels of the model itself."""
        scan = self._scans.layer()
        count = 1 if scan is None or scan.data.ndim < 4 else scan.data.shape[0]
        return len(self._channels) > 1 and count != len(self._channels)

    def _on_scan(self, _row: int = -1) -> None:
        self.setVisible(self._needed())
        self._fill()

    def _fill(self) -> None:
        """Choose what belongs to the scan by its name, unless that may be so already."""
        named = self._named()
        case = named.get(self._scans.layer(), ("", 0))[0]
        for number, combo in enumerate(self.combos, start=1):
            combo.refresh()  # it may not have been told yet of a layer that came
            layer = combo.layer()
            if layer is None or named.get(layer, (case, number))[0] != case:
                combo.choose(_layer_at(named, case, number))

    def _named(self) -> dict[Image | None, tuple[str, int]]:
        """The case and the channel that the names of images tell."""
        from napari.layers import Image

        images = [layer for layer in self._layers if isinstance(layer, Image)]
        named = ((layer, channel_of(Path(layer.name), self._channels)) for layer in images)
        return {layer: case_and_channel for layer, case_and_channel in named if case_and_channel}


def _layer_at(names: Mapping[Image | None, tuple[str, int]], case: str, n: int) -> Image | None:
    """The layer whose name tells this channel of this case."""
    return next((layer for layer, name in names.items() if name == (case, n)), None)
