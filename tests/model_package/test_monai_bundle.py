"""A model as a MONAI bundle: its files, labels of every kind of plan, and what cannot be."""

import json

import msgspec
import numpy as np
import pytest
import torch
from jsonschema import validate

from medseg.errors import InputError, WriteError
from medseg.model_package import Card, Manifest, export_bundle, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.planning import Component, Normalisation, Plan
from medseg.runtime.device import Device
from medseg.volume import Grid, LabelTable, Scan
from medseg.workflows.bundle_comparison import compare_bundle

SETTINGS = {"features": [4, 8], "strides": [[1] * 3, [2] * 3], "kernels": [[3] * 3] * 2}
FLAT_SETTINGS = {"features": [4, 8], "strides": [[1, 1], [2, 2]], "kernels": [[3, 3], [3, 3]]}
CT = Normalisation(scheme="clip_zscore", low=-50, high=80, mean=10, std=30)
PLAN = Plan(
    spacing_mm=(1.0, 1.5, 2.5),
    channels=("CT",),
    normalisation=(CT,),
    patch=(16, 12, 8),
    batch=2,
    network=Component(name="unet", settings=SETTINGS),
)
LABELS = LabelTable.of({1: "liver", 2: "cyst", 3: "vein"})
COMPONENTS = Component(name="components", settings={"keep": 2, "labels": [1, 3]})
KINDS = {
    "clipped": {},
    "own mean": {"normalisation": (Normalisation(),)},
    "as it is": {"normalisation": (Normalisation(scheme="none"),)},
    "from 0 to 1": {"normalisation": (Normalisation(scheme="rescale"),)},
    "channels": {"channels": ("CT", "MR"), "normalisation": (CT, Normalisation())},
    "regions": {"regions": ((2, 1, 3), (1, 3), (3,))},
    "orientation": {"orientation": "SPL", "spacing_mm": (2.5, 1.5, 1.0), "patch": (8, 12, 16)},
    "crop": {"crop": "padding"},
    "crop of channels": {
        "crop": "padding",
        "channels": ("CT", "MR"),
        "normalisation": (CT, Normalisation(nonzero=True)),
    },
    "crop of regions": {"crop": "padding", "regions": ((2, 1, 3), (1, 3), (3,))},
    "slices": {
        "plane": "axial",
        "patch": (16, 12, 1),
        "network": Component(name="unet", settings=FLAT_SETTINGS),
    },
}
"""Kinds of plan: what is other than in `PLAN`."""
TEXTS = ("schema", "version", "monai_version", "pytorch_version", "numpy_version", "task")
TEXTS += ("description", "authors", "copyright")
SCHEMA = {
    "type": "object",
    "required": [*TEXTS, "required_packages_version", "network_data_format"],
    "properties": {
        **{name: {"type": "string"} for name in (*TEXTS, "intended_use")},
        "required_packages_version": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "network_data_format": {
            "required": ["inputs", "outputs"],
            "additionalProperties": {"additionalProperties": {"$ref": "#/$defs/tensor"}},
        },
    },
    "$defs": {
        "tensor": {
            "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
            "properties": {
                "type": {"type": "string"},
                "format": {"type": "string"},
                "num_channels": {"type": "integer"},
                "spatial_shape": {"items": {"type": ["string", "integer"]}},
                "value_range": {"items": {"type": "number"}},
                "is_patch_data": {"type": "boolean"},
                "channel_def": {"type": "object"},
            },
        }
    },
}
"""What https://project-monai.github.io/schema/meta_schema_20240725.json asks of metadata.json."""


def packed(folder, plan=PLAN, labels=LABELS, steps=()):
    torch.manual_seed(0)
    card = Card(
        licence="CC0", attribution="Drawn by nobody.", modality="CT", intended_use="Tests only."
    )
    manifest = Manifest(
        name="toy",
        version="3",
        plan=plan,
        labels=labels,
        card=card,
        postprocessing=steps,
        scores={"liver": 0.5},
        weights=UNSAVED,
    )
    return save_package(folder, manifest, build_network(plan, classes=plan.outputs(labels)))


def scan_of(plan):
    """Noise with a bright box, one tile of the plan in another orientation than the plan's.

    A plan that crops gets padding around it.
    """
    affine = np.diag([-1.0, 1.5, -2.5, 1.0])
    affine[:3, 3] = 40, -31, 52
    voxels = np.random.default_rng(0).normal(0, 40, (len(plan.channels), 16, 12, 8))
    voxels[:, 4:12, 3:9, 2:6] += 60
    if plan.crop != "none":
        voxels = np.pad(voxels, ((0, 0), (3, 5), (0, 7), (4, 0)))
    return Scan(voxels.astype(np.float32), Grid(voxels.shape[1:], affine))


@pytest.fixture
def in_float32(monkeypatch):
    """Bundles compute in float32; so does medseg here, on every processor."""
    device = Device(torch.device("cpu"), None, "CPU")
    monkeypatch.setattr("medseg.runtime.device._cpu", lambda: device)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    export_bundle(packed(folder / "toy"), folder / "bundle")
    return folder / "bundle"


