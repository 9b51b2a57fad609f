"""Scores of held-out cases: in pixels where there is no size, and how long they will take."""

import json

import numpy as np
import pytest

from medseg.errors import WriteError
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.held_out import HeldOutCase
from medseg.training.held_out_scores import rehearse
from toy_dataset import write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


def test_of_pictures_areas_and_distances_are_in_pixels(tmp_path):
    from PIL import Image

    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for number in range(5):
        plane = np.zeros((24, 24), np.uint8)
        plane[4 + number : 14 + number, 5:17] = 1
        Image.fromarray(plane).save(tmp_path / "data" / "labels" / f"p{number}.png")
        Image.fromarray(plane * 150 + 40).save(tmp_path / "data" / "images" / f"p{number}.png")
    options = TrainingOptions(steps=1, validations=0, device="cpu", settings={"features": [4, 8]})
    run = tmp_path / "run"
    train(open_dataset(tmp_path / "data"), run, options=options)
    scores = json.loads((run / "held_out" / "scores.json").read_text())
    assert scores["has_physical_size"] is False
    (case,) = scores["cases"]
    assert case["diagonal_pixels"] == pytest.approx(np.hypot(24, 24), abs=0.05)
    (label,) = case["labels"].values()
    assert label["reference_volume_pixels"] == 120
    assert "hd95_pixels" in label


def test_a_rehearsal_keeps_nothing_and_hears_of_a_disk_that_cannot_be_written(tmp_path):
    dataset, run = open_dataset(write_toy(tmp_path / "toy", cases=2)), tmp_path / "run"
    _, truth = dataset.read(dataset.cases[0])
    case = HeldOutCase("c0", truth, run / "none.npy", ())
    run.mkdir()
    rehearse(run, dataset, case)
    assert not list(run.iterdir())
    with pytest.raises(WriteError, match="cannot write to"):
        rehearse(tmp_path / "gone", dataset, case)
