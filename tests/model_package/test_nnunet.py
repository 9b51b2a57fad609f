"""Models of nnU-Net v2 as packages: networks, plans, labels, folds, post-processing."""

import json

import numpy as np
import pytest
import torch

from medseg.errors import PackageError
from medseg.inference import Predictor
from medseg.model_package import find_package
from medseg.model_package.interop.nnunet.importing import import_nnunet
from medseg.model_package.interop.nnunet.options import ImportOptions
from medseg.planning import Component
from medseg.volume import Grid, Scan
from nnunet_folders import (
    LABELS,
    SEEN,
    configuration,
    dataset,
    network_of,
    old_configuration,
    plans,
    write_trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINED = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def trained(tmp_path, networks, one, name=TRAINED, **changes):
    file = changes.pop("plans_json", None) or plans({name.rpartition("__")[2]: one})
    return write_trained(tmp_path / "Dataset007_Liver" / name, networks, plans_json=file, **changes)


def imported(tmp_path, folder, **options):
    return import_nnunet(folder, tmp_path / "package", ImportOptions(**options))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_a_network_comes_with_its_weights(tmp_path, residual, old):
    network = network_of(residual=residual)
    one = old_configuration(residual=residual) if old else configuration(residual=residual)
    package = imported(tmp_path, trained(tmp_path, {"0": network}, one))
    image = torch.randn(1, 1, 8, 16, 24)
    with torch.no_grad():
        assert_close(package.load_network()(image), network(image))
    assert package.folds == ()


@pytest.mark.parametrize("planned", [False, True])
def test_batch_norm_of_the_plans_or_of_a_trainer(tmp_path, planned):
    network = network_of(batch_norm=True)
    one = configuration(batch_norm=planned)
    folder = trained(tmp_path, {"0": network}, one, trainer_name="nnUNetTrainerBN")
    image = torch.randn(1, 1, 8, 16, 24)
    with torch.no_grad():
        found = imported(tmp_path, folder).load_network()(image)
        assert_close(found, network(image))


def test_a_2d_network_sees_slices_along_the_first_axis(tmp_path):
    network = network_of(dims=2)
    name = "nnUNetTrainer__nnUNetPlans__2d"
    folder = trained(
        tmp_path,
        {"0": network},
        configuration(dims=2),
        name,
        inference_allowed_mirroring_axes=(0, 1),
    )
    package = imported(tmp_path, folder)
    plan = package.manifest.plan
    assert (plan.patch, plan.spacing_mm, plan.plane) == ((1, 16, 24), (3.0, 1.5, 1.0), "first")
    assert plan.mirror_axes == (1, 2)
    image = torch.randn(1, 1, 1, 16, 24)
    with torch.no_grad():
        assert_close(package.load_network()(image)[:, :, 0], network(image[:, :, 0]))


def test_the_plan_prepares_as_nnunet_does(tmp_path):
    changed = plans({"3d_fullres": configuration()}, transpose_forward=[1, 0, 2])
    folder = trained(
        tmp_path,
        {"0": network_of()},
        None,
        plans_json=changed,
        inference_allowed_mirroring_axes=(1,),
    )
    plan = imported(tmp_path, folder).manifest.plan
    assert (plan.orientation, plan.spacing_mm, plan.patch) == ("JKI", (3.0, 1.5, 1.0), (8, 16, 24))
    assert (plan.crop, plan.normalise_first, plan.mirror_axes) == ("nonzero", True, (1,))
    rule = plan.normalisation[0]
    assert (rule.scheme, rule.low, rule.high) == ("clip_zscore", -60.0, 190.0)
    assert (rule.mean, rule.std) == (30.0, 40.0)
    assert (plan.resampling.image.order, plan.resampling.logits.order) == (3, 1)
    assert plan.resampling.image.order_across == 0
    assert plan.resampling.image.separate_across is None


def test_a_reader_that_turns_to_the_body_names_axes_of_the_body(tmp_path):
    file = plans({"3d_fullres": configuration()}, image_reader_writer="NibabelIOWithReorient")
    folder = trained(tmp_path, {"0": network_of()}, None, plans_json=file)
    assert imported(tmp_path, folder).manifest.plan.orientation == "SAR"


def test_channels_and_their_normalisation_under_old_and_new_names(tmp_path):
    schemes = {
        "CTNormalization": ("clip_zscore", False),
        "ZScoreNormalization": ("zscore", True),
        "NoNormalization": ("none", False),
        "RescaleTo01Normalization": ("rescale", False),
        "RGBTo01Normalization": ("rgb01", False),
    }
    one = configuration(normalization_schemes=[*schemes], use_mask_for_norm=[True] * 5)
    file = plans({"3d_fullres": one}, foreground_intensity_properties_by_modality={"0": SEEN})
    del file["foreground_intensity_properties_per_channel"]
    words = dataset(modality={"0": "CT", "1": "T1", "10": "c", "2": "T1", "3": "b"})
    del words["channel_names"]
    networks = {"0": network_of(channels=5)}
    folder = trained(tmp_path, networks, None, plans_json=file, dataset_json=words)
    plan = imported(tmp_path, folder).manifest.plan
    assert plan.channels == ("CT", "T1 1", "T1 2", "b", "c")
    assert {(rule.scheme, rule.nonzero) for rule in plan.normalisation} == {*schemes.values()}


def test_configurations_inherit(tmp_path):
    base = configuration(spacing=[5.0, 5.0, 5.0])
    heir = {"inherits_from": "3d_fullres", "spacing": [2.0, 2.0, 2.0]}
    name = "nnUNetTrainer__nnUNetPlans__3d_lowres"
    file = plans({"3d_fullres": base, "3d_lowres": heir})
    folder = trained(tmp_path, {"0": network_of()}, None, name, plans_json=file)
    plan = imported(tmp_path, folder).manifest.plan
    assert (plan.spacing_mm, plan.patch) == ((2.0, 2.0, 2.0), (8, 16, 24))


def test_folds_answer_together(tmp_path):
    networks = {str(n): network_of(seed=n) for n in (0, 2, 10)}
    folder = trained(tmp_path, networks, configuration())
    package = imported(tmp_path, folder)
    assert package.folds == (0, 2, 10)
    image = torch.randn(1, 1, 8, 16, 24)
    with torch.no_grad():
        mean = torch.stack([network(image) for network in networks.values()]).mean(dim=0)
        assert_close(package.load_network()(image), mean)
    one = import_nnunet(folder, tmp_path / "one", ImportOptions(folds=("2",)))
    with torch.no_grad():
        assert_close(one.load_network()(image), networks["2"](image))
    with pytest.raises(PackageError, match="has no trained fold 3; it has 0, 10, 2"):
        import_nnunet(folder, tmp_path / "three", ImportOptions(folds=("0", "3")))
    assert not (tmp_path / "three").exists()


def test_a_network_of_all_cases_is_taken_where_there_are_no_folds(tmp_path):
    folder = trained(tmp_path, {"all": network_of()}, configuration())
    package = imported(tmp_path, folder)
    assert (package.folds, package.manifest.provenance["folds"]) == ((), "all")


def test_a_folder_of_another_name_is_the_configuration_of_its_checkpoint(tmp_path):
    both = plans({"2d": configuration(dims=2), "3d_fullres": configuration()})
    arguments = {"configuration": "3d_fullres", "fold": "all"}
    folder = write_trained(
        tmp_path / "release_2.0.0", {"all": network_of()}, plans_json=both, init_args=arguments
    )
    manifest = imported(tmp_path, folder).manifest
    assert manifest.provenance["configuration"] == "3d_fullres"
    assert manifest.plan.plane is None


def test_labels_have_their_names_and_codes_and_no_ignore_label(tmp_path):
    words = dataset(labels={**LABELS, "left kidney": 3, "ignore": 4})
    folder = trained(tmp_path, {"0": network_of(heads=4)}, configuration(), dataset_json=words)
    table = imported(tmp_path, folder).manifest.labels
    assert table.names == ("liver", "tumour", "left kidney")
    assert [label.code.value for label in table] == ["10200004", "108369006", "64033007"]
    assert table.labels[1].property_category.value == "49755003"


def test_regions_that_hold_one_another(tmp_path):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3, "ignore": 4}
    words = dataset(labels=labels, regions_class_order=[2, 1, 3])
    folder = trained(tmp_path, {"0": network_of(heads=3)}, configuration(), dataset_json=words)
    manifest = imported(tmp_path, folder).manifest
    assert manifest.plan.regions == ((2, 1, 3), (1, 3), (3,))
    assert manifest.labels.names == ("core without enhancing", "whole without core", "enhancing")


