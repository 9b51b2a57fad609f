"""The connected pieces of a label: keep the largest, or make each a label of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.editing.edit import UNLOCKED, Edit, Labels, Rules, Three, box_of, empty_edit, relabelled


def largest_component(
    values: Labels, value: int, *, spacing_mm: Three, keep: int = 1, rules: Rules = UNLOCKED
) -> Edit:
    """Give all but the largest pieces of a label to the background.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
    spacing_mm : tuple of float
        Of the three axes.
    keep : int, default 1
    rules : Rules

    Raises
    ------
    LabelError
        When the label is locked.

    See Also
    --------
    medseg.postprocessing.components : The same step after a network.
    """
    from medseg.postprocessing import components

    box = box_of(values, value)
    if box is None:
        return empty_edit(values)
    step = components.build(components.Settings(keep=keep, labels=(1,)))
    largest = step((values[box] == value).astype(np.uint8), spacing_mm=spacing_mm) == 1
    return relabelled(values, box, largest, value=value, rules=rules)


def split_into_pieces(
    values: Labels, value: int, *, new_values: Sequence[int], rules: Rules = UNLOCKED
) -> Edit:
    """Make the pieces of a label labels of their own; the largest keeps its value.

    Parameters
    ----------
    values : ndarray of int, shape (I, J, K)
    value : int
        The label; its pieces are connected by faces.
    new_values : sequence of int
        For the second largest piece, the third and so on. Pieces beyond them stay as they are.
    rules : Rules

    Raises
    ------
    LabelError
        When the label, or one of the new ones, is locked.
    """
    import SimpleITK

    rules.check_unlocked([value, *new_values])
    box = box_of(values, value)
    if box is None:
        return empty_edit(values)
    mask = SimpleITK.GetImageFromArray((values[box] == value).astype(np.uint8))
    by_size = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(mask, False))
    numbers = SimpleITK.GetArrayFromImage(by_size)
    after = values[box].copy()
    for number, new in enumerate(new_values, start=2):
        after[numbers == number] = new
    return Edit(box, after)
