"""What every step keeps, of a file in medseg/postprocessing or of an installed package."""

import msgspec
import numpy as np
import pytest
import torch

from medseg.errors import PlanError
from medseg.planning import Component
from medseg.postprocessing import NO_POSTPROCESSING, build_postprocessing, names
from medseg.runtime import registry
from sample_package import part_names

PACKAGE = "medseg.postprocessing"
PLUGINS = part_names(PACKAGE)
NAMES = names() + PLUGINS
KINDS = {name: registry.load(PACKAGE, name).WORKS_ON for name in names()}
ON_LABELS = [name for name, kind in KINDS.items() if kind == "labels"] + list(PLUGINS)
ON_PROBABILITIES = [name for name, kind in KINDS.items() if kind == "probabilities"]
SHAPES = [(9, 8, 7), (12, 10, 1), (1, 11, 6), (1, 1, 1), (2, 1, 1)]
SPACING = (0.7, 0.8, 3.0)


def built(name):
    part = registry.load(PACKAGE, name)
    return part.build(part.Settings())


def probabilities(shape, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.softmax(torch.randn(classes, *shape, generator=generator), dim=0)


def test_every_step_is_of_one_of_the_two_kinds():
    assert sorted(ON_LABELS + ON_PROBABILITIES) == sorted(NAMES)
    assert {registry.load(PACKAGE, name).WORKS_ON for name in PLUGINS} == {"labels"}
    assert {"crf", "components", "holes", "minimum_volume"} <= set(names())


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_frozen_data_with_defaults(name):
    kind = registry.load(PACKAGE, name).Settings
    settings = kind()
    again = msgspec.json.decode(msgspec.json.encode(settings), type=kind)
    assert again == settings
    with pytest.raises(AttributeError):
        setattr(settings, settings.__struct_fields__[0], None)


@pytest.mark.parametrize("name", ON_LABELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_a_label_step_keeps_shape_type_and_what_it_was_given(name, shape, dtype):
    given = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)
    before = given.copy()
    found = built(name)(given, spacing_mm=SPACING)
    assert (found.shape, found.dtype) == (given.shape, given.dtype)
    assert np.array_equal(given, before)
    assert set(np.unique(found)) <= {0, *np.unique(given)}


@pytest.mark.parametrize("name", ON_LABELS)
@pytest.mark.parametrize("value", [0, 2])
def test_a_label_step_leaves_an_even_map_alone(name, value):
    given = np.full((5, 6, 7), value, np.uint8)
    assert np.array_equal(built(name)(given, spacing_mm=SPACING), given)


@pytest.mark.parametrize("name", ON_LABELS)
def test_a_label_step_twice_is_once(name):
    given = np.random.default_rng(1).integers(0, 3, (12, 11, 10)).astype(np.uint8)
    once = built(name)(given, spacing_mm=SPACING)
    assert np.array_equal(built(name)(once, spacing_mm=SPACING), once)


@pytest.mark.parametrize("name", ON_LABELS)
def test_a_label_step_does_not_know_which_axis_is_which(name):
    given = np.random.default_rng(2).integers(0, 3, (8, 9, 10)).astype(np.uint8)
    turned = built(name)(given.transpose(2, 0, 1), spacing_mm=(3.0, 0.7, 0.8))
    assert np.array_equal(turned, built(name)(given, spacing_mm=SPACING).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ON_LABELS)
def test_a_label_that_is_not_there_is_no_trouble(name):
    part = registry.load(PACKAGE, name)
    given = np.random.default_rng(3).integers(0, 3, (6, 6, 6)).astype(np.uint8)
    found = part.build(part.Settings(labels=(77,)))(given, spacing_mm=SPACING)
    assert np.array_equal(found, given)


@pytest.mark.parametrize("name", ON_PROBABILITIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_probability_step_gives_probabilities(name, shape, channels):
    given = probabilities(shape)
    before = given.clone()
    found = built(name)(given, torch.randn(channels, *shape), spacing_mm=SPACING)
    assert found.shape == given.shape
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(0), torch.ones(shape))
    assert torch.equal(given, before)


@pytest.mark.parametrize("name", ON_PROBABILITIES)
def test_a_probability_step_does_not_know_which_axis_is_which(name):
    given, image = probabilities((6, 7, 8)), torch.randn(1, 6, 7, 8)
    turned = built(name)(
        given.permute(0, 3, 1, 2), image.permute(0, 3, 1, 2), spacing_mm=(3.0, 0.7, 0.8)
    )
    straight = built(name)(given, image, spacing_mm=SPACING).permute(0, 3, 1, 2)
    assert (turned - straight).abs().mean() < 0.01


@pytest.mark.parametrize("name", ON_PROBABILITIES)
def test_one_class_stays_certain(name):
    found = built(name)(torch.ones(1, 4, 5, 6), torch.randn(1, 4, 5, 6), spacing_mm=SPACING)
    torch.testing.assert_close(found, torch.ones(1, 4, 5, 6))


def test_steps_come_in_order_and_probabilities_first():
    asked = ("components", "crf", "holes")
    postprocessing = build_postprocessing(Component(name=name) for name in asked)
    assert [type(step).__name__ for step in postprocessing.on_labels] == ["_Components", "_Holes"]
    assert len(postprocessing.on_probabilities) == 1


def test_no_step_changes_nothing():
    classes, chances = np.ones((2, 2, 2), np.uint8), probabilities((2, 2, 2))
    assert build_postprocessing(()) == NO_POSTPROCESSING
    assert NO_POSTPROCESSING.labels(classes, spacing_mm=SPACING) is classes
    assert NO_POSTPROCESSING.probabilities(chances, chances, spacing_mm=SPACING) is chances


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Component(name="crff"), r"'crff'.*components, crf, holes"),
        (Component(name="crf", settings={"iteration": 3}), "iteration"),
        (Component(name="crf", settings={"intensity": 0.0}), "intensity"),
        (Component(name="components", settings={"keep": 0}), "keep"),
        (Component(name="minimum_volume", settings={"smallest_mm3": -1}), "smallest_mm3"),
    ],
)
def test_what_cannot_be_is_named(choice, words):
    with pytest.raises(PlanError, match=words):
        build_postprocessing((choice,))
