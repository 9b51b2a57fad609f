import msgspec
import numpy as np
import pytest

from medseg.errors import InputError, PlanError
from medseg.networks import suggestion
from medseg.planning import Component, Fingerprint, Normalisation, Plan, make_plan, take_fingerprint
from medseg.planning.fingerprint import Intensities
from medseg.planning.plan import decode, encode, settings_of
from medseg.planning.planner import CPU_BUDGET, GPU_BUDGET
from medseg.volume import Grid, LabelMap, LabelTable, Scan

UNET = suggestion("unet")
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 16, 16),
    batch=2,
    network=Component(name="unet"),
)


def fingerprint(shape, spacing, *, modality="MR", cases=5):
    one = Intensities(mean=40, std=60, low=-160, high=240)
    return Fingerprint(
        shapes=(shape,) * cases,
        spacings_mm=(spacing,) * cases,
        modality=modality,
        intensities=(one,),
    )


def test_hippocampus_gets_the_plan_nnunets_rules_give():
    plan = make_plan(fingerprint((36, 50, 35), (1.0, 1.0, 1.0)), budget=CPU_BUDGET, network=UNET)
    assert plan.patch == (40, 56, 40)
    assert plan.network.settings["features"] == [16, 32, 64, 128]
    assert plan.network.settings["strides"][1:] == [[2, 2, 2]] * 3
    assert plan.batch == 2
    assert plan.normalisation[0].scheme == "zscore"


def test_thick_slices_are_not_halved_before_the_plane_caught_up():
    plan = make_plan(fingerprint((320, 320, 20), (0.6, 0.6, 3.6)), budget=GPU_BUDGET, network=UNET)
    assert plan.network.settings["strides"][1] == [2, 2, 1]
    assert plan.network.settings["kernels"][0] == [3, 3, 1]
    assert plan.patch[2] <= 24


@pytest.mark.parametrize("budget", [CPU_BUDGET, GPU_BUDGET])
def test_a_large_ct_stays_in_the_budget(budget):
    large = fingerprint((512, 512, 300), (0.75, 0.75, 1.5), modality="CT")
    plan = make_plan(large, budget=budget, network=UNET)
    assert np.prod(plan.patch) * plan.batch <= 1.1 * budget.voxels
    assert plan.normalisation[0].scheme == "clip_zscore"
    assert plan.normalisation[0].low == -160


def test_pictures_get_a_flat_plan():
    plan = make_plan(fingerprint((960, 999, 1), (1.0,) * 3), budget=CPU_BUDGET, network=UNET)
    assert (plan.plane, plan.slice_axis, plan.spatial_dims) == ("axial", 2, 2)
    assert plan.patch[2] == 1
    assert plan.patch[0] * plan.patch[1] <= CPU_BUDGET.voxels // 4
    assert plan.batch == 2
    assert plan.mirror_axes == (0, 1)
    assert all(len(step) == 2 for step in plan.network.settings["strides"])
    assert plan.network.settings["features"][-1] == 2 * CPU_BUDGET.most_features


@pytest.mark.parametrize(("plane", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_a_plane_makes_a_volume_into_slices(plane, axis):
    volumes = fingerprint((100, 120, 80), (1.0, 1.0, 1.0))
    labels = LabelTable.of({1: "left lung", 2: "right lung"})
    plan = make_plan(volumes, budget=CPU_BUDGET, network=UNET, labels=labels, plane=plane)
    assert plan.patch[axis] == 1
    assert plan.patch[axis - 1] > 64
    assert axis not in plan.mirror_axes
    assert 0 not in plan.mirror_axes
    assert decode(encode(plan), Plan, where="plan.json").slice_axis == axis


def test_the_planes_follow_the_orientation():
    other = msgspec.structs.replace(PLAN, orientation="ASL", plane="axial", patch=(16, 1, 16))
    assert other.slice_axis == 1
    with pytest.raises(PlanError, match="1 voxel along axis 1"):
        msgspec.structs.replace(other, patch=(16, 16, 1))


def test_pictures_have_no_coronal_slices():
    with pytest.raises(PlanError, match="coronal slices"):
        make_plan(
            fingerprint((96, 99, 1), (1.0,) * 3), budget=CPU_BUDGET, network=UNET, plane="coronal"
        )


def test_settings_can_be_changed_by_name():
    shapes = fingerprint((36, 50, 35), (1.0, 1.0, 1.0))
    plan = make_plan(shapes, budget=CPU_BUDGET, network=suggestion("unet", {"convolutions": 1}))
    assert plan.network.settings["convolutions"] == 1
    for changes in ({"convolution": 1}, {"convolutions": 9}, {"convolutions.deep": 1}):
        with pytest.raises(PlanError, match="convolution"):
            make_plan(shapes, budget=CPU_BUDGET, network=suggestion("unet", changes))


def test_a_plan_survives_its_file():
    assert decode(encode(PLAN), Plan, where="plan.json") == PLAN


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (b'"patch"', b'"pacth"', "pacth"),
        (b'"batch": 2', b'"batch": "two"', "batch"),
        (b'"schema_version": 4', b'"schema_version": 99', "99"),
        (b'"overlap": 0.5', b'"overlap": 1.5', "1.5"),
        (b'"orientation": "RAS"', b'"orientation": "RAX"', "orientation"),
        (b'"mirror_axes": [\n    0', b'"mirror_axes": [\n    5', "mirror_axes"),
    ],
)
def test_a_wrong_key_or_value_names_its_place(old, new, word):
    with pytest.raises(PlanError, match=word):
        decode(encode(PLAN).replace(old, new), Plan, where="plan.json")


