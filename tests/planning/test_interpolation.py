"""Which slices are thick, as nnU-Net decides it; and what a plan says of axes and slices."""

import pytest
from msgspec import structs

from medseg.errors import InputError, PlanError
from medseg.model_package import Manifest, ModelPackage, export_bundle
from medseg.model_package.package import UNSAVED
from medseg.planning import Component, Interpolation, Normalisation, Plan, Resampling
from medseg.training.options import TrainingOptions
from medseg.training.plan_for_run import with_options
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 2.0, 3.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(1, 12, 8),
    batch=2,
    network=Component(name="unet"),
    orientation="KJI",
    plane="first",
)


@pytest.mark.parametrize(
    ("current", "target", "axis"),
    [
        ((1, 1, 1), (1, 1, 1), None),
        ((5, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 1, 3.1), 2),
        ((1, 1, 3), (1, 1, 3), None),
        ((5, 5, 1), (1, 4, 1), None),  # of two that are as thick none is taken, nor the target's
        ((1, 5, 1), (1, 1, 9), 1),
    ],
)
def test_slices_are_thick_by_the_ratio_of_spacings_before_or_after(current, target, axis):
    assert Interpolation().axis_across(current, target) == axis


def test_slices_can_be_called_thick_or_not():
    assert Interpolation(separate_across=False).axis_across((9, 1, 1), (9, 1, 1)) is None
    assert Interpolation(separate_across=True).axis_across((1.1, 1, 1), (9, 1, 20)) == 0
    assert Interpolation(anisotropy=1.5).axis_across((1, 2, 1), (1, 1, 1)) == 1


def test_slices_of_a_2d_plan_that_resamples_as_nnunet_keep_their_distance():
    assert PLAN.spacing_from((7.0, 1.0, 1.0)) == (1.0, 2.0, 3.0)
    planned = structs.replace(PLAN, resampling=Resampling())
    assert planned.spacing_from((7.0, 1.0, 1.0)) == (7.0, 2.0, 3.0)
    assert (planned.slice_axis, planned.spatial_dims) == (0, 2)


def test_of_native_axes_any_mirrored_one_may_exchange_sides():
    assert structs.replace(PLAN, mirror_axes=(2,)).exchanges_sides
    assert not structs.replace(PLAN, mirror_axes=()).exchanges_sides


def test_labels_before_are_inputs():
    assert structs.replace(PLAN, previous_labels=3).inputs == 4


def test_a_patch_of_slices_is_one_voxel_across():
    with pytest.raises(PlanError, match="patch of 1 voxel along axis 0"):
        structs.replace(PLAN, patch=(2, 12, 8))


def test_a_cascade_cannot_be_trained():
    cascade = structs.replace(PLAN, previous_labels=2)
    with pytest.raises(PlanError, match="takes 2 labels of one before"):
        with_options(cascade, TrainingOptions(), modality="MR")


def test_another_librarys_preparation_is_no_monai_bundle(tmp_path):
    manifest = Manifest(name="foreign", plan=PLAN, labels=LabelTable.of({1: "a"}), weights=UNSAVED)
    with pytest.raises(InputError, match="another library's preparation"):
        export_bundle(ModelPackage(tmp_path, manifest), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
