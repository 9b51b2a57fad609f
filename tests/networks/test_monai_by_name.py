"""MONAI's networks and losses by name: planned, trained for a step, packed, used, and refused."""

import pytest
import torch
from monai import losses as monai_losses
from msgspec import structs
from torch import nn

import medseg
from medseg.errors import PlanError
from medseg.inference import Predictor
from medseg.losses import IGNORE, build_loss
from medseg.networks import build_network, suggestion
from medseg.networks.adapters.any_size import AnySize
from medseg.planning import Component, Normalisation, Plan
from medseg.planning.stages import Stages
from medseg.reading import read_scan
from medseg.runtime import class_parts
from medseg.training import TrainingOptions
from toy_dataset import write_toy

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {
    "BasicUNetPlusPlus": {"features": [4, 4, 4, 4, 4, 4]},
    "AttentionUnet": {},
    "VNet": {},
    "SegResNetDS": {"init_filters": 8},
    "UNETR": {"feature_size": 2, "hidden_size": 24, "mlp_dim": 24, "num_heads": 2},
}
CASES = [
    pytest.param(name, dims, marks=[pytest.mark.slow] if (name, dims) == ("VNet", 3) else [])
    for name in SMALL
    for dims in (2, 3)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=2)


def plan_of(name, dims, settings):
    stages = Stages(
        patch=(32,) * dims,
        features=(4, 8, 8),
        strides=((1,) * dims, (2,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 3,
    )
    return Plan(
        spacing_mm=(1.2, 1.2, 1.2),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=(32, 32, 32 if dims == 3 else 1),
        batch=2,
        network=suggestion(name, settings)(stages),
        loss=Component(name="monai:DiceFocalLoss", settings={"gamma": 1.5}),
        plane=None if dims == 3 else "axial",
    )


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_it_trains_packs_and_predicts(folder, tmp_path, name, dims):
    plan = plan_of(f"monai:{name}", dims, SMALL[name])
    options = TrainingOptions(steps=2, validations=0, device="cpu")
    package = medseg.train(folder, tmp_path / "run", options=options, plan=plan)
    scan = read_scan(folder / "images" / "c0.nii.gz")
    labels = Predictor.load(package, device="cpu").predict(scan)
    assert labels.grid.same_as(scan.grid)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("monai:VNet", {"depht": 3}, "depht.*it has: .*dropout_prob"),
        ("monai:VNet", {"dropout_prob": "half"}, "dropout_prob"),
        ("monai:VNet", {"in_channels": 3}, "in_channels"),
        ("monai:AttentionUnet", {"channels": [4], "strides": []}, "AttentionUnet refuses"),
        ("monai:DynUNet", {}, "DynUNet needs kernel_size"),
        ("monai:Vnett", {}, "no network 'monai:Vnett'.*monai:VNet"),
        ("nowhere.nets:Net", {}, "no installed package has 'nowhere.nets'"),
        ("os:system", {}, "no installed package has 'os'"),
        ("msgspec.json:Encoder", {}, "no torch.nn.Module 'Encoder'"),
        ("msgspec.nothing:Net", {}, "cannot be imported"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, settings, words):
    with pytest.raises(PlanError, match=words) as caught:
        build_network(plan_of(name, 3, settings), classes=3)
    assert "\n" not in str(caught.value)


def test_deep_supervision_in_prediction_is_refused(folder, tmp_path):
    settings = {**SMALL["BasicUNetPlusPlus"], "deep_supervision": True}
    plan = plan_of("monai:BasicUNetPlusPlus", 3, settings)
    options = TrainingOptions(steps=1, device="cpu")
    with pytest.raises(PlanError, match="gives 4 outputs in evaluation mode"):
        medseg.train(folder, tmp_path / "run", options=options, plan=plan)


def test_levels_of_deep_supervision_are_trained(folder, tmp_path):
    plan = plan_of("monai:SegResNetDS", 3, {"init_filters": 8, "dsdepth": 2})
    options = TrainingOptions(steps=1, validations=0, device="cpu")
    assert medseg.train(folder, tmp_path / "run", options=options, plan=plan).is_dir()


def loss_of(name, **settings):
    plan = plan_of("monai:VNet", 3, {})
    component = Component(name=name, settings=settings)
    return build_loss(Plan(**{**plan_fields(plan), "loss": component}))


def plan_fields(plan):
    return {name: getattr(plan, name) for name in plan.__struct_fields__}


def example():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, 8, generator=generator)
    return logits, torch.randint(0, 3, (2, 6, 7, 8), generator=generator)


@pytest.mark.parametrize("name", ["DiceLoss", "DiceCELoss", "DiceFocalLoss", "TverskyLoss"])
def test_a_loss_by_name_is_monais_on_class_indices(name):
    logits, labels = example()
    reference = getattr(monai_losses, name)(
        to_onehot_y=True, softmax=True, include_background=False
    )
    wanted = reference(logits, labels[:, None])
    assert loss_of(f"monai:{name}", include_background=False)(logits, labels) == wanted


def test_focal_loss_is_over_classes_that_exclude_each_other():
    logits, labels = example()
    reference = monai_losses.FocalLoss(to_onehot_y=True, use_softmax=True)
    assert loss_of("monai:FocalLoss")(logits, labels) == reference(logits, labels[:, None])


def test_a_sigmoid_that_is_asked_for_stays_alone():
    logits, labels = example()
    reference = monai_losses.DiceLoss(to_onehot_y=True, sigmoid=True)
    found = loss_of("monai:DiceLoss", sigmoid=True)(logits, labels)
    assert found == reference(logits, labels[:, None])


@pytest.mark.parametrize("name", ["DiceCELoss", "DiceFocalLoss", "GeneralizedDiceLoss"])
def test_ignored_voxels_have_no_say(name):
    loss = loss_of(f"monai:{name}")
    logits, labels = example()
    labels[:, :3] = IGNORE
    other = torch.where((labels == IGNORE)[:, None], torch.randn_like(logits), logits)
    other.requires_grad_()
    value = loss(other, labels)
    assert value == loss(logits, labels)
    value.backward()
    assert not other.grad[:, :, :3].any()
    assert other.grad.any()


@pytest.mark.parametrize("package", ["medseg.networks", "medseg.losses"])
def test_settings_can_be_read_of_every_class_of_monai(package):
    names = class_parts.monai_names(package)
    assert {"medseg.networks": "VNet", "medseg.losses": "DiceLoss"}[package] in names
    for name in names:
        part = class_parts.class_of(package, f"monai:{name}")
        assert class_parts.settings_type(part).__struct_fields__, name


class Levels(nn.Module):
    """Gives the image itself, and a coarser level of it."""

    def forward(self, image):
        return [image, nn.functional.avg_pool3d(image, 2)]


def test_a_coarser_level_keeps_its_place_when_the_image_was_padded():
    k = torch.arange(24.0).expand(1, 1, 16, 16, 24)
    fine, coarse = AnySize(Levels(), 3).train()(k)
    assert torch.equal(fine, k)
    assert coarse.shape == k.shape
    assert (coarse - k)[..., 2:-4].abs().max() < 0.51


def test_what_does_not_count_costs_nothing_with_sigmoid_either():
    labels = torch.randint(0, 3, (1, 8, 8, 8))
    perfect = 40.0 * (nn.functional.one_hot(labels, 3).movedim(-1, 1).float() - 0.5)
    plan = plan_of("monai:UNETR", 3, SMALL["UNETR"])
    loss = Component(name="monai:DiceLoss", settings={"sigmoid": True})
    loss = build_loss(structs.replace(plan, loss=loss))
    assert loss(perfect, labels) < 1e-3
    labels[:, 4:] = IGNORE
    assert loss(torch.where(labels[:, None] == IGNORE, -perfect, perfect), labels) < 1e-3
