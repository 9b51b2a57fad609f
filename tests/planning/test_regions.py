"""Regions that hold one another: from nnU-Net's dataset.json to a model and its scores."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from msgspec import structs

from medseg.errors import Cancelled, InputError, LabelError, PlanError
from medseg.inference import Predictor
from medseg.losses import build_loss, loss_choice
from medseg.model_package import ModelPackage
from medseg.planning import Component, Normalisation, read_plan
from medseg.planning.regions import class_regions, regions_of_classes
from medseg.runtime.device import choose_device
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.cache import class_indices
from medseg.training.held_out import prepare_held_out
from medseg.training.history import read_history
from medseg.training.label_file import meaning_of
from medseg.training.postprocessing_search import choose_postprocessing
from medseg.training.recipe import Recipe
from medseg.training.validation import mean_dice
from medseg.volume import Grid, LabelMap, Scan
from toy_dataset import TOY_PLAN, toy_case, write_toy_regions

pytestmark = pytest.mark.usefixtures("one_thread")

BRATS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
PLAN = structs.replace(TOY_PLAN, regions=((1, 2), (2,)))


def meaning(labels, order):
    plain = {"labels": labels} | ({} if order is None else {"regions_class_order": order})
    return meaning_of(plain, where=Path("dataset.json"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_toy_regions(tmp_path_factory.mktemp("data") / "toy"))


def test_labels_say_which_part_of_a_region_they_are():
    found = meaning({**BRATS, "ignore": 4}, [1, 2, 3])
    assert {label.value: label.name for label in found.table} == {
        1: "whole tumor without tumor core",
        2: "tumor core without enhancing tumor",
        3: "enhancing tumor",
        4: "ignore",
    }
    assert [region.name for region in found.regions] == [*BRATS][1:]
    assert class_regions(found.regions) == ((1, 2, 3), (2, 3), (3,))


def test_inner_regions_side_by_side_are_all_named():
    found = meaning({"kidney": [1, 2, 3], "cyst": 3, "tumor": 2}, [1, 3, 2])
    assert found.table.names == ("kidney without cyst and tumor", "tumor", "cyst")
    assert class_regions(found.regions) == ((1, 2, 3), (3,), (2,))


def test_a_name_too_long_for_dicom_is_cut_short():
    inner = "x" * 50
    assert meaning({"outer region": [1, 2], inner: 2}, [1, 2]).table.names[0] == (
        "outer region (rest)"
    )


def test_the_order_need_not_ascend():
    labels = {"whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]}
    found = meaning(labels, [2, 1, 3])
    assert found.table.names[:2] == (
        "tumor core without enhancing tumor",
        "whole tumor without tumor core",
    )
    regions = class_regions(found.regions)
    assert regions == ((2, 1, 3), (1, 3), (3,))
    structs.replace(PLAN, regions=regions)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (BRATS, [1, 2, 3]),
        ({"kidney": [1, 2, 3], "cyst": 3, "tumor": 2}, [1, 3, 2]),
        ({"whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}, [2, 1, 3]),
        ({"outer region": [4, 7], "x" * 50: 7}, [4, 7]),
        ({"a without b": [1, 2], "b": 2, "c (rest)": 5}, [1, 2, 5]),
    ],
)
def test_a_model_knows_its_regions_from_its_plan_and_the_names_of_their_parts(labels, order):
    found = meaning(labels, order)
    assert regions_of_classes(class_regions(found.regions), found.table) == found.regions


@pytest.mark.parametrize(
    ("labels", "order", "words"),
    [
        (BRATS, None, "'regions_class_order' is None"),
        (BRATS, [1, 2], r"3 regions and 'regions_class_order' is \[1, 2\]"),
        (BRATS, [1, 2, 7], "'enhancing tumor' the value 7, which is none of its values"),
        (BRATS, [3, 2, 3], "'whole tumor' the value 3, which 'tumor core' holds too"),
        ({"core": 2, "whole": [1, 2]}, [2, 1], "'core' the value 2, which 'whole' holds too"),
        ({"a": [1, 2], "b": [2, 3]}, [1, 3], "neither holds the other"),
        ({"a": [0, 1], "b": 1}, [1, 1], "whole numbers from 1 on"),
        ({"a": [], "b": 1}, [1, 1], "whole numbers from 1 on"),
        ({"a": ["1"], "b": 1}, [1, 1], "whole numbers from 1 on"),
        ({"a": [1, 2], "b": 2, "ignore": 2}, [1, 2], "'ignore'.*no region holds"),
    ],
)
def test_regions_that_no_label_map_could_show_are_refused(labels, order, words):
    with pytest.raises(LabelError, match=words):
        meaning(labels, order)


def test_values_without_a_region_of_their_own_become_the_innermost_one(tmp_path):
    for part, array in (
        ("imagesTr/c_0000", np.zeros((2, 2, 2), np.float32)),
        ("labelsTr/c", np.array([0, 1, 2, 3, 4, 5, 300, 9], np.uint16).reshape(2, 2, 2)),
    ):
        (tmp_path / part).parent.mkdir()
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{part}.nii.gz")
    about = {
        "channel_names": {"0": "MR"},
        "regions_class_order": [4, 300],
        "labels": {"organ": [1, 2, 3, 4, 5, 300], "lesion": [5, 300], "ignore": 9},
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = open_dataset(tmp_path)
    _, truth = dataset.read(dataset.cases[0])
    assert truth.values.ravel().tolist() == [0, 4, 4, 4, 4, 300, 300, 9]
    assert class_indices(truth.values, truth.table).ravel().tolist() == [0, 1, 1, 1, 1, 2, 2, 255]
    about["labels"]["organ"].remove(2)
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(LabelError, match=r"\[2\]"):
        open_dataset(tmp_path).read(dataset.cases[0])


def test_a_file_given_in_place_of_the_folders_keeps_its_regions(dataset, tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"labels": {"all": [1, 2]}, "regions_class_order": [1]}))
    folder = dataset.cases[0].label.parents[1]
    assert [region.name for region in open_dataset(folder, labels=file).regions] == ["all"]


def test_regions_are_planned(dataset, tmp_path):
    def stop_at_preparing(done, total, message):
        if message == "preparing":
            raise Cancelled("seen")

    options = TrainingOptions(steps=2, device="cpu", loss="tversky")
    with pytest.raises(Cancelled):
        train(dataset, tmp_path / "run", options=options, progress=stop_at_preparing)
    plan = read_plan(tmp_path / "run" / "plan.json")
    assert plan.regions == ((1, 2), (2,))
    assert plan.loss == Component(name="tversky")


def test_a_run_learns_regions_and_measures_them(dataset, tmp_path):
    run = tmp_path / "run"
    options = TrainingOptions(
        steps=100,
        validations=3,
        device="cpu",
        recipe=Recipe(optimizer="adamw", learning_rate=1e-2),
        postprocess=True,
    )
    folder = train(dataset, run, options=options, plan=PLAN)
    manifest = ModelPackage.open(folder).manifest
    assert "postprocessing" in manifest.provenance
    assert "crf" not in {step.name for step in manifest.postprocessing}
    assert manifest.plan == PLAN
    assert manifest.labels.names == ("whole without core", "core")
    assert set(manifest.scores) == {"whole", "core", "mean_over_labels"}
    on_the_way = [row["dice"]["mean_over_labels"] for row in read_history(run) if "dice" in row]
    assert len(on_the_way) == 3
    assert on_the_way[0] < on_the_way[-1]
    assert manifest.scores["mean_over_labels"] > 0.9
    image, labels = toy_case(99)
    scan = Scan(image[None], Grid(image.shape, np.diag([1.2, 1.2, 1.2, 1])), "MR")
    predictor = Predictor.load(folder, device="cpu")
    found = predictor.predict(scan)
    for values in ([1, 2], [2]):
        mask, truth = np.isin(found.values, values), np.isin(labels, values)
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9
    largest = Predictor.load(folder, device="cpu", postprocessing=(Component(name="components"),))
    assert set(np.unique(largest.predict(scan).values)) == {0, 1, 2}
    with pytest.raises(PlanError, match="classes that exclude each other"):
        Predictor.load(folder, device="cpu", postprocessing=(Component(name="crf"),))


def test_a_region_counts_with_all_that_lies_inside_it(dataset, tmp_path):
    class TruthWithoutCore:
        def predict_prepared(self, image_CIJK, grid, box):
            _, labels = toy_case(0)
            return LabelMap(np.minimum(labels, 1), grid, dataset.labels)

    cases = prepare_held_out(dataset, dataset.cases[:1], PLAN, tmp_path)
    scores = mean_dice(TruthWithoutCore(), cases, regions=dataset.regions)
    assert scores == {"whole": 1.0, "core": 0.0, "mean_over_labels": 0.5}


class Threshold(torch.nn.Module):
    """Regions by brightness alone: the whole above 50, the core above 150."""

    def forward(self, image):
        return torch.cat((image - 50, image - 150), dim=1)


def test_steps_for_regions_are_chosen_on_held_out_cases(tmp_path):
    """A bright piece far away that is no part of the truth is found by the network each time."""
    folder = write_toy_regions(tmp_path / "specks", cases=3)
    for path in (folder / "images").iterdir():
        image = nib.load(path)
        voxels = 100.0 * np.asarray(nib.load(folder / "labels" / path.name).dataobj, np.float32)
        voxels[-2:, -2:, -2:] = 200
        nib.save(nib.Nifti1Image(voxels, image.affine), path)
    dataset = open_dataset(folder)
    plan = structs.replace(PLAN, normalisation=(Normalisation(scheme="none"),))
    predictor = Predictor(Threshold(), plan, dataset.labels, choose_device("cpu"))
    cases = prepare_held_out(dataset, dataset.cases, plan, tmp_path / "cache")
    choice = choose_postprocessing(predictor, cases, regions=dataset.regions)
    assert [step.name for step in choice.postprocessing] == ["components"]
    assert choice.postprocessing[0].settings == {"labels": [2]}
    assert choice.dice_without < 0.98
    assert choice.dice_with == 1.0


@pytest.mark.parametrize(
    ("options", "plan", "words"),
    [
        ({"loss": "cl_dice"}, None, r"'cl_dice' cannot learn regions.*dice_ce.*tversky"),
        ({}, structs.replace(PLAN, regions=()), r"regions \(\) and the dataset 'toy'"),
        ({}, structs.replace(PLAN, loss=Component(name="boundary")), "'boundary' cannot"),
    ],
)
def test_what_does_not_go_with_regions_is_refused_before_anything_is_made(
    dataset, tmp_path, options, plan, words
):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=words):
        train(dataset, run, options=TrainingOptions(device="cpu", **options), plan=plan)
    assert not run.exists()


def test_the_loss_has_the_plans_regions():
    labels = torch.randint(0, 3, (1, 4, 4, 4))
    inside = torch.stack((labels > 0, labels == 2), dim=1)
    assert build_loss(PLAN)(40.0 * (inside.float() - 0.5), labels) < 1e-4
    assert loss_choice("tversky", regions=PLAN.regions) == Component(name="tversky")
    with pytest.raises(PlanError, match="cannot learn regions"):
        build_loss(structs.replace(PLAN, loss=Component(name="hausdorff")))


def test_the_command_line_hands_the_regions_on(dataset, tmp_path):
    from medseg_pipelines.cli import medseg

    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"labels": {"a": [1, 2], "b": 2}, "regions_class_order": [1]}))
    folder = dataset.cases[0].label.parents[1]
    words = ["train", str(folder), "--output", str(tmp_path / "run"), "--labels", str(file)]
    done = CliRunner().invoke(medseg, words)
    assert "2 regions and 'regions_class_order' is [1]" in f"{done.output} {done.exception}"
