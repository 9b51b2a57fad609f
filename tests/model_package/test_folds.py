"""A model of several folds: one file of weights, an ensemble that answers, exports and cards."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from medseg.errors import InputError, PackageError
from medseg.inference import Predictor
from medseg.model_package import (
    Manifest,
    ModelPackage,
    export_bundle,
    export_model,
    save_package,
)
from medseg.model_package.manifest import FoldScores, decode_manifest
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.networks.adapters.ensemble import Ensemble
from medseg.preprocessing import prepare_image
from medseg.runtime.device import Device
from medseg.volume import Grid, LabelTable, Scan
from toy_dataset import TOY_PLAN

NUMBERS = (0, 2, 3)


@pytest.fixture
def package(tmp_path):
    torch.manual_seed(0)
    networks = {f"fold_{n}": build_network(TOY_PLAN, classes=3) for n in NUMBERS}
    manifest = Manifest(
        name="toy",
        plan=TOY_PLAN,
        labels=LabelTable.of({1: "a", 2: "b"}),
        scores={"a": 0.5, "b": 0.6},
        folds=tuple(FoldScores(number=n, cases=4, scores={"a": n / 10}) for n in NUMBERS),
        weights=UNSAVED,
    )
    return save_package(tmp_path / "toy", manifest, Ensemble(networks))


def test_the_ensemble_is_the_mean_of_its_folds(package):
    image = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        of_folds = [package.of_fold(n).load_network()(image) for n in NUMBERS]
        together = ModelPackage.open(package.folder).load_network()(image)
    assert (of_folds[0] - of_folds[1]).abs().max() > 1e-3
    torch.testing.assert_close(together, torch.stack(of_folds).mean(dim=0))


def test_a_predictor_labels_by_all_folds(package):
    rng = np.random.default_rng(1)
    grid = Grid((16, 16, 16), np.diag([*TOY_PLAN.spacing_mm, 1]))
    scan = Scan(rng.normal(size=(1, 16, 16, 16)).astype(np.float32), grid)
    predictor = Predictor.load(package, device="cpu")
    exact = Device(torch.device("cpu"), None, "CPU, float32")
    labels = replace(predictor, device=exact).predict(scan)
    image_CIJK, placement = prepare_image(scan, TOY_PLAN)
    with torch.no_grad():
        logits = [package.of_fold(n).load_network()(image_CIJK[None])[0] for n in NUMBERS]
    classes = torch.stack(logits).mean(dim=0).argmax(dim=0).numpy().astype(np.uint8)
    expected = placement.to_native(classes)
    assert (labels.values == expected).mean() > 0.999
    assert (logits[0].argmax(dim=0) != logits[1].argmax(dim=0)).any()


def test_a_fold_that_is_not_there_is_named(package):
    with pytest.raises(InputError, match="'toy' has no fold 1; it has 0, 2, 3"):
        package.of_fold(1)
    manifest = msgspec.structs.replace(package.manifest, folds=())
    single = save_package(
        package.folder.parent / "one", manifest, build_network(TOY_PLAN, classes=3)
    )
    with pytest.raises(InputError, match="it is one network"):
        single.of_fold(0)
    assert single.as_one is single
    assert package.as_one.fold == 0


def test_the_card_has_the_scores_of_each_fold(package):
    card = (package.folder / "README.md").read_text(encoding="utf-8")
    assert "| fold | cases | a | b |" in card
    assert "| 2 | 4 | 0.2000 | - |" in card


def test_manifests_of_before_are_read_and_newer_ones_refused():
    old = msgspec.to_builtins(
        Manifest(name="old", plan=TOY_PLAN, labels=LabelTable.of({1: "a"}), weights=UNSAVED)
    )
    del old["folds"]
    for version in (1, 2):
        content = msgspec.json.encode(old | {"schema_version": version})
        assert decode_manifest(content, where="m").folds == ()
    with pytest.raises(PackageError, match="schema version 9, this medseg reads up to 4"):
        decode_manifest(msgspec.json.encode(old | {"schema_version": 9, "new": 1}), where="m")


@pytest.mark.parametrize("ending", [".ts", ".pt2"])
def test_all_folds_go_into_one_file_and_one_of_them_alone(package, tmp_path, ending):
    whole = export_model(package, tmp_path / f"all{ending}")
    alone = export_model(package.of_fold(3), tmp_path / f"one{ending}")
    assert whole.difference < 1e-4
    assert alone.difference < 1e-4
    assert whole.path.stat().st_size > 2 * alone.path.stat().st_size


def test_a_bundle_holds_the_ensemble(package, tmp_path):
    pytest.importorskip("monai")
    assert export_bundle(package, tmp_path / "bundle").difference < 1e-4
