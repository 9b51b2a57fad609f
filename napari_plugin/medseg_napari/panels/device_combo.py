"""The devices of this machine in plain words, named without keeping the window waiting."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QComboBox

from medseg_napari.inference.devices import DeviceChoice, device_choices
from medseg_napari.panels.form_parts import narrow_combo
from medseg_napari.workers import call_in_worker


class DeviceCombo(QComboBox):  # type: ignore[misc]
    """Offers the best device at once, and the others once it is seen and torch is imported."""

    def __init__(self, tip: str) -> None:
        super().__init__()
        narrow_combo(tip, self)
        self.addItem("the best there is", "auto")
        self._listed = False

    def name(self) -> str:
        """The chosen device, as `medseg.runtime.device.choose_device` takes it."""
        return str(self.currentData() or "auto")

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Look for devices the first time it is seen: importing torch takes a while."""
        super().showEvent(event)
        if not self._listed:
            self._listed = True
            call_in_worker(device_choices, then=self._on_devices, ignore_errors=True)

    def _on_devices(self, choices: list[DeviceChoice]) -> None:
        current = self.name()
        self.clear()
        for choice in choices:
            self.addItem(choice.text, choice.name)
        self.setCurrentIndex(max(self.findData(current), 0))
