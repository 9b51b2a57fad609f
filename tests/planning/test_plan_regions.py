import json

import pytest
from msgspec import structs

from medseg.errors import PlanError
from medseg.planning import Component, Normalisation, Plan, read_plan
from medseg.planning.plan import encode
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 16, 16),
    batch=2,
    network=Component(name="unet"),
    regions=((2, 1, 3), (1, 3), (3,)),
)


def test_regions_come_back_as_they_went(tmp_path):
    (tmp_path / "plan.json").write_bytes(encode(PLAN))
    assert read_plan(tmp_path / "plan.json") == PLAN


def test_a_plan_without_regions_is_read_and_means_classes(tmp_path):
    plain = json.loads(encode(PLAN))
    del plain["regions"]
    (tmp_path / "plan.json").write_text(json.dumps(plain))
    assert read_plan(tmp_path / "plan.json").regions == ()


def test_a_network_has_a_channel_for_each_region_or_for_background_and_labels():
    labels = LabelTable.of({1: "a", 2: "b", 3: "c"})
    assert PLAN.outputs(labels) == 3
    assert structs.replace(PLAN, regions=()).outputs(labels) == 4
    with pytest.raises(PlanError, match="3 regions and there are 2 labels"):
        PLAN.outputs(LabelTable.of({1: "a", 2: "b"}))


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        (((),), "class of their own"),
        (((1, 2),), "begins no later region"),
        (((1,), (1,)), "class of their own"),
        (((2, 1), (3,)), "class of their own"),
        (((2,), (1, 2)), "does not lie inside"),
        (((1, 3), (2, 3), (3,)), "does not lie inside"),
        (((1, 2, 2), (2,)), "holds a class twice"),
    ],
)
def test_regions_that_no_label_map_could_show_are_refused(regions, words):
    with pytest.raises(PlanError, match=words):
        structs.replace(PLAN, regions=regions)


@pytest.mark.parametrize("regions", [[[0, 1]], [["1"]], [1], "all"])
def test_regions_are_decoded_strictly(tmp_path, regions):
    plain = json.loads(encode(PLAN)) | {"regions": regions}
    (tmp_path / "plan.json").write_text(json.dumps(plain))
    with pytest.raises(PlanError, match="regions"):
        read_plan(tmp_path / "plan.json")
