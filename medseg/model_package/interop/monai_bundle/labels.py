"""What a bundle's label values mean, by the names in its metadata and its last steps."""

from __future__ import annotations

from typing import Any

from medseg.errors import PackageError
from medseg.model_package.interop.decoding import channel_names
from medseg.planning.plan import Component
from medseg.volume.label_table import LabelTable


def labels_of(
    formats: Any, after: tuple[Component, ...], *, channels: int
) -> tuple[tuple[str, ...], LabelTable]:
    """The label of each channel of the network (``""`` for the background), and the table.

    Parameters
    ----------
    formats : mapping
        ``network_data_format`` of ``metadata.json``.
    after : tuple of Component
    channels : int
        Of the network's output.

    Raises
    ------
    PackageError
        When the steps do not lead to one label for each voxel.
    """
    output: dict[str, Any] = next(iter(formats.get("outputs", {}).values()), {})
    given = output.get("channel_def") or output.get("label_def")
    settings = {step.name: step.settings for step in after}
    discrete = settings.get("AsDiscreted", {})
    if "Overlay" in settings:
        names = channel_names(given, channels) or tuple(f"label {n + 1}" for n in range(channels))
        values = {value: names[channel] for channel, value in settings["Overlay"]["order"]}
        return names, LabelTable.of(values)
    if discrete.get("argmax"):
        if discrete.get("to_onehot") and ("Foreground" not in settings or channels > 2):
            raise PackageError(
                "the steps of the bundle end in a channel for each class and not in labels; leave"
                " to_onehot out of AsDiscreted",
                code="UNKNOWN_STEP",
            )
        names = channel_names(given, channels) or tuple(f"label {n}" for n in range(channels))
        return ("", *names[1:]), LabelTable.of(dict(enumerate(names[1:], start=1)))
    if channels == 1 and discrete.get("threshold") is not None:
        named = channel_names(given, 2) or ("", *(channel_names(given, 1) or ("label 1",)))
        return (named[-1],), LabelTable.of({1: named[-1]})
    raise PackageError(
        f"the steps of the bundle end in {channels} channels and not in labels: it needs"
        " AsDiscreted with argmax, or with a threshold and what makes labels of the channels",
        code="UNKNOWN_STEP",
    )
