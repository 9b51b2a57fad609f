"""A scan that the model cannot know is refused, or told with numbers."""

import numpy as np
import pytest
import torch
from msgspec import structs

from medseg.errors import InputError
from medseg.inference import Predictor
from medseg.planning import Component, Normalisation, Plan
from medseg.runtime.device import choose_device
from medseg.volume import Grid, LabelTable, Scan
from medseg.volume.scan import Provenance

CT = Normalisation(scheme="clip_zscore", low=-160, high=240, mean=40, std=60)
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("CT", "MR"),
    normalisation=(CT, Normalisation()),
    patch=(8, 8, 8),
    batch=1,
    network=Component(name="unet"),
)


class Background(torch.nn.Module):
    """Says background everywhere."""

    def forward(self, image):
        return torch.cat((torch.ones_like(image[:, :1]), torch.zeros_like(image[:, :1])), dim=1)


def notes(ct, mr, *, spacing_mm=(1.0, 1.0, 1.0), plan=PLAN, **provenance):
    scan = Scan(
        np.stack([ct, mr]).astype(np.float32),
        Grid(ct.shape, np.diag([*spacing_mm, 1.0])),
        provenance=Provenance(**provenance),
    )
    network = Predictor(Background(), plan, LabelTable.of({1: "liver"}), choose_device("cpu"))
    return network.predict(scan).provenance.notes


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(40, 60, (8, 8, 8))


def test_a_scan_of_one_value_is_refused():
    same = np.full((8, 8, 8), 7.0)
    with pytest.raises(InputError, match="every voxel of the scan is 7") as refused:
        notes(same, same)
    assert refused.value.code == "CONSTANT"


def test_what_the_model_knows_needs_no_warning(noise):
    assert notes(noise, noise, notes=("tilted",)) == ("tilted",)
    assert notes(noise, noise, spacing_mm=(2.9, 1.0, 0.4)) == ()


def test_a_channel_of_one_value_is_told(noise):
    assert [note[:22] for note in notes(noise, np.zeros_like(noise))] == ["channel MR is 0 in eve"]


@pytest.mark.parametrize("change", [(1e-3, 0), (1, 5000), (1, -5000)])
def test_ct_in_other_units_is_told_with_numbers(noise, change):
    factor, offset = change
    (note,) = notes(factor * noise + offset, noise)
    assert "-160 to 240" in note


def test_far_larger_voxels_are_told_with_numbers(noise):
    (note,) = notes(noise, noise, spacing_mm=(1.0, 1.0, 3.5))
    assert "1 x 1 x 3.5 mm" in note
    assert notes(noise, noise, spacing_mm=(0.3, 1.0, 1.0)) != ()
    assert notes(noise, noise, spacing_mm=(1.0, 1.0, 3.5), has_physical_size=False) == ()


def test_gaps_between_slices_do_not_matter_to_a_network_of_slices(noise):
    flat = structs.replace(PLAN, plane="axial", patch=(8, 8, 1))
    assert notes(noise, noise, spacing_mm=(1.0, 1.0, 9.0), plan=flat) == ()
    assert notes(noise, noise, spacing_mm=(9.0, 1.0, 1.0), plan=flat) != ()


def test_a_whole_head_for_a_model_of_small_crops_is_told_with_numbers(noise):
    small = structs.replace(PLAN, scan_mm=(35.0, 50.0, 2.0))
    (note,) = notes(noise, noise, plan=small)
    assert "8 x 8 x 8 mm" in note
    assert "35 x 50 x 2 mm" in note
    assert notes(noise, noise, plan=small, has_physical_size=False) == ()
    flat = structs.replace(small, plane="axial", patch=(8, 8, 1), scan_mm=(9.0, 9.0, 90.0))
    assert notes(noise, noise, plan=flat) == ()


def test_padding_does_not_make_a_scan_larger_or_its_contrast_less(noise):
    cropped = structs.replace(PLAN, crop="padding", scan_mm=(8.0, 8.0, 8.0))
    wide = [(20, 20)] * 3
    ct, mr = (np.pad(noise, wide, constant_values=value) for value in (-1000, 0))
    assert notes(ct, mr, plan=cropped) == ()
    assert len(notes(ct, mr, plan=structs.replace(cropped, crop="none"))) == 1
