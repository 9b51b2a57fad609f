"""A configuration of nnU-Net as medseg's plan.

nnU-Net normalises before it resamples, cuts off what is 0 in every channel, and sees the scan's
axes in reverse (K, J, I), permuted by ``transpose_forward``.
"""

from __future__ import annotations

from typing import Any

from medseg.errors import PackageError
from medseg.model_package.interop.nnunet.dataset import DatasetFile, Meaning
from medseg.model_package.interop.nnunet.plans import Configuration, Intensities, Plans, convert
from medseg.planning import Component, Normalisation, Plan, Resampling

NATIVE_AXES, BODY_AXES = "KJI", "SAR"
_SCHEMES = {
    "CTNormalization": "clip_zscore",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale",
    "RGBTo01Normalization": "rgb01",
}
_SPLINES, _TORCH = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
_ACROSS_MM = 1.0
"""Stands for the spacing across slices of a 2-D plan, which keeps the scan's own."""


def planned(
    plans: Plans,
    configuration: Configuration,
    network: Component,
    dataset: DatasetFile,
    meaning: Meaning,
    *,
    mirror_axes: tuple[int, ...],
    axes: str = "",
) -> Plan:
    """Every choice between a raw scan and the network.

    Parameters
    ----------
    plans : Plans
    configuration : Configuration
    network : Component
    dataset : DatasetFile
    meaning : Meaning
    mirror_axes : tuple of int
        Of the network's own axes, as the checkpoint has them.
    axes : str, optional
        Orientation of the array before ``transpose_forward``, in place of what the plans' reader
        makes of a file.

    Raises
    ------
    PackageError
        When a normalisation, resampling or reader is unknown, or channels do not agree.
    PlanError
        When numbers do not fit together.
    """
    axes = axes or (BODY_AXES if plans.image_reader_writer.endswith("Reorient") else NATIVE_AXES)
    flat, spacing = 3 - len(configuration.patch_size), configuration.spacing
    scan_mm = plans.original_median_spacing_after_transp
    across_mm = (scan_mm[0] if scan_mm else _ACROSS_MM,) * flat
    if configuration.preprocessor_name != "DefaultPreprocessor":
        raise _unknown("preprocessor", configuration.preprocessor_name, ("DefaultPreprocessor",))
    turn, patch = plans.transpose_forward, configuration.patch_size
    if sorted(turn) != [0, 1, 2] or len(patch) not in (2, 3) or len(patch) != len(spacing):
        raise PackageError(
            f"its plans turn axes by transpose_forward {turn} and have a patch of {patch} voxels of"
            f" {spacing} mm; an order of three axes is needed, and two or three numbers each",
            code="PLANS",
        )
    if not {*mirror_axes} <= {*range(len(patch))}:
        raise PackageError(
            f"its checkpoint mirrors along axes {mirror_axes} and its patch has {len(patch)} axes",
            code="PLANS",
        )
    return Plan(
        orientation="".join(axes[axis] for axis in turn),
        spacing_mm=(*across_mm, *spacing),  # type: ignore[arg-type]
        channels=dataset.channels,
        normalisation=_normalisation(plans, configuration, dataset),
        crop="nonzero",
        normalise_first=True,
        resampling=_resampling(configuration),
        patch=(*(1,) * flat, *patch),  # type: ignore[arg-type]
        batch=configuration.batch_size,
        network=network,
        mirror_axes=tuple(axis + flat for axis in mirror_axes),
        blending="nnunet",
        plane="first" if flat else None,
        regions=meaning.regions,
        previous_labels=meaning.values if configuration.previous_stage else 0,
    )


def _normalisation(
    plans: Plans, configuration: Configuration, dataset: DatasetFile
) -> tuple[Normalisation, ...]:
    schemes, masks = configuration.normalization_schemes, configuration.use_mask_for_norm
    if not len(schemes) == len(masks) == len(dataset.channels):
        raise PackageError(
            f"its plans normalise {len(schemes)} channel(s) and its dataset.json names"
            f" {len(dataset.channels)} ({', '.join(dataset.channels)}); are both of one model?",
            code="CHANNELS",
        )
    return tuple(
        _rule(scheme, masked, plans.intensities.get(str(number)))
        for number, (scheme, masked) in enumerate(zip(schemes, masks, strict=True))
    )


def _rule(word: str, masked: bool, seen: Intensities | None) -> Normalisation:
    if word not in _SCHEMES:
        raise _unknown("normalisation", word, _SCHEMES)
    scheme: Any = _SCHEMES[word]
    if scheme != "clip_zscore":
        return Normalisation(scheme=scheme, nonzero=masked and scheme == "zscore")
    if seen is None:
        raise PackageError(
            "its plans normalise a channel as CT and do not have that channel's intensities"
            " ('foreground_intensity_properties_per_channel')",
            code="PLANS",
        )
    return Normalisation(
        scheme=scheme,
        low=seen.percentile_00_5,
        high=seen.percentile_99_5,
        mean=seen.mean,
        std=seen.std,
    )


def _resampling(configuration: Configuration) -> Resampling:
    c = configuration
    ways = {
        "image": _way(c.resampling_fn_data, c.resampling_fn_data_kwargs),
        "logits": _way(c.resampling_fn_probabilities, c.resampling_fn_probabilities_kwargs),
        "labels": _way(c.resampling_fn_seg, c.resampling_fn_seg_kwargs),
    }
    return convert(ways, Resampling, where="resampling")  # type: ignore[no-any-return]


def _way(function: str, options: dict[str, Any]) -> dict[str, Any]:
    """One resampling function with its arguments, as fields of an `Interpolation`."""
    separate = {"separate_across": options.get("force_separate_z")}
    if "separate_z_anisotropy_threshold" in options:
        separate["anisotropy"] = options["separate_z_anisotropy_threshold"]
    if function == _SPLINES:
        orders = {"order": options.get("order", 3), "order_across": options.get("order_z", 0)}
        return orders | separate
    if function == _TORCH and options.get("mode", "linear") == "linear":
        return {"torch": True, "order": 1, "order_across": 0} | separate
    raise _unknown("resampling", function, (_SPLINES, _TORCH))


def _unknown(what: str, word: str, names: Any) -> PackageError:
    return PackageError(
        f"its plans ask for the {what} '{word}', which medseg does not have; it has"
        f" {', '.join(names)}",
        code="UNKNOWN_PART",
    )
