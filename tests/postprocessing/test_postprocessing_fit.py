from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.errors import Cancelled, InputError
from medseg.postprocessing import build_postprocessing
from medseg.training import postprocessing_fit
from medseg.training.postprocessing_fit import Example, fit


def example(seed, *, noise, speck=False):
    """A bright box, what a network says of it, and a piece of label far away if asked for."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((16, 14, 12), np.uint8)
    truth[3:10, 3:9, 3:9] = 1
    image = truth + 0.2 * rng.normal(size=truth.shape)
    said = truth.copy()
    if speck:
        said[13:15, 11:13, 9:11] = 1
    logits = np.stack((1.0 - said, said)) * 2 + noise * rng.normal(size=(2, *truth.shape))
    return Example(
        torch.softmax(torch.from_numpy(logits).float(), dim=0),
        torch.from_numpy(image[None]).float(),
        truth,
        (1.0, 1.0, 1.5),
    )


@pytest.fixture(autouse=True)
def _few_trials(monkeypatch):
    few = {"appearance_weight": (0.0, 4.0), "smoothness_weight": (0.0, 2.0)}
    monkeypatch.setattr(postprocessing_fit, "CRF_SETTINGS", few)


def test_a_crf_is_chosen_where_it_helps():
    found = fit([example(seed, noise=1.5) for seed in range(2)])
    assert found.postprocessing[0].name == "crf"
    assert found.dice_with > found.dice_without + 0.1
    assert len(build_postprocessing(found.postprocessing).on_probabilities) == 1


def test_components_are_chosen_where_they_help(monkeypatch):
    monkeypatch.setattr(postprocessing_fit, "CRF_SETTINGS", {})
    found = fit([example(seed, noise=0.01, speck=True) for seed in range(2)])
    assert [step.name for step in found.postprocessing] == ["components"]
    assert found.postprocessing[0].settings == {"labels": [1]}
    assert found.dice_with == pytest.approx(1)


def test_nothing_is_chosen_where_nothing_helps():
    found = fit([example(0, noise=0.01)])
    assert found.postprocessing == ()
    assert found.dice_with == found.dice_without == 1


@pytest.mark.parametrize("seed", range(3))
def test_dice_on_the_examples_never_falls(seed):
    found = fit([example(seed, noise=1.0, speck=True)], least_gain=0.0)
    assert found.dice_with >= found.dice_without


def test_a_gain_too_small_is_not_taken():
    assert fit([example(0, noise=1.5)], least_gain=1.0).postprocessing == ()


def test_without_a_label_there_is_nothing_to_choose_by():
    with pytest.raises(InputError, match="no example holds a label"):
        fit([])


def test_it_can_be_stopped():
    def progress(done, total, message):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit([example(0, noise=1.0)], progress=progress)


def test_ignored_voxels_do_not_count():
    one = example(0, noise=0.01)
    truth = one.truth_IJK.copy()
    truth[:4] = 255
    assert fit([replace(one, truth_IJK=truth)]).dice_without == 1


def test_kernels_too_narrow_are_as_good_as_none(monkeypatch):
    monkeypatch.setattr(
        postprocessing_fit, "CRF_SETTINGS", {"appearance_mm": (1e-9,), "intensity": (1e-9,)}
    )
    assert fit([example(0, noise=0.01)]).postprocessing == ()
