"""A model as a MONAI bundle: a folder that ``python -m monai.bundle run`` executes without medseg.

The network is TorchScript; all around it are transforms of MONAI itself, as the plan says.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.errors import InputError, WriteError
from medseg.model_package.card import card_text
from medseg.model_package.exporting import Exported, export_model, facts
from medseg.planning.plan import Normalisation, Plan, settings_of
from medseg.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from medseg.model_package.manifest import Manifest
    from medseg.model_package.package import ModelPackage
    from medseg.planning.plan import Component

Config = dict[str, Any]
NAME = "MONAI bundle"
SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
NETWORK = "models/model.ts"
"""Place of the network in the folder."""


def export_bundle(
    package: ModelPackage, folder: Path, *, check: bool = True, progress: Progress = silent
) -> Exported:
    """Write a model as a MONAI bundle; `folder` appears whole or not at all.

    Parameters
    ----------
    package : ModelPackage
    folder : Path
        To be made: ``configs/metadata.json`` and ``inference.json``, ``models/model.ts``,
        ``docs/README.md``, ``LICENSE`` when the model's card names one.
    check : bool, default True
        Whether the network is read again and compared with torch.
    progress : Progress, optional
        Called between the steps; may raise `Cancelled`.

    Raises
    ------
    InputError
        When MONAI has no transform for a step of the model, the model needs transforms of Python,
        or the network cannot be exported.
    PackageError
        When the model's weights are missing or altered.
    WriteError
        When the folder exists or cannot be written, or the network gives other logits than torch.
    """
    if folder.exists():
        raise WriteError(f"'{folder}' exists; choose a folder that is to be made", code="EXISTS")
    if not folder.parent.is_dir():
        raise WriteError(
            f"the folder '{folder.parent}' does not exist; make it or choose another",
            code="NO_FOLDER",
        )
    package.manifest.check_planned("exported")
    _check_transforms(package.manifest)
    texts = _texts(package.manifest)
    try:
        with tempfile.TemporaryDirectory(prefix=".medseg-", dir=folder.parent) as scratch:
            bundle = Path(scratch) / "bundle"
            for name in ("configs", "docs", "models"):
                (bundle / name).mkdir(parents=True)
            for name, text in texts.items():
                (bundle / name).write_text(text, encoding="utf-8")
            network = export_model(package, bundle / NETWORK, check=check, progress=progress)
            os.replace(bundle, folder)  # noqa: PTH105 - the atomic call, by its name
    except OSError as error:
        raise WriteError(f"cannot write the bundle '{folder}': {error.strerror}") from error
    return Exported(folder, NAME, network.difference)


def _check_transforms(manifest: Manifest) -> None:
    if manifest.plan.transforms:
        raise InputError(
            f"the model '{manifest.name}' was trained with transforms that were given in Python"
            f" ({', '.join(manifest.plan.transforms)}), which a bundle cannot hold; export the"
            " network alone, as .ts, .pt2 or .onnx, and run them before it",
            code="NOT_EXPORTABLE",
        )
    if manifest.plan.resampling is not None or manifest.plan.native_axes:
        raise InputError(
            f"the model '{manifest.name}' was trained with another library's preparation of scans,"
            " which MONAI has no transforms for; export the network alone, as .ts, .pt2 or .onnx",
            code="NOT_EXPORTABLE",
        )


_README = """
## Run

    pip install monai {packages}
    python -m monai.bundle run --config_file configs/inference.json \\
        --meta_file configs/metadata.json --dataset_dir input --output_dir output

