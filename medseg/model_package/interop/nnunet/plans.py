"""``plans.json`` of nnU-Net v2, in both of its generations.

The first named a U-Net by a dozen numbers (``UNet_base_num_features``...), the second holds the
arguments of its class (``architecture``). Isensee et al., nnU-Net (Nature Methods 18, 2021).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from medseg.errors import PackageError
from medseg.planning.plan import Component

PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
NETWORKS = {PLAIN: "unet", RESIDUAL: "resenc_unet"}
"""medseg's network of each of nnU-Net's."""
_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}

Axes = tuple[int, ...]


class Architecture(msgspec.Struct, frozen=True):
    """The network of a configuration: a class by name, and its arguments."""

    network_class_name: str
    arch_kwargs: dict[str, Any]


class Intensities(msgspec.Struct, frozen=True):
    """Intensities of one channel inside the structures, over the dataset."""

    mean: float = 0.0
    std: float = 1.0
    percentile_00_5: float = 0.0
    percentile_99_5: float = 0.0


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``configurations``, with all that it inherits.

    Parameters
    ----------
    patch_size, spacing : tuple
        Along nnU-Net's axes after ``transpose_forward``: 2 of a 2-D configuration, or 3.
    normalization_schemes : tuple of str
        Class name for each channel.
    use_mask_for_norm : tuple of bool
        Whether zero voxels around the body are left out of it.
    batch_size : int
    preprocessor_name : str
    resampling_fn_data, resampling_fn_probabilities, resampling_fn_seg : str
        Name of a function for scans, logits, and labels of the stage before.
    resampling_fn_data_kwargs, resampling_fn_probabilities_kwargs, resampling_fn_seg_kwargs : dict
        What it is called with.
    previous_stage : str or None
        Configuration whose result is further input (a cascade).
    architecture : Architecture or None
        In the second generation.
    UNet_class_name : str
        In the first generation, as all below.
    UNet_base_num_features, unet_max_num_features : int
        Channels of the finest stage, and the most of any.
    n_conv_per_stage_encoder, n_conv_per_stage_decoder : tuple of int
    conv_kernel_sizes, pool_op_kernel_sizes : tuple of tuple of int
        Of each stage, along each axis.
    """

    patch_size: Axes
    spacing: tuple[float, ...]
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    batch_size: int = 2
    preprocessor_name: str = "DefaultPreprocessor"
    resampling_fn_data: str = "resample_data_or_seg_to_shape"
    resampling_fn_data_kwargs: dict[str, Any] = {}
    resampling_fn_probabilities: str = "resample_data_or_seg_to_shape"
    resampling_fn_probabilities_kwargs: dict[str, Any] = {}
    resampling_fn_seg: str = "resample_data_or_seg_to_shape"
    resampling_fn_seg_kwargs: dict[str, Any] = {}
    previous_stage: str | None = None
    architecture: Architecture | None = None
    UNet_class_name: str = ""
    UNet_base_num_features: int = 32
    unet_max_num_features: int = 320
    n_conv_per_stage_encoder: tuple[int, ...] = ()
    n_conv_per_stage_decoder: tuple[int, ...] = ()
    conv_kernel_sizes: tuple[Axes, ...] = ()
    pool_op_kernel_sizes: tuple[Axes, ...] = ()

    def network(self, *, batch_norm: bool = False) -> Component:
        """The same network of medseg's.

        Parameters
        ----------
        batch_norm : bool, default False
            Whether the trainer put it in place of the planned norm, as ``nnUNetTrainerBN`` does;
            the weights show it.

        Raises
        ------
        PackageError
            When medseg has no such network; the message says which it is.
        """
        architecture = self.architecture or self._first_generation()
        name = architecture.network_class_name.rpartition(".")[2]
        if name not in NETWORKS:
            raise PackageError(
                f"its network is '{name}', which cannot be rebuilt from plans; models of"
                f" {' and '.join(NETWORKS)} can be used",
                code="FOREIGN_NETWORK",
            )
        replaced = {"norm_op": "BatchNorm"} if batch_norm else {}
        try:
            settings = _settings(architecture.arch_kwargs | replaced, name)
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(
                f"the arguments of its {name} are not those of nnU-Net ({error!r})", code="PLANS"
            ) from error
        return Component(name=NETWORKS[name], settings=settings)

    def _first_generation(self) -> Architecture:
        """The arguments of a U-Net that the plans name by its numbers."""
        name = self.UNet_class_name
        if name not in NETWORKS:
            raise PackageError(
                "its plans have neither 'architecture' nor a known 'UNet_class_name'"
                f" ({name or 'none'}), so its network cannot be rebuilt; export the model again"
                " with the nnU-Net that trained it",
                code="FOREIGN_NETWORK",
            )
        stages = len(self.n_conv_per_stage_encoder)
        counts = "n_conv_per_stage" if name == PLAIN else "n_blocks_per_stage"
        limit = self.unet_max_num_features
        features = [min(self.UNet_base_num_features * 2**stage, limit) for stage in range(stages)]
        arguments = {
            "n_stages": stages,
            "features_per_stage": features,
            "kernel_sizes": self.conv_kernel_sizes,
            "strides": self.pool_op_kernel_sizes,
            counts: self.n_conv_per_stage_encoder,
            "n_conv_per_stage_decoder": self.n_conv_per_stage_decoder,
            "conv_bias": True,
            "norm_op": "InstanceNorm",
        }
        return Architecture(network_class_name=name, arch_kwargs=arguments)


