"""A plan that says more than a medseg knows is refused by it, and one that says less is read."""

import json

import msgspec
import pytest

from medseg.errors import PlanError
from medseg.model_package.manifest import Manifest, Weights, decode_manifest
from medseg.planning import Component, Interpolation, Normalisation, Plan
from medseg.planning.plan import SCHEMA_VERSION, decode_plan, encode
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 12, 8),
    batch=2,
    network=Component(name="unet"),
)
FIELDS = {
    4: (
        """schema_version orientation spacing_mm channels normalisation crop normalise_first
        resampling scan_mm patch batch network loss mirror_axes side_doubt augmentation overlap
        blending plane regions transforms previous_labels""",
        "scheme low high mean std nonzero",
        "order order_across separate_across anisotropy torch",
    ),
}
"""Fields of a plan, a normalisation and an interpolation, by the version that has them."""


def test_a_field_more_is_another_version():
    plan, normalisation, interpolation = FIELDS[SCHEMA_VERSION]
    assert Plan.__struct_fields__ == tuple(plan.split())
    assert Normalisation.__struct_fields__ == tuple(normalisation.split())
    assert Interpolation.__struct_fields__ == tuple(interpolation.split())


def test_a_plan_of_version_2_crops_nothing():
    content = msgspec.to_builtins(PLAN) | {"schema_version": 2, "mirror_axes": [1]}
    for key in ("crop", "scan_mm"):
        del content[key]
    del content["normalisation"][0]["nonzero"]
    plan = decode_plan(json.dumps(content).encode(), where="plan.json")
    assert plan == msgspec.structs.replace(PLAN, mirror_axes=(1,))
    assert (plan.crop, plan.normalisation[0].nonzero) == ("none", False)


def test_a_plan_of_version_3_is_resampled_before_it_is_normalised():
    content = msgspec.to_builtins(PLAN) | {"schema_version": 3, "overlap": 0.25}
    for key in ("normalise_first", "resampling", "blending", "previous_labels"):
        del content[key]
    plan = decode_plan(json.dumps(content).encode(), where="plan.json")
    assert plan == msgspec.structs.replace(PLAN, overlap=0.25)
    assert (plan.normalise_first, plan.resampling, plan.inputs) == (False, None, 1)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, -1, "3", None, [3]])
def test_a_version_that_is_not_known_is_told_before_what_it_brings(version):
    content = msgspec.to_builtins(PLAN) | {"schema_version": version, "elastic_windows": 3}
    with pytest.raises(PlanError, match=r"^plan\.json: a plan of schema version") as refused:
        decode_plan(json.dumps(content).encode(), where="plan.json")
    assert refused.value.code == "NEWER"
    assert f"up to {SCHEMA_VERSION}" in str(refused.value)
    manifest = Manifest(
        name="new", plan=PLAN, labels=LabelTable.of({1: "a"}), weights=Weights(file="w", sha256="")
    )
    with pytest.raises(PlanError, match=r"^here: a plan of schema version"):
        decode_manifest(
            msgspec.json.encode(msgspec.to_builtins(manifest) | {"plan": content}), where="here"
        )


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_what_a_plan_says_besides_is_refused_in_every_version(version):
    content = msgspec.to_builtins(PLAN) | {"schema_version": version, "elastic_windows": 3}
    with pytest.raises(PlanError, match="elastic_windows"):
        decode_plan(json.dumps(content).encode(), where="plan.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crop": "air"}, "crop"),
        ({"orientation": "KJJ"}, "I, J and K in some order"),
        ({"resampling": {"logits": {"order": 3}}}, "logits are resampled by a cubic spline"),
        ({"scan_mm": [35.0, 0.0, 35.0]}, "must be positive"),
        ({"normalisation": [{"scheme": "rescale", "nonzero": True}]}, "'nonzero' goes with"),
    ],
)
def test_what_a_plan_cannot_say_is_named(change, words):
    content = json.loads(encode(PLAN)) | change
    with pytest.raises(PlanError, match=words):
        decode_plan(json.dumps(content).encode(), where="plan.json")
