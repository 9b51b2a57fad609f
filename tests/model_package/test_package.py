import pytest
import torch

from medseg.errors import PackageError, PlanError, WriteError
from medseg.model_package import (
    Card,
    Manifest,
    ModelPackage,
    find_package,
    save_package,
    shipped_packages,
)
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.planning import Component, Normalisation, Plan
from medseg.volume import LabelTable

PLAN = Plan(
    spacing_mm=(1.0, 1.0, 1.0),
    channels=("MR",),
    normalisation=(Normalisation(),),
    patch=(16, 16, 16),
    batch=2,
    network=Component(
        name="unet",
        settings={
            "features": [4, 8],
            "strides": [[1, 1, 1], [2, 2, 2]],
            "kernels": [[3, 3, 3], [3, 3, 3]],
        },
    ),
)


@pytest.fixture
def package(tmp_path):
    manifest = Manifest(
        name="toy",
        plan=PLAN,
        labels=LabelTable.of({1: "a", 2: "b"}),
        card=Card(summary="A toy.", limits="Everything."),
        scores={"a": 0.5},
        weights=UNSAVED,
    )
    return save_package(tmp_path / "toy", manifest, build_network(PLAN, classes=3))


def test_a_package_comes_back_as_it_went(package):
    again = ModelPackage.open(package.folder)
    assert again.manifest == package.manifest
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.load_network()(image), package.load_network()(image))


def test_weights_round_to_float16_and_no_further(tmp_path, package):
    torch.manual_seed(5)
    network = build_network(PLAN, classes=3)
    stored = save_package(tmp_path / "other", package.manifest, network).load_network()
    for one, other in zip(network.state_dict().values(), stored.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=2**-11, atol=1e-7)


def test_a_flipped_bit_in_the_weights_is_noticed(package):
    path = package.folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(PackageError, match="SHA-256"):
        package.load_network()


def test_a_misspelt_manifest_key_names_itself(package):
    path = package.folder / "manifest.json"
    path.write_text(path.read_text().replace('"labels"', '"lables"', 1))
    with pytest.raises(PlanError, match="lables"):
        find_package(package.folder)


def test_an_unknown_model_lists_the_shipped(tmp_path):
    with pytest.raises(PackageError, match="neither a shipped model"):
        find_package(tmp_path / "nothing")


def test_a_foreign_folder_is_never_replaced(tmp_path, package):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(WriteError, match="no model package"):
        save_package(tmp_path / "mine", package.manifest, build_network(PLAN, classes=3))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_no_pickle_in_the_folder(package):
    names = {path.name for path in package.folder.iterdir()}
    assert names == {"README.md", "manifest.json", "weights.safetensors"}
    assert "Everything." in (package.folder / "README.md").read_text()


def test_shipped_models_load_and_are_small():
    for shipped in shipped_packages():
        shipped.load_network()
        assert sum(path.stat().st_size for path in shipped.folder.iterdir()) <= 8e6
        assert shipped.manifest.card.licence
        assert shipped.manifest.scores
