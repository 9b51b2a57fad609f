"""Folders of nnU-Net v2 written by hand: plans, labels and checkpoints under nnU-Net's names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from medseg.networks import build_component
from medseg.planning import Component

KIND = {"0": "conv", "1": "norm"}
STRIDES, KERNELS = [[1, 1, 1], [1, 2, 2], [2, 2, 2]], [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
LABELS = {"background": 0, "liver": 1, "tumour": 2}
SEEN = {"mean": 30.0, "std": 40.0, "percentile_00_5": -60.0, "percentile_99_5": 190.0}


def arguments(*, residual: bool = False, dims: int = 3, batch_norm: bool = False) -> dict:
    """``arch_kwargs`` of a network of three stages."""
    norm = "BatchNorm" if batch_norm else "InstanceNorm"
    return {
        "n_stages": 3,
        "features_per_stage": [4, 8, 12],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [kernel[-dims:] for kernel in KERNELS],
        "strides": [stride[-dims:] for stride in STRIDES],
        "n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 2, 2],
        "n_conv_per_stage_decoder": [1, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.{norm.lower()}.{norm}{dims}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def configuration(
    *, residual: bool = False, dims: int = 3, batch_norm: bool = False, **changes
) -> dict:
    """A configuration of the plans' second generation."""
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    rules = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": "nnUNetPlans",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 24][-dims:],
        "spacing": [3.0, 1.5, 1.0][-dims:],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": rules,
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": rules | {"order": 1},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": rules | {"is_seg": True, "order": 1},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": arguments(residual=residual, dims=dims, batch_norm=batch_norm),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    } | changes


def old_configuration(*, residual: bool = False, **changes) -> dict:
    """The same of the first generation, which named a U-Net by its numbers."""
    given = configuration(residual=residual)
    new = given.pop("architecture")["arch_kwargs"]
    blocks = new.get("n_conv_per_stage") or new["n_blocks_per_stage"]
    return {
        **given,
        "UNet_class_name": "ResidualEncoderUNet" if residual else "PlainConvUNet",
        "UNet_base_num_features": 4,
        "n_conv_per_stage_encoder": blocks,
        "n_conv_per_stage_decoder": new["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": new["strides"],
        "conv_kernel_sizes": new["kernel_sizes"],
        "unet_max_num_features": 12,
        **changes,
    }


def plans(configurations: dict, **changes) -> dict:
    """``plans.json``."""
    return {
        "dataset_name": "Dataset007_Liver",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 0.8, 0.8],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": configurations,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": SEEN},
    } | changes


def dataset(**changes) -> dict:
    """``dataset.json``."""
    return {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": 4,
        "file_ending": ".nii.gz",
    } | changes


def network_of(
    *,
    residual: bool = False,
    dims: int = 3,
    batch_norm: bool = False,
    channels: int = 1,
    heads: int = 3,
    seed: int = 0,
) -> torch.nn.Module:
    """medseg's network of `arguments`, with random weights, biases and norms."""
    blocks = {"blocks": (1, 2, 2), "convolutions": (1, 2)}
    plain = {"convolutions": (1, 2, 2), "decoder_convolutions": (1, 2)}
    settings = {
        "features": (4, 8, 12),
        "strides": [stride[-dims:] for stride in STRIDES],
        "kernels": [kernel[-dims:] for kernel in KERNELS],
        "norm": "batch" if batch_norm else "instance",
        "bias": True,
        **(blocks if residual else plain),
    }
    torch.manual_seed(seed)
    network = build_component(
        Component(name="resenc_unet" if residual else "unet", settings=settings),
        spatial_dims=dims,
        in_channels=channels,
        out_channels=heads,
    )
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(torch.randn_like(value) * 0.3 + (1.0 if _is_norm_weight(name) else 0.0))
        for value in network.buffers():
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) + 0.5)
    return network.eval()


def _is_norm_weight(name: str) -> bool:
    return name.endswith(".1.weight")


def nnunet_names(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's weights under nnU-Net's names, some of them twice, as it stores them.

    It has biases before instance norms, too, which are of no effect.
    """
    out = {}
    batch_norm = any("running_mean" in name for name in network.state_dict())
    for name, value in network.state_dict().items():
        new = _nnunet_name(name, network)
        out[new] = value.clone()
        if re.search(r"\.(conv|norm)\.", new) and ".skip." not in new:
            place = "0" if ".conv." in new else "2"
            out[re.sub(r"\.(conv|norm)\.", f".all_modules.{place}.", new)] = value.clone()
        if (
            new.endswith(".conv.weight") and ".skip." not in new and not batch_norm
        ):  # of no effect before a norm; nnU-Net has it
            out[new.replace(".weight", ".bias")] = torch.randn(value.shape[0])
    encoder = {name: value for name, value in out.items() if name.startswith("encoder.")}
    return out | {f"decoder.{name}": value for name, value in encoder.items()}


def _nnunet_name(name: str, network: torch.nn.Module) -> str:
    part, first, *rest = name.split(".")
    if part in {"up", "heads"}:
        return f"decoder.{'transpconvs' if part == 'up' else 'seg_layers'}.{first}.{rest[0]}"
    if part == "decoder":
        return f"decoder.stages.{first}.convs.{rest[0]}.{KIND[rest[1]]}.{rest[2]}"
    if len(rest) == 3:
        plain = type(network).__name__ == "UNet"
        place = f"stages.{first}.0.convs.{rest[0]}" if plain else "stem.convs.0"
        return f"encoder.{place}.{KIND[rest[1]]}.{rest[2]}"
    block, half, place, parameter = rest
    block = int(block) - (first == "0")
    stage = f"encoder.stages.{first}.blocks.{block}"
    if half != "shortcut":
        return f"{stage}.conv{1 if half == 'first' else 2}.{KIND[place]}.{parameter}"
    shortcut = name.rpartition(".shortcut.")[0] + ".shortcut."
    lowest = min(int(key.split(".")[4]) for key in network.state_dict() if shortcut in key)
    return f"{stage}.skip.{lowest}.{KIND[str(int(place) - lowest)]}.{parameter}"


def checkpoint(network: torch.nn.Module, **changes) -> dict:
    """Content of a ``checkpoint_final.pth``."""
    return {
        "network_weights": nnunet_names(network),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [0.5]},
        "_best_ema": 0.5,
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    } | changes


def write_trained(
    folder: Path,
    networks: dict[str, torch.nn.Module],
    *,
    plans_json: dict,
    dataset_json: dict | None = None,
    **changes,
) -> Path:
    """A folder ``TRAINER__PLANS__CONFIGURATION`` with a checkpoint for each fold."""
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans_json))
    (folder / "dataset.json").write_text(json.dumps(dataset_json or dataset()))
    changes.setdefault("init_args", {"configuration": folder.name.rpartition("__")[2]})
    for fold, network in networks.items():
        (folder / f"fold_{fold}").mkdir()
        torch.save(checkpoint(network, **changes), folder / f"fold_{fold}/checkpoint_final.pth")
    return folder