def test_the_folder_is_as_monai_specifies(bundle):
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        *("configs/inference.json", "configs/metadata.json", "docs/README.md", "LICENSE"),
        "models/model.ts",
    }
    assert (bundle / "LICENSE").read_text() == "CC0\n\nDrawn by nobody.\n"
    assert "python -m monai.bundle run" in (bundle / "docs/README.md").read_text()
    assert [path.name for path in bundle.parent.iterdir() if path != bundle] == ["toy"]


def test_the_metadata_are_as_the_schema_asks(bundle):
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    validate(metadata, SCHEMA)
    assert (metadata["version"], metadata["intended_use"]) == ("3", "Tests only.")
    assert metadata["eval_metrics"] == {"liver": 0.5}
    tensors = metadata["network_data_format"]
    image, pred = tensors["inputs"]["image"], tensors["outputs"]["pred"]
    assert (image["format"], image["modality"]) == ("hounsfield", "CT")
    assert image["channel_def"] == {"0": "CT"}
    assert image["spatial_shape"] == pred["spatial_shape"] == [16, 12, 8]
    assert pred["channel_def"] == {"0": "background", "1": "liver", "2": "cyst", "3": "vein"}
    assert msgspec.convert(metadata["medseg"]["plan"], Plan) == PLAN


def test_nothing_in_the_configuration_is_of_medseg(bundle):
    def targets(node):
        if isinstance(node, dict):
            yield from ([node["_target_"]] if "_target_" in node else [])
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict | list):
                yield from targets(value)

    text = (bundle / "configs/inference.json").read_text()
    assert "medseg" not in text
    assert {"LoadImaged", "Spacingd", "SlidingWindowInferer", "SaveImaged"} <= set(
        targets(json.loads(text))
    )


def test_regions_are_channels_that_may_overlap(tmp_path):
    plan = msgspec.structs.replace(PLAN, **KINDS["regions"])
    export_bundle(packed(tmp_path / "toy", plan), tmp_path / "bundle", check=False)
    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert pred["format"] == "classes"
    assert pred["channel_def"] == {"0": "cyst", "1": "liver", "2": "vein"}


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_plan_gives_medsegs_labels(tmp_path, kind):
    plan = msgspec.structs.replace(PLAN, **KINDS[kind])
    package = packed(tmp_path / "toy", plan)
    export_bundle(package, tmp_path / "bundle", check=False)
    comparison = compare_bundle(package, tmp_path / "bundle", scan_of(plan))
    assert comparison.equal > 0.998, comparison
    assert sum(dice is not None for dice in comparison.dice.values()) > 1  # they are not all empty


@pytest.mark.usefixtures("in_float32")
def test_values_and_the_largest_pieces_are_carried(tmp_path):
    pytest.importorskip("skimage", reason="MONAI finds connected pieces by scikit-image")
    labels = LabelTable.of({4: "liver", 7: "cyst", 300: "vein"})
    package = packed(tmp_path / "toy", labels=labels, steps=(COMPONENTS,))
    export_bundle(package, tmp_path / "bundle", check=False)
    comparison = compare_bundle(package, tmp_path / "bundle", scan_of(PLAN))
    assert comparison.equal > 0.998, comparison
    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    assert "scikit-image" in metadata["required_packages_version"]


def test_without_a_licence_there_is_no_licence_file(tmp_path):
    package = packed(tmp_path / "toy")
    manifest = msgspec.structs.replace(package.manifest, card=Card())
    package = save_package(tmp_path / "plain", manifest, package.load_network())
    export_bundle(package, tmp_path / "bundle", check=False)
    assert not (tmp_path / "bundle/LICENSE").exists()
    validate(json.loads((tmp_path / "bundle/configs/metadata.json").read_text()), SCHEMA)


@pytest.mark.parametrize("name", ["holes", "crf", "minimum_volume"])
def test_a_step_that_monai_has_not_is_named(tmp_path, name):
    package = packed(tmp_path / "toy", steps=(Component(name=name),))
    with pytest.raises(InputError, match=rf"^the step '{name}' .*'toy' is not in MONAI[^\n]*$"):
        export_bundle(package, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_transforms_of_python_are_named_and_refused(tmp_path):
    plan = msgspec.structs.replace(PLAN, transforms=("ScaleIntensity",))
    with pytest.raises(InputError, match=r"^the model 'toy' .*\(ScaleIntensity\)[^\n]*$"):
        export_bundle(packed(tmp_path / "toy", plan), tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.parametrize(
    ("name", "words"), [("toy", "exists; choose"), ("no/bundle", "does not exist; make it")]
)
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, name, words):
    package = packed(tmp_path / "toy")
    with pytest.raises(WriteError, match=rf"^[^\n]*{words}[^\n]*$"):
        export_bundle(package, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_a_network_that_differs_leaves_no_folder(tmp_path, monkeypatch):
    package = packed(tmp_path / "toy")
    monkeypatch.setattr(
        "medseg.model_package.torchscript.logits", lambda path, image: torch.zeros(1)
    )
    with pytest.raises(WriteError, match="as TorchScript the model 'toy' gives logits up to"):
        export_bundle(package, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
