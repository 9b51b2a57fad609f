"""The scan and the label map that everything works on: those chosen last in napari's layer list."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from napari.utils.events import EmitterGroup

from medseg_napari.editing.saved_layers import is_label_map
from medseg_napari.layers import MAP_KEY, attributes_of, same_place, space_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

_of_viewers: weakref.WeakKeyDictionary[ViewerModel, ActiveLayers] = weakref.WeakKeyDictionary()


def active_layers_of(viewer: ViewerModel) -> ActiveLayers:
    """Those of a viewer; the same for every panel and command."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes plugins a proxy
    if viewer not in _of_viewers:
        _of_viewers[viewer] = ActiveLayers(viewer)
    return _of_viewers[viewer]


class ActiveLayers:
    """One scan and one label map of a viewer.

    A label map that is chosen in the layer list brings the scan below it; a scan brings the label
    map on it, the last one in use if that lies there. `events.changed` tells of another one.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = weakref.ref(viewer)
        self._scan: weakref.ref[Image] | None = None
        self._labels: weakref.ref[Labels] | None = None
        self.events = EmitterGroup(source=self, changed=None)
        viewer.layers.selection.events.active.connect(self._follow)
        viewer.layers.events.inserted.connect(self._follow)
        viewer.layers.events.removed.connect(self._follow)
        self._follow()

    @property
    def scan(self) -> Image | None:
        """The active scan, if there is one."""
        return self._scan() if self._scan is not None else None

    @property
    def labels(self) -> Labels | None:
        """The active label map, if there is one."""
        return self._labels() if self._labels is not None else None

    def choose(self, layer: Any) -> None:
        """Make a layer the active one of the layer list."""
        viewer = self._viewer()
        if viewer is not None and layer in viewer.layers:
            viewer.layers.selection.active = layer

    def _follow(self, _event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        layers = list(viewer.layers)
        before = scan, labels = self._among(layers, self.scan), self._among(layers, self.labels)
        active = viewer.layers.selection.active
        if is_label_map(active):
            labels = active
            scan = scan_below(labels, layers) or scan or _last(filter(is_scan, layers))
        else:
            scan = active if is_scan(active) else scan or _last(filter(is_scan, layers))
            labels = _labels_on(scan, labels, layers)
        self._scan = weakref.ref(scan) if scan is not None else None
        self._labels = weakref.ref(labels) if labels is not None else None
        if before[0] is not scan or before[1] is not labels or _event is None:
            self.events.changed()

    @staticmethod
    def _among(layers: list[Any], layer: Any) -> Any:
        return next((present for present in layers if present is layer), None)


def is_scan(layer: object) -> bool:
    """Whether a layer is an image that is no map which medseg shows to look at."""
    from napari.layers import Image

    return isinstance(layer, Image) and not layer.metadata.get(MAP_KEY)


def lies_on(labels: Labels, scan: Image) -> bool:
    """Whether labels have the voxels of a scan, or of its time points, at the same place."""
    shape = space_of(scan.data, {"rgb": scan.rgb})
    return same_place(labels.data.shape, attributes_of(labels), shape, attributes_of(scan))


def scan_below(labels: Labels, layers: Iterable[Any]) -> Image | None:
    """The topmost scan with the voxels of labels; one that shows if there is one."""
    below = [layer for layer in layers if is_scan(layer) and lies_on(labels, layer)]
    scan: Image | None = _last(layer for layer in below if layer.visible) or _last(below)
    return scan


def _labels_on(scan: Any, labels: Any, layers: list[Any]) -> Any:
    """The label map to go on with where a scan is chosen.

    One that belongs to no open scan stays; one of another scan does not, as strokes would go there.
    """
    if scan is None or (labels is not None and lies_on(labels, scan)):
        return labels or _last(filter(is_label_map, layers))
    on_it = _last(layer for layer in layers if is_label_map(layer) and lies_on(layer, scan))
    if on_it is None and labels is not None and scan_below(labels, layers) is None:
        return labels
    return on_it


def _last(layers: Any) -> Any:
    """The topmost of some layers."""
    return next(reversed(list(layers)), None)
