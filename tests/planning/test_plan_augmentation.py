"""Augmentation in the plan: what the planner writes, and plans from before it was written."""

import json

import msgspec
import pytest

from medseg.errors import PlanError
from medseg.model_package import shipped_packages
from medseg.model_package.manifest import Manifest, Weights, decode_manifest
from medseg.networks import suggestion
from medseg.planning import Component, Fingerprint, Normalisation, Plan, make_plan, read_plan
from medseg.planning.fingerprint import Intensities
from medseg.planning.plan import SCHEMA_VERSION, augmentation_preset, decode_plan, encode
from medseg.planning.planner import CPU_BUDGET
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 12, 8),
    batch=2,
    network=Component(name="unet"),
)
STANDARD = augmentation_preset("standard")


def of_version_1(plan):
    """A plan's JSON as medseg wrote it before augmentation was part of it."""
    content = msgspec.to_builtins(plan)
    del content["augmentation"]
    return content | {"schema_version": 1}


@pytest.mark.parametrize("preset", ["none", "light", "standard", "strong"])
def test_a_plan_with_augmentation_survives_its_file(tmp_path, preset):
    plan = msgspec.structs.replace(PLAN, augmentation=augmentation_preset(preset, modality="MR"))
    (tmp_path / "plan.json").write_bytes(encode(plan))
    assert read_plan(tmp_path / "plan.json") == plan


def test_a_plan_of_schema_version_1_trains_as_standard(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(of_version_1(PLAN)))
    plan = read_plan(tmp_path / "plan.json")
    assert plan.schema_version == SCHEMA_VERSION
    assert plan.augmentation == STANDARD
    content = of_version_1(PLAN)
    del content["schema_version"]  # left out, it was 1
    assert decode_plan(json.dumps(content).encode(), where="plan.json") == plan


def test_a_plan_that_leaves_augmentation_out_means_standard():
    content = of_version_1(PLAN) | {"schema_version": SCHEMA_VERSION}
    assert decode_plan(json.dumps(content).encode(), where="plan.json").augmentation == STANDARD


@pytest.mark.parametrize("data", [b"[", b"[]", b'{"schema_version": 99}', b'"plan"'])
def test_what_is_no_plan_is_refused_with_its_place(data):
    with pytest.raises(PlanError, match=r"here\.json"):
        decode_plan(data, where="here.json")


def test_a_newer_plan_is_refused_with_its_version():
    data = encode(PLAN).replace(b'"schema_version": 4', b'"schema_version": 7')
    with pytest.raises(PlanError, match="schema version 7"):
        decode_plan(data, where="plan.json")


def test_a_manifest_with_a_plan_of_schema_version_1_is_read():
    manifest = Manifest(
        name="old", plan=PLAN, labels=LabelTable.of({1: "a"}), weights=Weights(file="w", sha256="")
    )
    content = msgspec.to_builtins(manifest) | {"plan": of_version_1(PLAN)}
    assert decode_manifest(msgspec.json.encode(content), where="old").plan == PLAN


def test_shipped_models_of_before_are_read():
    for package in shipped_packages():
        assert package.manifest.plan.augmentation == STANDARD


def test_the_planner_writes_the_preset_with_artefacts_for_mr_only():
    def names(modality, preset):
        fingerprint = Fingerprint(
            shapes=((40, 40, 40),),
            spacings_mm=((1.0, 1.0, 1.0),),
            intensities=(Intensities(low=-1.0, high=1.0, mean=0.0, std=1.0),),
            modality=modality,
        )
        plan = make_plan(
            fingerprint, budget=CPU_BUDGET, network=suggestion("unet"), augmentation=preset
        )
        return [component.name for component in plan.augmentation]

    assert names("MR", "none") == []
    assert names("CT", "standard") == [component.name for component in STANDARD]
    assert "motion" in names("MR", "strong")
    assert "motion" not in names("CT", "strong")
