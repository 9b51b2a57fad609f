"""What every augmentation keeps; a new file in medseg/augmentation is tested with no edit here."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from augmentation.parts import batch, generator, part_of
from medseg.augmentation import PACKAGE, build_augmentation, names
from medseg.errors import PlanError
from medseg.planning import Component, Normalisation, Plan
from medseg.planning.plan import augmentation_preset
from medseg.runtime import registry
from sample_package import part_names

SIZES = {"3-D": (12, 10, 9), "2-D": (14, 11)}
IN_TREE = names()
PRESETS = ("none", "light", "standard", "strong")
PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(12, 10, 8),
    batch=2,
    network=Component(name="unet"),
)


@pytest.fixture(params=IN_TREE + part_names(PACKAGE))
def name(request):
    return request.param


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def size(request):
    return request.param


def test_there_is_a_file_for_each_that_is_promised():
    promised = "affine elastic mirror gaussian_noise gaussian_blur brightness contrast gamma"
    promised += " low_resolution cutout intensity_shift bias_field ghosting spike motion"
    assert set(promised.split()) <= set(names())


def test_every_file_says_what_it_offers(name):
    module = registry.load(PACKAGE, name)
    fields = msgspec.structs.fields(module.Settings)
    assert fields[0].name == "probability"
    assert not fields[0].required
    assert module.Settings.__struct_config__.frozen
    assert ":" in module.__doc__.splitlines()[0]


def test_probability_0_changes_nothing(name, size):
    image, label = batch(size)
    after = part_of(name, size, probability=0.0).batched(image, label, generator())
    assert torch.equal(after[0], image)
    assert torch.equal(after[1], label)


def test_samples_that_are_not_drawn_stay_as_they_are(name, size):
    image, label = batch(size, count=8)
    part = part_of(name, size, probability=0.5)
    draw = part.draw(generator(4), image.shape)
    after, label_after = part.apply(image, label, draw)
    still = ~draw["applied"]
    assert still.any()
    assert (~still).any()
    assert torch.equal(after[still], image[still])
    assert torch.equal(label_after[still], label[still])
    assert not torch.equal(after[~still], image[~still])


def test_the_same_seed_gives_the_same(name, size):
    image, label = batch(size, count=8)
    part = part_of(name, size, probability=0.8)
    first = part.batched(image, label, generator(7))
    again = part.batched(image, label, generator(7))
    other = part.batched(image, label, generator(8))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_what_is_given_is_not_changed(name, size):
    image, label = batch(size)
    before = image.clone(), label.clone()
    part_of(name, size).batched(image, label, generator())
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_a_sample_of_a_batch_is_changed_as_it_is_alone(name, size):
    image, label = batch(size, count=4)
    part = part_of(name, size, probability=0.7)
    draw = part.draw(generator(3), image.shape)
    together = part.apply(image, label, draw)
    for n in range(4):
        alone = part.apply(
            image[n : n + 1],
            label[n : n + 1],
            {key: value[n : n + 1] for key, value in draw.items()},
        )
        torch.testing.assert_close(alone[0][0], together[0][n])
        assert torch.equal(alone[1][0], together[1][n])


def test_a_channel_is_changed_as_it_is_alone(name, size):
    image, label = batch(size)
    part = part_of(name, size)
    draw = part.draw(generator(3), image.shape)
    together, _ = part.apply(image, label, draw)
    alone, _ = part.apply(image[:, :1], label, draw)
    torch.testing.assert_close(alone, together[:, :1])


def test_the_form_of_monai_is_the_batched_one(name, size):
    image, label = batch(size, count=1)
    part = part_of(name, size)
    transform = part.transform()
    transform.set_random_state(seed=5)
    after = transform({"image": image[0], "label": label, "case": "a"})
    seed = np.random.RandomState(5).randint(2**31)
    expected = part.batched(image, label, generator(int(seed)))
    assert torch.equal(after["image"], expected[0][0])
    assert torch.equal(after["label"], expected[1])
    assert after["case"] == "a"
    transform.set_random_state(seed=5)
    again = transform({"image": image[0], "label": label})
    assert torch.equal(after["image"], again["image"])


def test_the_form_of_monai_keeps_arrays_meta_data_and_images_together(name):
    image, label = batch((9, 8, 7), count=1)
    tensor = MetaTensor(image[0], affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))
    transform = part_of(name, (9, 8, 7)).transform(("image", "twin", "label"))
    after = transform.set_random_state(seed=1)(
        {"image": tensor, "twin": image[0].numpy(), "label": label.numpy().astype(np.uint8)}
    )
    assert torch.equal(after["image"].affine, tensor.affine)
    assert isinstance(after["twin"], np.ndarray)
    assert np.array_equal(after["twin"], after["image"].numpy())
    assert after["label"].dtype == np.uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_shapes_and_types_are_kept(name, size, dtype):
    image, label = batch(size)
    after, label_after = part_of(name, size).batched(image.to(dtype), label.byte(), generator())
    assert after.shape == image.shape
    assert after.dtype == dtype
    assert label_after.shape == label.shape
    assert label_after.dtype == torch.uint8


def test_labels_move_only_with_the_voxels_and_stay_in_their_set(name, size):
    image, label = batch(size, count=6)
    part = part_of(name, size)
    _, after = part.batched(image, label, generator(2))
    assert set(after.unique().tolist()) <= {0, 1, 2, 255}
    if not part.moves_voxels:
        assert torch.equal(after, label)
    else:
        assert not torch.equal(after, label)


@pytest.mark.parametrize("value", [0.0, 3.5, -1.0])
def test_a_constant_image_gives_numbers(name, size, value):
    label = torch.zeros((4, *size), dtype=torch.long)
    after, _ = part_of(name, size).batched(torch.full((4, 1, *size), value), label, generator())
    assert torch.isfinite(after).all()


def test_settings_out_of_range_are_refused_in_one_sentence(name):
    for settings in _wrong_settings(name):
        plan = msgspec.structs.replace(
            PLAN, augmentation=(Component(name=name, settings=settings),)
        )
        with pytest.raises(PlanError) as refused:
            build_augmentation(plan)
        key = next(iter(settings))
        assert name in str(refused.value)
        assert key in str(refused.value)
        assert "\n" not in str(refused.value)


def _wrong_settings(name):
    yield {"probability": 1.5}
    yield {"probability": -0.1}
    yield {"probabilities": 0.5}
    for field in msgspec.structs.fields(registry.load(PACKAGE, name).Settings):
        value = field.default
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], float):
            yield {field.name: [value[1] + 1, value[0]]}
            yield {field.name: [0.1]}
        elif isinstance(value, float):
            yield {field.name: -1.0}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("modality", ["MR", "CT"])
@pytest.mark.parametrize("plane", [None, "axial", "coronal", "sagittal"])
def test_presets_build_and_give_patches(preset, modality, plane):
    patch = [12, 10, 8]
    if plane is not None:
        patch[{"sagittal": 0, "coronal": 1, "axial": 2}[plane]] = 1
    plan = msgspec.structs.replace(
        PLAN,
        patch=tuple(patch),
        plane=plane,
        augmentation=augmentation_preset(preset, modality=modality),
    )
    pipeline = build_augmentation(plan)
    image, label = batch(pipeline.region, count=2)
    after, label_after = pipeline.batched(image, label, generator())
    assert after.shape == (2, 2, *patch)
    assert label_after.shape == (2, *patch)
    alone, label_alone = pipeline(image[0], label[0], seed=3)
    assert alone.shape == (2, *patch)
    again, _ = pipeline(image[0], label[0], seed=3)
    assert torch.equal(alone, again)
    assert torch.isfinite(alone).all()
    assert set(label_alone.unique().tolist()) <= {0, 1, 2, 255}


def test_no_augmentation_gives_the_patch_itself():
    pipeline = build_augmentation(msgspec.structs.replace(PLAN, augmentation=()))
    assert pipeline.region == PLAN.patch
    image, label = batch(PLAN.patch)
    after = pipeline.batched(image, label, generator())
    assert torch.equal(after[0], image)
    assert torch.equal(after[1], label)


def test_a_patch_that_is_not_resampled_is_the_middle_of_the_wider_one():
    plan = msgspec.structs.replace(
        PLAN, augmentation=(Component(name="affine", settings={"probability": 0.0}),)
    )
    pipeline = build_augmentation(plan)
    assert pipeline.region == tuple(n + 2 * math.ceil(0.12 * n) for n in plan.patch)
    image, label = batch(pipeline.region)
    after, _ = pipeline.batched(image, label, generator())
    margin = [(wide - n) // 2 for wide, n in zip(pipeline.region, plan.patch, strict=True)]
    middle = tuple(slice(m, m + n) for m, n in zip(margin, plan.patch, strict=True))
    assert torch.equal(after, image[(..., *middle)])


@pytest.mark.parametrize("plane", [None, "axial"])
def test_a_part_alone_in_a_plan_gives_the_middle_of_what_it_makes(name, plane):
    patch = (12, 11, 8 if plane is None else 1)
    component = Component(name=name, settings={"probability": 1.0})
    plan = msgspec.structs.replace(PLAN, patch=patch, plane=plane, augmentation=(component,))
    pipeline = build_augmentation(plan)
    image, label = batch([n for n in pipeline.region if n > 1])
    whole = part_of(name, image.shape[2:]).batched(image, label, generator(6))
    if plane is not None:
        image, label, whole = image[..., None], label[..., None], [x[..., None] for x in whole]
    after, label_after = pipeline.batched(image, label, generator(6))
    margins = [(wide - n) // 2 for wide, n in zip(pipeline.region, patch, strict=True)]
    middle = tuple(slice(m, m + n) for m, n in zip(margins, patch, strict=True))
    torch.testing.assert_close(after, whole[0][(..., *middle)], atol=1e-5, rtol=1e-5)
    assert torch.equal(label_after, whole[1][(..., *middle)])


def test_parts_after_the_last_that_resamples_see_the_patch_alone():
    parts = tuple(Component(name=name) for name in ("gamma", "elastic", "contrast"))
    pipeline = build_augmentation(msgspec.structs.replace(PLAN, augmentation=parts))
    before, _, after = pipeline.parts
    sizes = []
    for part in (before, after):
        part.parameters = lambda generator, shape: sizes.append(tuple(shape[2:])) or {}
        part.change = lambda image, label, draw: (image, label)
    pipeline.batched(*batch(pipeline.region), generator())
    assert sizes == [pipeline.region, PLAN.patch]


@pytest.mark.parametrize("plane", [None, "axial"])
def test_the_compose_of_monai_goes_through_the_same_parts(plane):
    patch = (12, 10, 8 if plane is None else 1)
    certain = tuple(
        Component(name=name, settings={"probability": 1.0})
        for name in ("gamma", "elastic", "mirror", "affine", "brightness")
    )
    plan = msgspec.structs.replace(PLAN, patch=patch, plane=plane, augmentation=certain)
    pipeline = build_augmentation(plan)
    image, label = batch([n for n in pipeline.region if n > 1], count=1)
    compose = pipeline.transform().set_random_state(seed=2)
    after = compose({"image": image[0], "label": label})
    draws = compose.set_random_state(seed=2)
    expected = image, label
    for step in draws.transforms:
        seed = int(step.R.randint(2**31))
        expected = step.part.batched(*expected, generator(seed))
    assert after["image"].shape == (2, *(n for n in patch if n > 1))
    assert torch.equal(after["image"], expected[0][0])
    assert torch.equal(after["label"], expected[1])


def test_mirror_takes_its_axes_from_the_plan():
    for plane, patch in ((None, (12, 10, 8)), ("coronal", (12, 1, 8))):
        plan = msgspec.structs.replace(
            PLAN,
            plane=plane,
            patch=patch,
            mirror_axes=(1, 2),
            augmentation=(Component(name="mirror", settings={"probability": 1.0}),),
        )
        pipeline = build_augmentation(plan)
        image, label = batch(pipeline.region)
        after, label_after = pipeline.batched(image, label, generator())
        axes = [axis for axis in (1, 2) if patch[axis] > 1]
        assert torch.equal(after, image.flip([axis + 2 for axis in axes]))
        assert torch.equal(label_after, label.flip([axis + 1 for axis in axes]))


def test_an_unknown_name_lists_the_others():
    plan = msgspec.structs.replace(PLAN, augmentation=(Component(name="blurr"),))
    with pytest.raises(PlanError, match="gaussian_blur"):
        build_augmentation(plan)
    with pytest.raises(PlanError, match="standard"):
        augmentation_preset("mild")


def test_the_concepts_page_lists_every_file():
    page = Path(__file__).parents[2] / "docs" / "concepts" / "augmentation.md"
    text = page.read_text("utf-8")
    assert not [name for name in IN_TREE if f"`{name}`" not in text]


def test_no_number_is_asked_of_a_device(name, size, monkeypatch):
    image, label = (tensor.to("meta") for tensor in batch(size, count=8))  # it has none to give
    own = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": own())
    part = part_of(name, size, probability=0.5)
    after, label_after = part.batched(image, label, generator(4))
    assert after.is_meta
    assert label_after.is_meta
    assert after.shape == image.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_device_nothing_waits_for_the_host(name, size):
    image, label = (tensor.cuda() for tensor in batch(size))
    part = part_of(name, size, probability=0.5)
    part.batched(image, label, generator())
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        after, _ = part.batched(image, label, generator())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(after).all()
    draw = part.draw(generator(1), image.shape)
    on_host = part.apply(image.cpu(), label.cpu(), draw)
    on_device = part.apply(image, label, draw)
    if "seed" not in draw:
        torch.testing.assert_close(on_device[0].cpu(), on_host[0], atol=1e-3, rtol=1e-3)
    assert (on_device[1].cpu() == on_host[1]).float().mean() > 0.99
