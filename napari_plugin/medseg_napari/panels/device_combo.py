"""The devices of this machine in plain words, named without keeping the window waiting."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QComboBox

from medseg_napari.inference.devices import DeviceChoice, device_choices


class DeviceCombo(QComboBox):  # type: ignore[misc]
    """Offers the best device at once, and the others once it is seen and torch is imported."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        self.addItem("the best there is", "auto")
        self._looked = False

    def name(self) -> str:
        """The chosen device, as `medseg.runtime.device.choose_device` takes it."""
        return str(self.currentData() or "auto")

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Look for devices the first time it is seen: importing torch takes a while."""
        super().showEvent(event)
        if not self._looked:
            self._looked = True
            self._look()

    def _look(self) -> None:
        from napari.qt.threading import create_worker

        worker = create_worker(device_choices, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(self._on_found)
        worker.start()

    def _on_found(self, found: list[DeviceChoice]) -> None:
        chosen = self.name()
        self.clear()
        for one in found:
            self.addItem(one.words, one.name)
        self.setCurrentIndex(max(self.findData(chosen), 0))