class Plans(msgspec.Struct, frozen=True, kw_only=True):
    """What medseg needs of ``plans.json``.

    Parameters
    ----------
    dataset_name, plans_name : str
    image_reader_writer : str
        Class that reads the files; one whose name ends in ``Reorient`` turns them to RAS first.
    transpose_forward : tuple of int
        nnU-Net's axes in the order in which the network sees them; before it they are those of the
        file in reverse (K, J, I).
    original_median_spacing_after_transp : tuple of float
        Of the dataset, along the network's axes, in mm.
    configurations : dict
    foreground_intensity_properties_per_channel, foreground_intensity_properties_by_modality : dict
        Intensities by number of the channel; the second is the older word.
    """

    dataset_name: str = ""
    plans_name: str = ""
    image_reader_writer: str = "SimpleITKIO"
    transpose_forward: Axes = (0, 1, 2)
    original_median_spacing_after_transp: tuple[float, ...] = ()
    configurations: dict[str, dict[str, Any]]
    foreground_intensity_properties_per_channel: dict[str, Intensities] = {}
    foreground_intensity_properties_by_modality: dict[str, Intensities] = {}

    @property
    def intensities(self) -> dict[str, Intensities]:
        """By number of the channel."""
        return (
            self.foreground_intensity_properties_per_channel
            or self.foreground_intensity_properties_by_modality
        )

    def configuration(self, name: str) -> Configuration:
        """A configuration with all that it inherits.

        Raises
        ------
        PackageError
            When there is none of this name, inheritance goes in a circle, or a value is of the
            wrong type.
        """
        where = f"configuration '{name}'"
        whole: Configuration = convert(self._inherited(name, ()), Configuration, where=where)
        return whole

    def _inherited(self, name: str, heirs: tuple[str, ...]) -> dict[str, Any]:
        if name in heirs:
            raise PackageError(
                f"configurations inherit in a circle: {' from '.join((*heirs, name))}",
                code="PLANS",
            )
        if name not in self.configurations:
            raise PackageError(
                f"the plans have no configuration '{name}'; there are"
                f" {', '.join(self.configurations)}",
                code="PLANS",
            )
        own = self.configurations[name]
        parent = own.get("inherits_from")
        return own if parent is None else {**self._inherited(parent, (*heirs, name)), **own}


def _settings(arguments: dict[str, Any], name: str) -> dict[str, Any]:
    """Settings of medseg's network from the arguments of nnU-Net's class.

    Raises
    ------
    PackageError
        When an argument asks for what medseg's network has not.
    """
    counts = "n_conv_per_stage" if name == PLAIN else "n_blocks_per_stage"
    stages = int(arguments["n_stages"])
    _check(arguments)
    encoder, decoder = ("convolutions", "decoder_convolutions")
    if name == RESIDUAL:
        encoder, decoder = ("blocks", "convolutions")
    return {
        "features": per_stage(arguments["features_per_stage"], stages),
        "strides": per_stage(arguments["strides"], stages),
        "kernels": per_stage(arguments["kernel_sizes"], stages),
        encoder: per_stage(arguments[counts], stages),
        decoder: per_stage(arguments["n_conv_per_stage_decoder"], stages - 1),
        "norm": _norm(arguments),
        "bias": bool(arguments.get("conv_bias")),
        "deep_supervision": stages > 1,
    }


def per_stage(value: Any, stages: int) -> list[Any]:
    """One number, or list of numbers, for each stage."""
    return list(value) if isinstance(value, list | tuple) else [value] * stages


def _norm(arguments: dict[str, Any]) -> Literal["instance", "batch"]:
    """medseg's word for a norm."""
    word = str(arguments.get("norm_op") or "none").rpartition(".")[2]
    norm = _NORMS.get(word.rstrip("123d"))
    if norm is None:
        raise PackageError(f"its network normalises by '{word}'", code="FOREIGN_NETWORK")
    return norm  # type: ignore[return-value]


def _check(arguments: dict[str, Any]) -> None:
    """Refuse arguments that change what the network computes in a way medseg's cannot."""
    plain = {
        "nonlin_first": (None, False),
        "pool": (None, "conv"),
        "bottleneck_channels": (None,),
        "stem_channels": (None,),
        "squeeze_excitation": (None, False),
        "nonlin": (None, "torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU"),
    }
    for key, accepted in plain.items():
        if arguments.get(key) not in accepted:
            raise PackageError(
                f"its network has {key} = {arguments[key]}, which medseg's networks have not",
                code="FOREIGN_NETWORK",
            )
    norm, slope = arguments.get("norm_op_kwargs") or {}, arguments.get("nonlin_kwargs") or {}
    fixed = {"eps": 1e-5, "affine": True, "negative_slope": 0.01}
    for key, value in (norm | slope).items():
        if key in fixed and value != fixed[key]:
            raise PackageError(
                f"its network has {key} = {value}; medseg's have {fixed[key]}",
                code="FOREIGN_NETWORK",
            )


def convert(value: object, kind: type[Any], *, where: str) -> Any:
    """Typed content of a foreign file; keys that medseg does not need are passed over.

    Raises
    ------
    PackageError
        When a key is missing or has the wrong type.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise PackageError(f"{where} of the nnU-Net model: {error}", code="PLANS") from error