Every NIfTI file in `input`, its channels along the fourth axis, gives a label map on its own grid
in `output`.
"""


def _texts(manifest: Manifest) -> dict[str, str]:
    """Every file but the network."""
    card = manifest.card
    texts = {
        "configs/inference.json": json.dumps(inference(manifest), indent=2) + "\n",
        "configs/metadata.json": json.dumps(metadata(manifest), indent=2) + "\n",
        "docs/README.md": card_text(manifest) + _README.format(packages=" ".join(_needs(manifest))),
    }
    if card.licence:
        texts["LICENSE"] = f"{card.licence}\n\n{card.attribution}".strip() + "\n"
    return texts


def inference(manifest: Manifest) -> Config:
    """``inference.json``: from files to label maps on the scans' own grids.

    Raises
    ------
    InputError
        When MONAI has no transform for a step of the model.
    """
    plan = manifest.plan
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": f"$torch.jit.load(@bundle_root + '/{NETWORK}', map_location=@device)",
        "preprocessing": _target("Compose", transforms=_preprocessing(plan)),
        "dataset": _target(
            "Dataset",
            data="$[{'image': name} for name in @datalist]",
            transform="@preprocessing",
        ),
        "dataloader": _target("DataLoader", dataset="@dataset", batch_size=1),
        "inferer": _target(
            "SlidingWindowInferer",
            roi_size=list(plan.patch),
            overlap=plan.overlap,
            mode="gaussian",
            sw_device="@device",
            device="$torch.device('cpu')",
        ),
        "postprocessing": _target("Compose", transforms=_postprocessing(manifest)),
        "evaluator": _target(
            "SupervisedEvaluator",
            device="@device",
            val_data_loader="@dataloader",
            network="@network_def",
            inferer="@inferer",
            postprocessing="@postprocessing",
        ),
        "run": ["$@evaluator.run()"],
    }


def metadata(manifest: Manifest) -> Config:
    """``metadata.json``, as MONAI's schema wants it."""
    plan, card = manifest.plan, manifest.card
    names = ["background", *manifest.labels.names]
    if plan.regions:
        names = [names[region[0]] for region in plan.regions]
    image = _tensor(plan, "hounsfield" if card.modality == "CT" else "magnitude", plan.channels)
    return {
        "schema": SCHEMA,
        "version": manifest.version,
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": _needs(manifest),
        "name": manifest.name,
        "task": card.summary or f"Segmentation of {', '.join(manifest.labels.names)}",
        "description": card.data or card.summary or manifest.name,
        "authors": card.attribution,
        "copyright": card.licence,
        "intended_use": card.intended_use,
        "eval_metrics": manifest.scores,
        "medseg": facts(manifest),
        "network_data_format": {
            "inputs": {"image": {**image, "modality": card.modality or "n/a"}},
            "outputs": {"pred": _tensor(plan, "classes" if plan.regions else "labels", names)},
        },
    }


def _needs(manifest: Manifest) -> dict[str, str]:
    """Packages that running the bundle takes besides MONAI, with versions that do."""
    needs = {"fire": "0.7", "nibabel": "5.3", "pytorch-ignite": "0.5", "scipy": "1.12"}
    return {**needs, "scikit-image": "0.22"} if manifest.postprocessing else needs


def _tensor(plan: Plan, kind: str, channels: Sequence[str]) -> Config:
    """What the schema wants to know of the network's input or output."""
    return {
        "type": "image",
        "format": kind,
        "num_channels": len(channels),
        "spatial_shape": list(plan.patch),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(channels)},
    }


def _target(part: str, /, *keys: str, **settings: Any) -> Config:
    """A part of MONAI by name; a transform works on `keys`."""
    return {"_target_": part, **({"keys": list(keys)} if keys else {}), **settings}


PADDING = "(x == x[:, :1, :1, :1]) | (x == x[:, -1:, -1:, -1:])"
"""Which voxels of a scan are padding: the rule of `medseg.volume.bounding_box.content_box`."""


def _preprocessing(plan: Plan) -> list[Config]:
    return [
        _target("LoadImaged", "image"),
        _target("EnsureChannelFirstd", "image"),
        *_crop(plan),
        _target("CopyItemsd", "image", names="scan"),
        *_normalisation(plan, nonzero=True),
        _target("Orientationd", "image", axcodes=plan.orientation, labels=None),
        _target(
            "Spacingd",
            "image",
            pixdim=list(plan.spacing_mm),
            mode=3,
            padding_mode="nearest",
            scale_extent=True,
        ),
        *_normalisation(plan, nonzero=False),
    ]


def _crop(plan: Plan) -> list[Config]:
    """Padding cut off, and the scan as it was kept for the labels; nothing left is all left."""
    if plan.crop == "none":
        return []
    return [
        _target("CopyItemsd", "image", names="whole"),
        _target(
            "CropForegroundd",
            "image",
            source_key="image",
            select_fn=f"$lambda x: ~({PADDING}) | ({PADDING}).all()",
            allow_smaller=True,
        ),
    ]