def test_an_unknown_setting_of_a_part_is_refused():
    class Settings(msgspec.Struct, forbid_unknown_fields=True):
        width: int = 3

    with pytest.raises(PlanError, match="witdh"):
        settings_of(Component(name="x", settings={"witdh": 4}), Settings, package="networks")


def test_the_fingerprint_measures_the_foreground_only():
    grid = Grid((8, 9, 10), np.diag([2.0, 1.0, 3.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:5] = 1
    voxels = np.where(labels, 100.0, -1000.0)[None]
    found = take_fingerprint(
        [(Scan(voxels, grid, "CT"), LabelMap(labels, grid, LabelTable.of({1: "a"})))]
    )
    assert found.intensities[0].mean == 100
    assert found.shapes == ((3, 9, 10),)  # the rest is padding
    assert found.kept == 3 / 8
    assert found.spacings_mm == ((2.0, 1.0, 3.0),)
    assert found.modality == "CT"


def test_no_case_no_plan():
    with pytest.raises(InputError, match="no case"):
        take_fingerprint([])


@pytest.mark.parametrize(
    ("shape", "spacing"), [((400, 400, 4), (0.1, 0.1, 6.0)), ((1500, 1500, 3), (0.1, 0.1, 20.0))]
)
@pytest.mark.parametrize("budget", [CPU_BUDGET, GPU_BUDGET])
def test_a_few_thick_fine_slices_end_in_a_plan(shape, spacing, budget):
    plan = make_plan(fingerprint(shape, spacing), budget=budget, network=UNET)
    assert plan.patch[2] <= 4
    assert np.prod(plan.patch) * plan.batch <= 1.1 * budget.voxels


def of_brain(edge):
    """A case of which all but a cube is set to 0."""
    voxels = np.zeros((1, 20, 20, 20))
    voxels[0, :edge, 1 : edge + 1, 1 : edge + 1] = np.random.default_rng(0).normal(
        300, 50, (edge, edge, edge)
    )
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[3:6, 3:6, 3:6] = 1
    grid = Grid((20, 20, 20), np.diag([1.5, 1.0, 2.0, 1.0]))
    return Scan(voxels, grid, "MR"), LabelMap(labels, grid, LabelTable.of({1: "a"}))


@pytest.mark.parametrize(("edge", "nonzero"), [(14, True), (18, True), (19, False)])
def test_a_plan_crops_and_leaves_zeros_out_where_they_are_many(edge, nonzero):
    """18 and 19 of 20 along each axis are 0.73 and 0.86 of the voxels."""
    plan = make_plan(take_fingerprint([of_brain(edge)] * 3), budget=CPU_BUDGET, network=UNET)
    assert plan.crop == "padding"
    assert plan.scan_mm == (1.5 * edge, edge, 2.0 * edge)
    assert plan.normalisation == (Normalisation(nonzero=nonzero),)


def test_half_of_the_cases_decides_of_zeros():
    few, many = of_brain(10), of_brain(19)
    assert take_fingerprint([few, many, many]).kept == pytest.approx((19 / 20) ** 3)
    assert take_fingerprint([few, few, many]).kept == pytest.approx((10 / 20) ** 3)
