"""What may be chosen in the Segment panel, and what the person chose, as one request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFileDialog

from medseg.errors import InputError, MedsegError
from medseg_napari.display_settings import DEFAULTS, setting
from medseg_napari.inference.devices import DeviceChoice, device_choices
from medseg_napari.inference.postprocessing_texts import StepChoice, step_choices
from medseg_napari.inference.roi import add_box_layer, box_of
from medseg_napari.inference.run import InferenceOptions, Request, model_summary
from medseg_napari.inference.warnings import file_of, other_modality, placement_warning
from medseg_napari.panels.form_parts import add_item
from medseg_napari.training import model_list
from medseg_napari.workers import call_in_worker

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from medseg.inference import Roi
    from medseg.model_package import ModelPackage
    from medseg.planning import Component
    from medseg_napari.panels.segment_form import SegmentForm

_MODELS_OWN, _NOTHING = "model", "nothing"
_PROBABILITY = "probability of "


class SegmentController(QObject):  # type: ignore[misc]
    """Fills the choices of a form, and reads them."""

    changed = Signal()

    def __init__(self, form: SegmentForm, viewer: napari.viewer.Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self.form = form
        self.viewer = viewer
        self._came = False
        self._connect()

    def fill(self) -> None:
        """Show what is known of the chosen model; offer devices and steps when torch is there."""
        self.form.tta.setChecked(bool(setting("inference", "tta")))
        self._list_devices()
        self._on_model()
        self._on_scan()

    def add_model(self, folder: str | Path) -> None:
        """Offer the model package in `folder`, now and in later sessions, and choose it."""
        from medseg.model_package import find_package

        try:
            package = find_package(folder)
            if not self.form.model.lists(package):
                package = model_list.add(package.folder)  # which tells every list of models
        except MedsegError as error:
            self.form.job.show_message(str(error), kind="error")
            return
        self.form.model.choose(package)

    def request(self) -> Request:
        """What is set; an error when something is still to be chosen, or the box is empty."""
        layer, package = self.form.scans.layer(), self.form.model.package()
        if layer is None:
            raise InputError("open a scan first, for example with File > Open Sample > medseg")
        if package is None:
            raise InputError("choose the folder of a model package first")
        data, attributes, _ = layer.as_layer_data_tuple()
        device = str(self.form.device.currentData() or "auto")
        tta = self.form.tta.isChecked()
        more = tuple(other.as_layer_data_tuple()[:2] for other in self.form.channels.layers())
        options = self._options(layer)
        backend = str(setting("inference", "backend"))
        return Request(data, attributes, package, device, options, tta, backend, more)

    def draw_box(self) -> None:
        """Give the person a rectangle tool on the scan, and look only where they draw."""
        scan = self.form.scans.layer()
        if scan is None:
            self.form.job.show_message("open a scan first, then draw a box on it", kind="warning")
            return
        layer = add_box_layer(self.viewer, scan)
        layer.events.data.connect(self._on_shape)
        self.form.boxes.choose(layer)
        self.form.job.show_message(
            "draw a rectangle on the slice; Slices says how far it goes across them"
        )

    def forget(self) -> None:
        """Let go of the viewer's layers."""
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.form.scans.currentIndexChanged.disconnect(self._on_scan)
        for combo in (self.form.boxes, self.form.target, self.form.channels):
            combo.forget()

    def _connect(self) -> None:
        form = self.form
        form.browse.clicked.connect(self._browse)
        form.draw.clicked.connect(self.draw_box)
        form.reopen.clicked.connect(self._reopen)
        form.scans.currentIndexChanged.connect(self._on_scan)
        form.model.currentIndexChanged.connect(self._on_model)
        form.boxes.currentIndexChanged.connect(self._on_box)
        for combo in (form.device, form.postprocessing, form.shown):
            combo.currentIndexChanged.connect(self.changed)
        form.channels.changed.connect(self._on_shape)
        self.viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        form.tta.toggled.connect(self.changed)
        for spin in (form.first, form.last):
            spin.valueChanged.connect(self.changed)

    def _on_inserted(self, _event: object) -> None:
        """Take channels by their names, also when napari makes the new layer the active one."""
        self._came = True
        QTimer.singleShot(0, self, self._forget_that_one_came)
        self.form.channels.guess()

    def _forget_that_one_came(self) -> None:
        self._came = False

    def _options(self, layer: Image) -> InferenceOptions:
        shown = str(self.form.shown.currentData() or "")
        return InferenceOptions(
            roi=self._box(layer),
            overlap=_overlap(),
            postprocessing=self._postprocessing(),
            uncertainty=shown == "uncertainty",
            probability_of=shown.removeprefix(_PROBABILITY) if _PROBABILITY in shown else "",
            preview=self.form.preview.isChecked(),
        )

    def _box(self, layer: Image) -> Roi | None:
        shapes = self.form.boxes.layer()
        if shapes is None:
            return None
        last = self.form.last.value()
        return box_of(shapes, layer, first=self.form.first.value(), last=None if last < 0 else last)

    def _postprocessing(self) -> tuple[Component, ...] | None:
        from medseg.planning import Component

        step = self.form.postprocessing.currentData()
        if step in (None, _MODELS_OWN):
            return None
        return () if step == _NOTHING else (Component(name=step),)

    def _list_devices(self) -> None:
        """Name devices and steps without keeping the window waiting for torch to be imported."""
        self.form.device.addItem("the best there is", "auto")
        self.form.postprocessing.addItem("as the model says", _MODELS_OWN)
        call_in_worker(_devices_and_steps, then=self._on_devices, ignore_errors=True)

    def _on_devices(self, choices: tuple[list[DeviceChoice], list[StepChoice]]) -> None:
        devices, steps = choices
        device, postprocessing = self.form.device, self.form.postprocessing
        device.clear()
        for choice in devices:
            device.addItem(choice.text, choice.name)
        device.setCurrentIndex(max(device.findData(setting("inference", "device")), 0))
        device.setToolTip("Where the model runs: " + devices[0].text)
        postprocessing.addItem("nothing", _NOTHING)
        for step in steps:
            add_item(postprocessing, step.text, step.name, step.settings)

    def _on_scan(self, _row: int = -1) -> None:
        if self._came:
            self._came = False
            self.form.channels.guess()
        layer = self.form.scans.layer()
        is_unsure = layer is not None and bool(_placement(layer))
        self.form.reopen.setVisible(is_unsure and bool(_file_of(layer)))
        self._warn()
        self.changed.emit()

    def _on_model(self, _row: int = -1) -> None:
        from medseg.model_package.card import card_text

        package = self.form.model.package()
        self.form.about.setVisible(package is not None)
        if package is None:
            return
        self.form.about.setText(model_summary(package))
        card = card_text(package.manifest)
        self.form.card.setMarkdown(card.replace("\n## ", "\n#### ").removeprefix("# "))
        self._offer_maps(package)
        self.form.channels.ask_for(package.manifest.plan.channels)
        self._warn()
        self.changed.emit()

    def _offer_maps(self, package: ModelPackage) -> None:
        shown = self.form.shown
        shown.clear()
        shown.addItem("nothing", "")
        shown.addItem("uncertainty: where labels may be wrong", "uncertainty")
        for name in package.manifest.labels.names:
            shown.addItem(_PROBABILITY + name, _PROBABILITY + name)

    def _on_box(self, _row: int = -1) -> None:
        self.form.show_box(visible=self.form.boxes.layer() is not None)
        self.changed.emit()

    def _on_shape(self, _event: object = None) -> None:
        self._warn()
        self.changed.emit()

    def _warn(self) -> None:
        """Say what is doubtful about this scan and this model, as long as they are chosen."""
        self.form.show_warning(self._warning())

    def _warning(self) -> str:
        layer, package = self.form.scans.layer(), self.form.model.package()
        if layer is None:
            return ""
        data, attributes, _ = layer.as_layer_data_tuple()
        text = placement_warning(data, attributes)
        if text or package is None:
            return text
        try:
            self.form.channels.layers()
        except InputError as error:
            return str(error)
        return other_modality(data, attributes, package)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self.form, "Folder of a model package")
        if folder:
            self.add_model(folder)

    def _reopen(self) -> None:
        path = _file_of(self.form.scans.layer())
        if path:
            self.viewer.open(path, plugin="medseg")


def _overlap() -> float | None:
    """The overlap that the preferences ask for, unless they leave it to the model."""
    overlap = float(setting("inference", "overlap"))
    return None if overlap == DEFAULTS["inference"]["overlap"] else overlap


def _devices_and_steps() -> tuple[list[DeviceChoice], list[StepChoice]]:
    return device_choices(), step_choices()


def _placement(layer: Image) -> str:
    data, attributes, _ = layer.as_layer_data_tuple()
    return placement_warning(data, attributes)


def _file_of(layer: Image | None) -> str:
    return file_of(layer.source.path) if layer is not None else ""