def test_regions_that_cross_write_what_nnunet_writes(tmp_path):
    labels = {"background": 0, "a": [1, 2], "b": [2, 3], "c": 2}
    words = dataset(labels=labels, regions_class_order=[1, 3, 2])
    folder = trained(tmp_path, {"0": network_of(heads=3)}, configuration(), dataset_json=words)
    manifest = imported(tmp_path, folder).manifest
    assert [region[0] for region in manifest.plan.regions] == [1, 3, 2]
    assert manifest.labels.names == ("a", "c", "b")


def test_postprocessing_of_the_folds_that_are_taken(tmp_path):
    folder = trained(tmp_path, {n: network_of() for n in "01"}, configuration())
    step = "remove_all_but_largest_component_from_segmentation"
    content = {
        "postprocessing_fns": [step, step],
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}],
    }
    place = folder / "crossval_results_folds_0_1"
    place.mkdir()
    (place / "postprocessing.json").write_text(json.dumps(content))
    (place / "postprocessing.pkl").write_bytes(b"never opened")
    settings = {"connected_by": "corners", "equal": True, "labels": [1, 2], "together": True}
    assert imported(tmp_path, folder).manifest.postprocessing == (
        Component(name="components", settings=settings),
        Component(name="components", settings={**settings, "labels": [2]}),
    )
    one = import_nnunet(folder, tmp_path / "one", ImportOptions(folds=("0",)))
    assert one.manifest.postprocessing == ()
    content["postprocessing_fns"][1] = "fill_holes"
    (place / "postprocessing.json").write_text(json.dumps(content))
    with pytest.raises(PackageError, match="asks for 'fill_holes'"):
        import_nnunet(folder, tmp_path / "two")


