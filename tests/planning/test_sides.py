"""Left and right are exchanged only where no label's name tells, or may tell, them apart."""

import msgspec
import pytest

from medseg.networks import suggestion
from medseg.planning import Fingerprint, make_plan
from medseg.planning.fingerprint import Intensities
from medseg.planning.plan import Plan, decode, encode
from medseg.planning.planner import CPU_BUDGET
from medseg.planning.sides import side_sentence
from medseg.volume import LabelTable

FINGERPRINT = Fingerprint(
    shapes=((64, 64, 64),) * 5,
    spacings_mm=((1.0, 1.0, 1.0),) * 5,
    modality="MR",
    intensities=(Intensities(mean=40, std=60, low=-160, high=240),),
)


def plan_for(*names):
    labels = LabelTable.of(dict(enumerate(names, start=1)))
    return make_plan(FINGERPRINT, budget=CPU_BUDGET, network=suggestion("unet"), labels=labels)


@pytest.mark.parametrize(
    "names",
    [
        ("kidney left", "kidney right"),
        ("LeftKidney",),
        ("kidney_left",),
        ("lungleft",),
        ("ribright",),
        ("BRight",),
        ("bright left spot",),
        ("ParotidL", "ParotidR"),
        ("LParotid",),
        ("lh hippocampus",),
        ("LK",),
        ("Lung L",),
        ("LUL", "RUL"),
        ("LLL",),
        ("LV", "RV"),
        ("lput", "rput"),
        ("rib L1", "rib R1"),
        ("Niere links", "Niere rechts"),
        ("Niere li.",),
        ("rein gauche", "rein droit"),
        ("rein g", "rein d"),
        ("ReinG", "ReinD"),
        ("ri\u00f1\u00f3n izquierdo",),
        ("rin\u0303o\u0301n derecho",),
        ("rim esquerdo",),
        ("rene sinistro", "rene destro"),
        ("rene sx",),
        ("ren dexter",),
        ("ren sin",),
        ("h\u00f8yre nyre",),
        ("sa\u011f b\u00f6brek",),
        ("nerka lewa",),
        ("\u043b\u0435\u0432\u0430\u044f \u043f\u043e\u0447\u043a\u0430",),
        ("\u5de6\u80be", "\u53f3\u80be"),
        ("label 1", "label 2"),
        ("kidney_1", "kidney_2"),
        ("lung A", "lung B", "heart"),
        ("\u0d39\u0d43\u0d26\u0d2f\u0d02",),
    ],
)
def test_names_that_tell_sides_apart_or_may_do_so_are_not_mirrored(names):
    plan = plan_for(*names)
    assert plan.mirror_axes == (1, 2)
    assert not plan.exchanges_sides
    assert names[0] in plan.side_doubt


@pytest.mark.parametrize(
    "names",
    [
        ("liver", "spleen"),
        ("clot",),
        ("bright lesion", "hyper_brightness"),
        ("vertebra 1", "vertebra 2", "vertebra 3"),
        ("vertebra L1", "vertebra L2"),
        ("Leber", "Milz"),
        ("\u809d\u810f", "\u813e"),
        ("foreground",),
        ("edema", "tumor core", "enhancing tumor"),
    ],
)
def test_names_without_a_side_are_mirrored(names):
    plan = plan_for(*names)
    assert plan.mirror_axes == (0, 1, 2)
    assert plan.side_doubt == ""


def test_what_was_decided_stands_in_the_plan():
    plan = decode(encode(plan_for("Niere links", "Niere rechts")), Plan, where="plan.json")
    assert "Niere links" in side_sentence(exchanged=False, doubt=plan.side_doubt)


def test_sides_follow_the_orientation():
    turned = msgspec.structs.replace(plan_for("box"), orientation="PIL")
    assert msgspec.structs.replace(turned, mirror_axes=(2,)).exchanges_sides
    assert not msgspec.structs.replace(turned, mirror_axes=(0, 1)).exchanges_sides