def _normalisation(plan: Plan, *, nonzero: bool) -> list[Config]:
    """One transform for all channels when they have one rule; else one for each, apart.

    Those of `nonzero` come before the resampling, the others after it.
    """
    if not any(rule.nonzero == nonzero for rule in plan.normalisation):
        return []
    none = Normalisation(scheme="none")
    rules = [rule if rule.nonzero == nonzero else none for rule in plan.normalisation]
    if len(set(rules)) == 1:
        return _rule(rules[0], "image")
    names = [f"image_{channel}" for channel in range(len(rules))]
    postfixes = [str(channel) for channel in range(len(rules))]
    return [
        _target("SplitDimd", "image", dim=0, output_postfixes=postfixes),
        *(step for rule, name in zip(rules, names, strict=True) for step in _rule(rule, name)),
        _target("ConcatItemsd", *names, name="image", dim=0),
        _target("DeleteItemsd", *names),
    ]


def _rule(rule: Normalisation, key: str) -> list[Config]:
    if rule.scheme == "none":
        return []
    if rule.scheme == "zscore":
        return [_target("NormalizeIntensityd", key, nonzero=rule.nonzero, channel_wise=True)]
    if rule.scheme == "rescale":
        return [_target("ScaleIntensityd", key, minv=0.0, maxv=1.0, channel_wise=True)]
    low, high = ((edge - rule.mean) / max(rule.std, 1e-6) for edge in (rule.low, rule.high))
    return [
        _target(
            "ScaleIntensityRanged",
            key,
            a_min=rule.low,
            a_max=rule.high,
            b_min=low,
            b_max=high,
            clip=True,
        )
    ]


def _postprocessing(manifest: Manifest) -> list[Config]:
    """Logits to the scan's grid, then classes, then values: the order in which medseg does it."""
    values = manifest.labels.values
    return [
        # Invertd would interpolate logits as Spacingd did the scan: by cubic splines, not linearly
        _target("ResampleToMatchd", "pred", key_dst="scan", dtype="$numpy.float32"),
        *_classes(manifest.plan),
        *_pasted(manifest.plan),
        *(_carried(step, manifest) for step in manifest.postprocessing),
        *_renamed(values),
        _target(
            "SaveImaged",
            "pred",
            output_dir="@output_dir",
            output_postfix="seg",
            output_dtype="$numpy.uint8" if max(values) < 256 else "$numpy.uint16",
            resample=False,
            separate_folder=False,
        ),
    ]


def _pasted(plan: Plan) -> list[Config]:
    """Classes of a scan that was cropped, among the voxels of the whole one; 0 in its padding."""
    if plan.crop == "none":
        return []
    whole = {"key_dst": "whole", "mode": "nearest", "padding_mode": "zeros"}
    return [_target("ResampleToMatchd", "pred", **whole)]


def _classes(plan: Plan) -> list[Config]:
    """The class of each voxel: the largest logit, or of the regions there the last one's own."""
    if not plan.regions:
        return [_target("AsDiscreted", "pred", argmax=True)]
    ranks = f"torch.arange(1, {len(plan.regions) + 1}).view(-1, 1, 1, 1)"
    last = f"$lambda logits: ((logits > 0) * {ranks}).amax(0, keepdim=True)"
    return [_target("Lambdad", "pred", func=last), *_renamed(r[0] for r in plan.regions)]


def _renamed(values: Iterable[int]) -> list[Config]:
    """`values` in place of 1, 2, 3..."""
    after = list(values)
    before = list(range(1, len(after) + 1))
    if after == before:
        return []
    return [_target("MapLabelValued", "pred", orig_labels=before, target_labels=after)]


def _carried(step: Component, manifest: Manifest) -> Config:
    """A step after the network as MONAI's."""
    from medseg.postprocessing.components import Settings

    if step.name != "components":
        raise InputError(
            f"the step '{step.name}' after the network of the model '{manifest.name}' is not in"
            " MONAI ('components' is); export the network alone, as .ts, .pt2 or .onnx",
            code="NOT_EXPORTABLE",
        )
    settings = settings_of(step, Settings, package="medseg.postprocessing")
    return _target(
        "KeepLargestConnectedComponentd",
        "pred",
        applied_labels=list(settings.labels) or None,
        is_onehot=False,
        connectivity=1 if settings.connected_by == "faces" else 3,
        num_components=settings.keep,
    )
