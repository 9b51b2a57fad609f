"""Bundles in the forms of the eight ordinary ones of MONAI's model zoo, small, with random weights.

What each form does, in which order and by which expressions, is the zoo's; sizes are ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import monai.networks.nets
import torch

ROOT = {"bundle_root": "."}
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
LOAD = {"_target_": "LoadImaged", "keys": "image"}
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
TYPED = {"_target_": "EnsureTyped", "keys": "image"}
OVERLAY = (
    "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1,"
    " torch.where(x[[1]] > 0, 2, 0)))"
)
UNET = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "channels": [4, 8, 16]}
UNET |= {"strides": [2, 2], "num_res_units": 1}
RESNET = {"_target_": "SegResNet", "blocks_down": [1, 1, 1], "blocks_up": [1, 1]}
RESNET |= {"init_filters": 8, "dropout_prob": 0.2}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}


def invert(*, nearest: bool = False, **more: Any) -> dict[str, Any]:
    step = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"}
    return {**step, "orig_keys": "image", "nearest_interp": nearest, "to_tensor": True, **more}


def spacing(*mm: float, **more: Any) -> dict[str, Any]:
    return {"_target_": "Spacingd", "keys": "image", "pixdim": [*mm], "mode": "bilinear", **more}


def window(roi: list[int], **more: Any) -> dict[str, Any]:
    return {"_target_": "SlidingWindowInferer", "roi_size": roi, "sw_batch_size": 2, **more}


def scale(low: int, high: int) -> dict[str, Any]:
    step = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": low, "a_max": high}
    return {**step, "b_min": 0, "b_max": 1, "clip": True}


LOADER = {
    "_target_": "CheckpointLoader",
    "load_path": "$@bundle_root + '/models/model.pt'",
    "load_dict": {"model": "@network"},
    "map_location": "@device",
}
WHOLE_BODY = {
    "displayable_configs": {"highres": True, "sw_overlap": 0.25, "sw_batch_size": 1},
    "image_key": "image",
    "pixdim": "$[3.0, 3.0, 3.0] if @displayable_configs#highres else [6.0, 6.0, 6.0]",
    "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
    "checkpointloader": {**LOADER, "load_path": "$@bundle_root + '/models/' + @modelname"},
    "initialize": [
        "$setattr(torch.backends.cudnn, 'benchmark', True)",
        "$@checkpointloader(@evaluator)",
    ],
    "handlers": [],
}
KINDS: dict[str, dict[str, Any]] = {
    "spleen_ct": {
        "network": {**UNET, "out_channels": 2, "norm": "batch"},
        "before": [LOAD, FIRST, RAS, spacing(2.5, 2.5, 3.0), scale(-57, 164), TYPED],
        "inferer": window([32, 32, 32], overlap=0.5),
        "after": [SOFTMAX, invert(), ARGMAX],
        "names": ["background", "spleen"],
    },
    "brats_mri": {
        "network": {**RESNET, "in_channels": 4, "out_channels": 3},
        "before": [
            LOAD,
            {
                "_target_": "NormalizeIntensityd",
                "keys": "image",
                "nonzero": True,
                "channel_wise": True,
            },
        ],
        "inferer": window([40, 40, 32], overlap=0.5),
        "after": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            invert(meta_keys="pred_meta_dict"),
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            {"_target_": "Lambdad", "keys": "pred", "func": OVERLAY},
        ],
        "names": ["Tumor core", "Whole tumor", "Enhancing tumor"],
        "channels": ["T1c", "T1", "T2", "FLAIR"],
    },
    "swin_unetr_btcv": {
        "network": {
            "_target_": "SwinUNETR",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 14,
            "feature_size": 12,
            "use_checkpoint": False,
        },
        "before": [
            {**LOAD, "reader": "NibabelReader"},
            *(FIRST, RAS, spacing(3.0, 3.0, 4.0), scale(-175, 250), TYPED),
        ],
        "inferer": window([64, 64, 64], overlap=0.5),
        "after": [SOFTMAX, invert(), ARGMAX],
        "names": ["background", *(f"organ {n}" for n in range(1, 14))],
    },
    "wholeBody_ct": {
        "network": {**RESNET, "spatial_dims": 3, "in_channels": 1, "out_channels": 105},
        "before": [
            *({**step, "keys": "@image_key"} for step in (LOAD, TYPED, FIRST, RAS)),
            spacing(0, keys="@image_key") | {"pixdim": "@pixdim"},
            {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
            {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
        ],
        "inferer": window([32, 32, 32], padding_mode="replicate", mode="gaussian")
        | {
            "overlap": "@displayable_configs#sw_overlap",
            "sw_batch_size": "@displayable_configs#sw_batch_size",
            "device": DEVICE,
        },
        "after": [SOFTMAX, ARGMAX, invert(nearest=True, orig_keys="@image_key")],
        "names": ["background", *(f"structure {n}" for n in range(1, 105))],
        "more": WHOLE_BODY,
    },
    "prostate_mri": {
        "network": {**UNET, "out_channels": 3, "norm": "batch", "act": "prelu", "dropout": 0.15},
        "before": [
            *(LOAD, FIRST, RAS, spacing(2.0, 2.0, 2.0)),
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0, "maxv": 1},
            {"_target_": "NormalizeIntensityd", "keys": "image"},
            TYPED,
        ],
        "inferer": window([32, 32, 32], overlap=0.5),
        "after": [
            ARGMAX,
            {
                "_target_": "KeepLargestConnectedComponentd",
                "keys": "pred",
                "applied_labels": [1, 2],
            },
            invert(meta_key_postfix="meta_dict"),
        ],
        "names": ["background", "central gland", "peripheral zone"],
        "imports": ["$import pandas as pd", "$import os"],
    },
    "pediatric_ct": {
        "network": {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": "@spatial_dims",
            "in_channels": "@input_channels",
            "out_channels": 4,
            "kernel_size": [3, 3, 3],
            "strides": [1, 2, [2, 2, 1]],
            "upsample_kernel_size": [2, [2, 2, 1]],
            "norm_name": "instance",
            "deep_supervision": False,
            "res_block": True,
            "filters": [4, 8, 16],
        },
        "before": [
            *(LOAD, FIRST, RAS, spacing(2.5, 2.5, 3.0), scale(-250, 400)),
            {
                "_target_": "CropForegroundd",
                "keys": ["image"],
                "source_key": "image",
                "mode": ["minimum"],
            },
            *(TYPED, {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"}),
        ],
        "inferer": window([32, 32, 32], overlap=0.75),
        "after": [SOFTMAX, invert(meta_key_postfix="meta_dict"), ARGMAX],
        "names": ["background", "liver", "spleen", "pancreas"],
        "imports": ["$import glob", "$import os"],
        "more": {
            "spatial_size": [32, 32, 32],
            "spatial_dims": "$len(@spatial_size)",
            "input_channels": 1,
        },
        "yaml": True,
    },
    "ventricular_short_axis": {
        "network": {**UNET, "spatial_dims": 2, "out_channels": 4},
        "before": [
            {**LOAD, "image_only": False},
            FIRST,
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {**TYPED, "device": "@device"},
        ],
        "inferer": {"_target_": "SliceInferer", "roi_size": [48, 48], "spatial_dim": 2},
        "after": [SOFTMAX, invert(meta_key_postfix="meta_dict"), ARGMAX],
        "names": ["background", "left ventricle", "myocardium", "right ventricle"],
    },
    "endoscopic_tool": {
        "network": {
            "_target_": "FlexibleUNet",
            "in_channels": 3,
            "out_channels": 2,
            "backbone": "efficientnet-b0",
            "spatial_dims": 2,
            "pretrained": False,
            "is_pad": False,
            "pre_conv": None,
            "decoder_channels": [32, 16, 8, 4, 4],
        },
        "before": [
            *(LOAD, {**FIRST, "channel_dim": -1}),
            {
                "_target_": "Resized",
                "keys": ["image"],
                "spatial_size": [96, 64],
                "mode": ["bilinear"],
            },
            {"_target_": "ScaleIntensityd", "keys": ["image"]},
        ],
        "inferer": {"_target_": "SimpleInferer"},
        "after": [
            invert(meta_key_postfix="meta_dict"),
            {**ARGMAX, "to_onehot": 2, "keys": ["pred"]},
            {"_target_": "Lambdad", "keys": ["pred"], "func": "$lambda x : x[1:]"},
        ],
        "names": ["background", "tools"],
        "channels": ["R", "G", "B"],
        "save": {"output_ext": ".png", "scale": 255, "squeeze_end_dims": True},
    },
}


def configuration(kind: str) -> dict[str, Any]:
    """``inference.json`` of a kind."""
    form = KINDS[kind]
    return {
        "imports": form.get("imports", ["$import glob", "$import os"]),
        **ROOT,
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "data",
        "datalist": "$list(sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz'))))",
        "device": DEVICE,
        "network_def": form["network"],
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": form["before"]},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": form["inferer"],
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [*form["after"], {**SAVE, **form.get("save", {})}],
        },
        "handlers": [LOADER, {"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
        **form.get("more", {}),
    }


def metadata(kind: str) -> dict[str, Any]:
    """``metadata.json`` of a kind."""
    form = KINDS[kind]
    channels, names = form.get("channels", ["image"]), form["names"]

    def tensor(words: list[str]) -> dict[str, Any]:
        numbered = {str(n): name for n, name in enumerate(words)}
        return {"num_channels": len(words), "channel_def": numbered}

    return {
        "version": "0.5.0",
        "monai_version": monai.__version__,
        "task": f"{kind} of random weights",
        "copyright": "CC0",
        "network_data_format": {
            "inputs": {"image": {**tensor(channels), "modality": "CT"}},
            "outputs": {"pred": tensor(names)},
        },
    }


def write_bundle(folder: Path, kind: str) -> Path:
    """A bundle of a kind as a folder that is to be made."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    content = configuration(kind)
    if KINDS[kind].get("yaml"):
        import yaml

        text = yaml.safe_dump(content, sort_keys=False)
        (folder / "configs" / "inference.yaml").write_text(text)
    else:
        (folder / "configs" / "inference.json").write_text(json.dumps(content, indent=1))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata(kind)))
    torch.save(network(kind).state_dict(), folder / "models" / "model.pt")
    return folder


def network(kind: str) -> torch.nn.Module:
    """The network of a kind, with random weights that give every label somewhere."""
    settings = dict(KINDS[kind]["network"])
    name = settings.pop("_target_").rpartition(".")[2]
    if kind == "pediatric_ct":
        settings |= {"spatial_dims": 3, "in_channels": 1}
    torch.manual_seed(3)
    made: torch.nn.Module = getattr(monai.networks.nets, name)(**settings)
    if name == "FlexibleUNet":  # what goes through untrained batch norms ends as one value
        with torch.no_grad():
            for _ in range(30):
                made.train()(torch.rand(4, 3, 96, 64))
            difference = made.eval()(torch.rand(4, 3, 96, 64)).diff(dim=1)
            made.segmentation_head[0].bias[0] += difference.median()
    return made
