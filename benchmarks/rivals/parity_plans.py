"""Plans of nnU-Net v2 for small models, a model for each form that plans have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = "dynamic_network_architectures.architectures.unet."
SPLINES, TORCH = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
LABELS: dict[str, Any] = {"background": 0, "low": 1, "middle": 2, "high": 3}
REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": [3]}
SEEN = {"mean": 80.0, "std": 90.0, "percentile_00_5": -150.0, "percentile_99_5": 400.0}


@dataclass(frozen=True)
class Model:
    """A model to make.

    Parameters
    ----------
    name : str
    spacing, patch : tuple
        Along nnU-Net's axes.
    cases : tuple of str
        Names of :func:`rivals.parity_cases.write_cases`.
    """

    name: str
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    cases: tuple[str, ...]
    network: str = "PlainConvUNet"
    trainer: str = "nnUNetTrainer"
    old: bool = False
    batch_norm: bool = False
    scheme: str = "ZScoreNormalization"
    masked: bool = False
    channels: int = 1
    labels: dict[str, Any] = field(default_factory=lambda: LABELS)
    order: list[int] | None = None
    folds: tuple[int, ...] = (0,)
    transpose: tuple[int, int, int] = (0, 1, 2)
    reader: str = "SimpleITKIO"
    ending: str = ".nii.gz"
    torch: bool = False
    previous: str = ""
    mirror: tuple[int, ...] | None = None
    steps: int = 60

    @property
    def configuration(self) -> str:
        """nnU-Net's word."""
        if self.previous:
            return "3d_cascade_fullres"
        return "2d" if len(self.patch) == 2 else "3d_lowres" if self.old else "3d_fullres"

    @property
    def folder(self) -> Path:
        """Under the folder of all models."""
        dataset = self.previous or self.name
        return Path("models") / dataset / f"{self.trainer}__nnUNetPlans__{self.configuration}"

    def identity(self, spacing_mm: tuple[float, ...]) -> bool:
        """Whether a scan with this spacing along I, J, K is not resampled."""
        axes = [spacing_mm[::-1][axis] for axis in self.transpose]
        return np.allclose(axes[-len(self.spacing) :], self.spacing, rtol=1e-3)

    def plans(self) -> dict[str, Any]:
        """``plans.json``."""
        configurations = {self.configuration: self.planned()}
        if self.previous:
            first = next(model for model in MODELS if model.name == self.previous)
            configurations[first.configuration] = first.planned()
        return {
            "dataset_name": "Dataset501_Task",
            "plans_name": "nnUNetPlans",
            "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
            "original_median_shape_after_transp": [60, 60, 60],
            "image_reader_writer": self.reader,
            "transpose_forward": list(self.transpose),
            "transpose_backward": [int(n) for n in np.argsort(self.transpose)],
            "configurations": configurations,
            "experiment_planner_used": "ExperimentPlanner",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {
                str(n): SEEN for n in range(self.channels)
            },
        }

    def dataset(self) -> dict[str, Any]:
        """``dataset.json``."""
        order = {"regions_class_order": self.order} if self.order else {}
        return {
            "channel_names": {str(n): f"image {n}" for n in range(self.channels)},
            "labels": self.labels,
            "numTraining": 1,
            "file_ending": self.ending,
            **order,
        }

    def planned(self) -> dict[str, Any]:
        """One of ``configurations``."""
        rules = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
        if self.torch:
            rules = {
                "is_seg": False,
                "force_separate_z": None,
                "memefficient_seg_resampling": False,
            }
        as_seg = {"is_seg": True} | ({} if self.torch else {"order": 1})
        function = TORCH if self.torch else SPLINES
        stages = {"previous_stage": "3d_lowres"} if self.previous else {}
        return {
            "data_identifier": f"nnUNetPlans_{self.configuration}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": list(self.patch),
            "median_image_size_in_voxels": [float(n) for n in self.patch],
            "spacing": list(self.spacing),
            "normalization_schemes": [self.scheme] * self.channels,
            "use_mask_for_norm": [self.masked] * self.channels,
            "resampling_fn_data": function,
            "resampling_fn_data_kwargs": rules,
            "resampling_fn_seg": function,
            "resampling_fn_seg_kwargs": rules | as_seg,
            "resampling_fn_probabilities": function,
            "resampling_fn_probabilities_kwargs": rules | ({} if self.torch else {"order": 1}),
            "batch_dice": False,
            **stages,
            **self._network(),
        }

    def _network(self) -> dict[str, Any]:
        dims = len(self.patch)
        kernels = [[1, 3, 3][-dims:], [3] * dims, [3] * dims]
        strides = [[1] * dims, [1, 2, 2][-dims:], [2] * dims]
        residual = self.network == "ResidualEncoderUNet"
        if self.old:
            return {
                "UNet_class_name": self.network,
                "UNet_base_num_features": 8,
                "n_conv_per_stage_encoder": [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 2],
                "num_pool_per_axis": [2] * dims,
                "pool_op_kernel_sizes": strides,
                "conv_kernel_sizes": kernels,
                "unet_max_num_features": 320,
            }
        norm = "BatchNorm" if self.batch_norm else "InstanceNorm"
        return {
            "architecture": {
                "network_class_name": NETWORKS + self.network,
                "arch_kwargs": {
                    "n_stages": 3,
                    "features_per_stage": [8, 16, 24],
                    "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
                    "kernel_sizes": kernels,
                    "strides": strides,
                    "n_blocks_per_stage" if residual else "n_conv_per_stage": [1, 2, 2],
                    "n_conv_per_stage_decoder": [1, 1],
                    "conv_bias": True,
                    "norm_op": f"torch.nn.modules.{norm.lower()}.{norm}{dims}d",
                    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            }
        }


CT = "CTNormalization"
MODELS = (
    Model("plain 3d", (1.2, 1.0, 1.1), (24, 32, 32), ("hippocampus", "breast"), mirror=(0, 1, 2)),
    Model("at its spacing", (3.0, 3.0, 3.0), (16, 32, 32), ("ct", "turned"), scheme=CT),
    Model(
        "ResEnc",
        (1.3, 0.9, 1.1),
        (24, 32, 32),
        ("hippocampus", "brain"),
        network="ResidualEncoderUNet",
    ),
    Model("old plans", (2.0, 2.5, 2.5), (16, 32, 32), ("ct", "brain"), old=True, scheme=CT),
    Model("thick slices", (3.0, 0.6, 0.6), (8, 48, 48), ("prostate", "breast", "hippocampus")),
    Model("2d", (0.8, 0.9), (48, 40), ("hippocampus", "prostate")),
    Model(
        "2d picture",
        (1.0, 1.0),
        (64, 64),
        ("picture",),
        channels=3,
        scheme="RGBTo01Normalization",
        reader="NaturalImage2DIO",
        ending=".png",
    ),
    Model("regions", (1.2, 1.2, 1.2), (24, 32, 32), ("brain",), labels=REGIONS, order=[1, 2, 3]),
    Model(
        "ignore label",
        (1.0, 1.0, 1.0),
        (24, 32, 32),
        ("hippocampus",),
        labels=LABELS | {"ignore": 4},
    ),
    Model("masked", (1.5, 1.2, 1.0), (24, 32, 32), ("brain",), masked=True),
    Model(
        "two channels",
        (1.0, 1.1, 0.9),
        (24, 32, 32),
        ("brain", "hippocampus"),
        channels=2,
        masked=True,
    ),
    Model("three folds", (1.0, 1.0, 1.0), (24, 32, 32), ("hippocampus",), folds=(0, 1, 2)),
    Model("batch norm", (1.0, 1.1, 1.0), (24, 32, 32), ("brain",), batch_norm=True),
    Model("transposed", (0.7, 3.0, 0.6), (48, 8, 48), ("prostate", "breast"), transpose=(2, 0, 1)),
    Model(
        "turned to RAS", (2.5, 3.5, 3.0), (16, 32, 32), ("turned",), reader="NibabelIOWithReorient"
    ),
    Model("torch", (2.0, 1.2, 1.2), (16, 32, 32), ("brain", "prostate"), torch=True),
    Model("rescaled", (3.0, 2.0, 2.5), (16, 32, 32), ("ct",), scheme="RescaleTo01Normalization"),
    Model("unscaled", (3.0, 4.0, 4.0), (16, 32, 32), ("ct",), scheme="NoNormalization"),
    Model("coarse", (3.0, 3.0, 3.0), (16, 24, 24), ("brain", "ct"), old=True),
    Model("cascade", (1.5, 1.8, 1.8), (16, 32, 32), ("brain", "ct"), previous="coarse"),
)
"""Those without a choice of their own mirror along one axis, which is quicker."""


def channels_of(files: list[Path], model: Model) -> list[Path]:
    """The files that a model takes of a case."""
    return files if model.ending == ".png" else files[: model.channels]


def written(models: list[Model], root: Path, cases: dict[str, list[Path]]) -> dict[str, Any]:
    """What the script in nnU-Net's interpreter is told."""
    rows = []
    for model in models:
        mirror = model.mirror if model.mirror is not None else (len(model.patch) - 1,)
        rows.append(
            {
                "name": model.name,
                "folder": str(root / model.folder),
                "trainer": model.trainer,
                "configuration": model.configuration,
                "plans": model.plans(),
                "dataset": model.dataset(),
                "folds": list(model.folds),
                "cases": {
                    name: [str(path) for path in channels_of(cases[name], model)]
                    for name in model.cases
                },
                "mirror_axes": list(mirror),
                "steps": model.steps,
                "previous": str(root / "labels" / model.previous) if model.previous else None,
                "output": str(root / "labels" / model.name),
            }
        )
    return {"models": rows}
