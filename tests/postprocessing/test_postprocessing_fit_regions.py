"""Steps for regions that hold one another: chosen by the Dice of regions, not of their parts."""

import numpy as np
import pytest

from medseg.errors import Cancelled, InputError
from medseg.training.postprocessing_fit import LABEL_STEPS, LabelExample, fit_label_steps

REGIONS = ((1, 2), (2,))
WHOLE, CORE, SPECK = 12**3, 5**3, 2**3


def example(*, specks=()):
    """A box of class 1 with a core of class 2, and small boxes of class 2 that are not true."""
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[2:14, 2:14, 2:14] = 1
    truth[3:8, 3:8, 3:8] = 2
    found = truth.copy()
    for corner in specks:
        found[tuple(slice(first, first + 2) for first in corner)] = 2
    return LabelExample(found, truth, (1.0, 1.0, 2.0))


def dice(found, true, shared):
    return 2 * shared / (found + true)


def test_a_piece_outside_goes_to_the_background():
    found = fit_label_steps([example(specks=[(16, 16, 16)])], regions=REGIONS)
    before = (dice(WHOLE + SPECK, WHOLE, WHOLE) + dice(CORE + SPECK, CORE, CORE)) / 2
    assert found.dice_without == pytest.approx(before)
    assert [step.name for step in found.postprocessing] == ["components"]
    assert found.postprocessing[0].settings == {"labels": [2]}
    assert found.dice_with == 1.0


def test_a_piece_inside_leaves_a_hole_that_the_next_step_fills():
    found = fit_label_steps([example(specks=[(10, 10, 10)])], regions=REGIONS)
    assert [step.name for step in found.postprocessing] == ["components", "holes"]
    assert [step.settings["labels"] for step in found.postprocessing] == [[2], [1]]
    assert found.dice_without == pytest.approx((1 + dice(CORE + SPECK, CORE, CORE)) / 2)
    assert found.dice_with == 1.0


def test_the_dice_that_counts_is_that_of_regions(monkeypatch):
    """Without holes to fill, the whole loses what its core gains: both are in the mean."""
    monkeypatch.setattr("medseg.training.postprocessing_fit.LABEL_STEPS", LABEL_STEPS[:1])
    found = fit_label_steps([example(specks=[(10, 10, 10)])], regions=REGIONS)
    assert found.dice_with == pytest.approx((dice(WHOLE - SPECK, WHOLE, WHOLE - SPECK) + 1) / 2)


def test_a_step_that_helps_a_part_and_costs_more_regions_is_not_taken():
    """A piece of the innermost class amid the middle one: to drop it is to lose it twice."""
    truth = np.zeros((18, 14, 14), np.uint8)
    truth[1:16, 1:13, 1:13] = 1
    truth[2:16, 1:13, 1:13] = 2
    truth[5:16, 1:13, 1:13] = 3
    found = truth.copy()
    found[3, 4:8, 4:6] = 3
    whole, middle, inner, piece = 15 * 144, 14 * 144, 11 * 144, 8
    before = 2 + dice(inner + piece, inner, inner)
    after = (
        dice(whole - piece, whole, whole - piece) + dice(middle - piece, middle, middle - piece) + 1
    )
    assert after < before
    one = LabelExample(found, truth, (1.0, 1.0, 1.0))
    result = fit_label_steps([one], regions=((1, 2, 3), (2, 3), (3,)))
    assert result.postprocessing == ()
    assert result.dice_with == result.dice_without == pytest.approx(before / 3)
    parts = fit_label_steps([one], regions=((1,), (2,), (3,)))
    assert [step.settings["labels"] for step in parts.postprocessing][:1] == [[3]]


def test_ignored_voxels_count_in_no_region():
    one = example(specks=[(16, 16, 16)])
    one.truth_IJK[15:] = 255
    assert fit_label_steps([one], regions=REGIONS).dice_without == 1.0


def test_it_can_be_stopped_and_needs_a_region():
    def progress(done, total, message):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit_label_steps([example()], regions=REGIONS, progress=progress)
    with pytest.raises(InputError, match="no example holds a label"):
        fit_label_steps([], regions=REGIONS)