def test_scores_of_its_own_validation_are_kept(tmp_path):
    folder = trained(tmp_path, {n: network_of() for n in "01"}, configuration())
    for fold, dice in (("0", 0.8), ("1", 0.9)):
        mean = {"1": {"Dice": dice}, "2": {"Dice": float("nan")}}
        place = folder / f"fold_{fold}" / "validation"
        place.mkdir()
        (place / "summary.json").write_text(json.dumps({"mean": mean, "metric_per_case": [{}] * 3}))
    manifest = imported(tmp_path, folder).manifest
    assert manifest.scores == {"liver": 0.85}
    assert [(fold.cases, fold.scores) for fold in manifest.folds] == [
        (3, {"liver": 0.8}),
        (3, {"liver": 0.9}),
    ]


def test_a_folder_is_a_model_for_the_predictor_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_MODELS", str(tmp_path / "models"))
    folder = trained(tmp_path, {"0": network_of()}, configuration())
    package = find_package(folder)
    assert package.folder.is_relative_to(tmp_path / "models")
    assert find_package(folder.parent).folder != folder
    written = package.folder.stat().st_mtime_ns
    assert find_package(folder).folder.stat().st_mtime_ns == written
    rng = np.random.default_rng(0)
    grid = Grid((20, 18, 9), np.diag([1.0, 1.5, 3.0, 1.0]))
    scan = Scan(rng.normal(30, 60, (1, 20, 18, 9)).astype(np.float32), grid)
    labels = Predictor.load(package, device="cpu").predict(scan)
    assert {*np.unique(labels.values)} <= {0, 1, 2}
    torch.save({"network_weights": {}}, folder / "fold_0/checkpoint_final.pth")
    with pytest.raises(PackageError, match="weights lack"):
        find_package(folder)
