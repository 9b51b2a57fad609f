"""``postprocessing.json`` of nnU-Net v2: what it removes from a label map.

The ``.pkl`` beside it says the same by pickled functions and is never opened.
"""

from __future__ import annotations

from typing import Any

import msgspec

from medseg.errors import PackageError
from medseg.model_package.interop.nnunet.plans import convert
from medseg.planning import Component
from medseg.volume import LabelTable

FILE = "postprocessing.json"
_LARGEST = "remove_all_but_largest_component_from_segmentation"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    postprocessing_fns: tuple[str, ...] = ()
    postprocessing_kwargs: tuple[dict[str, Any], ...] = ()


def steps_of(content: dict[str, Any], labels: LabelTable) -> tuple[Component, ...]:
    """The steps as medseg's.

    Parameters
    ----------
    content : dict
        Of the file.
    labels : LabelTable
        Of the model; the file names their values.

    Raises
    ------
    PackageError
        When a step is another than the removal of all but the largest component.
    """
    file: _File = convert(content, _File, where=FILE)
    if len(file.postprocessing_fns) != len(file.postprocessing_kwargs):
        raise PackageError(f"{FILE} has not as many arguments as steps", code="POSTPROCESSING")
    rows = zip(file.postprocessing_fns, file.postprocessing_kwargs, strict=True)
    steps = (_step(function, options, labels) for function, options in rows)
    return tuple(step for step in steps if step is not None)


def _step(function: str, options: dict[str, Any], labels: LabelTable) -> Component | None:
    """One step; None where it is about no label that the model writes."""
    if function != _LARGEST or options.get("background_label", 0) != 0:
        raise PackageError(
            f"{FILE} asks for '{function}' with {options}; medseg knows {_LARGEST} that gives to"
            " the background",
            code="POSTPROCESSING",
        )
    values = _flat(options.get("labels_or_regions"))
    classes = [labels.values.index(value) + 1 for value in values if value in labels.values]
    if not classes:
        return None
    kept = {"connected_by": "corners", "equal": True, "together": True}
    return Component(name="components", settings=kept | {"labels": sorted(classes)})


def _flat(value: Any) -> set[int]:
    """All values of a label, of a region or of a list of them."""
    if isinstance(value, list):
        return set().union(*map(_flat, value))
    if isinstance(value, int):
        return {value}
    raise PackageError(f"{FILE} names {value!r} where a label stands", code="POSTPROCESSING")
