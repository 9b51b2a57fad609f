"""The summary of many cases, to the letter."""

from __future__ import annotations

import json

import pytest

from medseg.errors import LabelError
from medseg.metrics import LabelOverlap, SurfaceDistance, summarise
from medseg.metrics.scores import label_names, mean_named
from medseg.volume import LabelTable
from medseg.volume.label_table import MEAN

VOLUMES = {"volume_ml": 1.0, "reference_volume_ml": 2.0}
VOLUME_ERRORS = {"volume_error_ml": -1.0, "volume_error_relative": -0.5}
NO_VOLUME_ERRORS = dict.fromkeys(VOLUME_ERRORS)


def score(dice, iou, volume_ml=1.0, reference_volume_ml=2.0):
    return LabelOverlap(
        dice=dice, iou=iou, volume_ml=volume_ml, reference_volume_ml=reference_volume_ml
    )


def test_form_and_means():
    cases = {
        "one": {"anterior": score(0.8, 0.6), "posterior": score(None, None)},
        "two": {"anterior": score(0.6, 0.5), "posterior": score(0.5, 0.3)},
    }
    summary = summarise(cases)
    assert set(summary) == {"cases", "mean", "mean_over_labels"}
    assert summary["cases"][0] == {
        "case": "one",
        "labels": {
            "anterior": {"dice": 0.8, "iou": 0.6, **VOLUMES, **VOLUME_ERRORS},
            "posterior": {"dice": None, "iou": None, **VOLUMES, **NO_VOLUME_ERRORS},
        },
    }
    assert summary["mean"]["anterior"] == pytest.approx({"dice": 0.7, "iou": 0.55, **VOLUME_ERRORS})
    assert summary["mean"]["posterior"] == pytest.approx({"dice": 0.5, "iou": 0.3, **VOLUME_ERRORS})
    assert summary["mean_over_labels"] == pytest.approx(
        {"dice": 0.6, "iou": 0.425, **VOLUME_ERRORS}
    )
    assert summary["mean"]["foreground"] == summary["mean_over_labels"]
    assert json.loads(json.dumps(summary)) == summary


def test_a_label_empty_everywhere_has_no_mean_and_does_not_weigh():
    summary = summarise({"one": {"liver": score(0.9, 0.8), "cyst": score(None, None)}})
    assert summary["mean"]["cyst"] == {"dice": None, "iou": None, **NO_VOLUME_ERRORS}
    assert summary["mean"]["foreground"] == {"dice": 0.9, "iou": 0.8, **VOLUME_ERRORS}


def test_a_label_called_foreground_keeps_its_own_mean():
    summary = summarise({"one": {"foreground": score(0.9, 0.8), "core": score(0.5, 0.2)}})
    assert summary["mean"]["foreground"] == {"dice": 0.9, "iou": 0.8, **VOLUME_ERRORS}
    assert summary["mean_over_labels"] == pytest.approx({"dice": 0.7, "iou": 0.5, **VOLUME_ERRORS})
    assert label_names(summary) == ["foreground", "core"]


def test_no_cases():
    nothing = {"dice": None, "iou": None}
    empty = {"cases": [], "mean": {"foreground": nothing}, "mean_over_labels": nothing}
    assert summarise({}) == empty


def test_surfaces_stand_beside_overlap_and_have_their_own_means():
    cases = {
        "one": {"liver": score(0.8, 0.6), "cyst": score(0.0, 0.0)},
        "two": {"liver": score(0.6, 0.5), "cyst": score(None, None)},
    }
    surfaces = {
        "one": {
            "liver": SurfaceDistance(hd95_mm=2.0, assd_mm=1.0, nsd=0.9),
            "cyst": SurfaceDistance(hd95_mm=None, assd_mm=None, nsd=0.0),
        },
        "two": {
            "liver": SurfaceDistance(hd95_mm=4.0, assd_mm=2.0, nsd=0.7),
            "cyst": SurfaceDistance(hd95_mm=None, assd_mm=None, nsd=None),
        },
    }
    summary = summarise(cases, surfaces)
    assert summary["cases"][0]["labels"]["liver"] == {
        "dice": 0.8,
        "iou": 0.6,
        **VOLUMES,
        **VOLUME_ERRORS,
        "hd95_mm": 2.0,
        "assd_mm": 1.0,
        "nsd": 0.9,
    }
    assert summary["mean"]["liver"] == pytest.approx(
        {"dice": 0.7, "iou": 0.55, "hd95_mm": 3.0, "assd_mm": 1.5, "nsd": 0.8, **VOLUME_ERRORS}
    )
    cyst = {"dice": 0.0, "iou": 0.0, "hd95_mm": None, "assd_mm": None, "nsd": 0.0}
    assert summary["mean"]["cyst"] == {**cyst, **VOLUME_ERRORS}
    assert summary["mean"]["foreground"]["hd95_mm"] == 3.0
    assert summary["mean"]["foreground"]["nsd"] == pytest.approx(0.4)


def test_the_mean_has_one_name_whichever_medseg_wrote_it():
    today = {"liver": 0.5, MEAN: 0.25}
    assert mean_named({"foreground": 0.25, "liver": 0.5}) == today
    assert mean_named(today) == today
    assert mean_named({"foreground": 0.75, MEAN: 0.25}) == {"foreground": 0.75, MEAN: 0.25}
    assert mean_named({"liver": 0.5}) == {"liver": 0.5}


def test_no_label_takes_the_name_of_the_mean():
    with pytest.raises(LabelError, match="mean_over_labels"):
        LabelTable.of({1: MEAN})
