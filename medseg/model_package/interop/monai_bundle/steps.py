"""Transforms, inferer and network of a bundle as components of a chain."""

from __future__ import annotations

from typing import Any

from medseg.errors import PackageError
from medseg.model_package.chain import AFTER, BEFORE, INFERERS, NETWORKS
from medseg.model_package.interop.monai_bundle.config import Config, is_foreground, overlay_of
from medseg.planning.plan import Component

IMAGE, PREDICTION = "image", "pred"
_READ = {"LoadImaged", "EnsureChannelFirstd", "ToTensord"}
"""What reading a scan has done already."""
_WRITTEN = {"SaveImaged", "ToTensord", "EnsureTyped", "CastToTyped"}
_BESIDE = {
    *("_target_", "_desc_", "_disabled_", "keys", "transform", "orig_keys", "source_key", "device"),
    *("to_tensor", "meta_keys", "orig_meta_keys", "meta_key_postfix", "allow_missing_keys"),
    *("sw_device", "progress", "cache_roi_weight_map", "cpu_thresh", "orig_meta_key_postfix"),
}
"""Settings of MONAI that say where data lies, which a chain does not need."""
_NETWORK_BESIDE = {"_target_", "_desc_", "img_size", "pretrained", "use_checkpoint"}
"""Settings of networks that change no result: left out by newer versions, or of a training."""


def is_target(definition: dict[str, Any], name: str) -> bool:
    """Whether a part of the configuration is of MONAI's class of that name."""
    return _class(definition) == name


def steps_before(config: Config, image: str) -> tuple[Component, ...]:
    """The transforms between a scan and the network, without those of reading."""
    return tuple(
        _step(config, each, BEFORE)
        for each in _transforms(config, "preprocessing")
        if _is_on(config, each, image) and _class(each) not in _READ
    )


def steps_after(config: Config, image: str) -> tuple[Component, ...]:
    """The transforms between the network and labels, without those of writing."""
    steps = []
    for each in _transforms(config, "postprocessing"):
        if not _is_on(config, each, PREDICTION) or _class(each) in _WRITTEN:
            continue
        if _class(each) == "Lambdad":
            steps.append(_function(config, each))
            continue
        if _class(each) == "Invertd" and (
            each.get("transform") != "@preprocessing"
            or config.value(each.get("orig_keys", image)) != image
        ):
            raise config.refusal(
                f"Invertd of {each.get('transform')}", "; it must undo @preprocessing of the image"
            )
        steps.append(_step(config, each, AFTER))
    return tuple(steps)


def inferer_of(config: Config) -> Component:
    """How the network goes over a scan."""
    definition = config.content.get("inferer", {"_target_": "SimpleInferer"})
    if not isinstance(definition, dict):
        raise config.refusal(f"inferer: {definition}")
    return _step(config, definition, INFERERS)


def component_of(config: Config, definition: dict[str, Any]) -> Component:
    """The network by its class, with its settings.

    Raises
    ------
    PackageError
        When it is none of `NETWORKS`.
    """
    name = _class(definition)
    if name not in NETWORKS:
        raise config.refusal(
            f"network_def: {definition.get('_target_')}",
            f"; of MONAI's networks it takes {', '.join(NETWORKS)}",
        )
    settings = {k: config.value(v) for k, v in definition.items() if k not in _NETWORK_BESIDE}
    settings.setdefault(
        "spatial_dims", settings.pop("dimensions", 2 if name == "FlexibleUNet" else 3)
    )
    settings.setdefault("in_channels", 1)
    settings.setdefault("out_channels", 2)
    if not all(
        isinstance(settings[k], int) for k in ("spatial_dims", "in_channels", "out_channels")
    ):
        raise config.refusal(f"network_def: {settings}", "; its channels must be whole numbers")
    return Component(name=f"monai:{name}", settings=settings)


def _transforms(config: Config, key: str) -> list[dict[str, Any]]:
    composed = config.content.get(key)
    if not isinstance(composed, dict) or _class(composed) != "Compose":
        raise PackageError(
            f"'{config.where}' has no '{key}' that is a Compose of transforms", code="UNKNOWN_STEP"
        )
    transforms = composed.get("transforms")
    if not isinstance(transforms, list) or not all(isinstance(each, dict) for each in transforms):
        raise config.refusal(f"{key}: {transforms}", "; it must be a list of transforms")
    return transforms


def _is_on(config: Config, transform: dict[str, Any], key: str) -> bool:
    """Whether a transform is in use and works on `key`; `PackageError` when on anything else."""
    if config.value(transform.get("_disabled_", False)) in (True, "true"):
        return False
    keys = config.value(transform.get("keys", key))
    if keys not in (key, [key]):
        raise config.refusal(f"{_class(transform)} of {keys}", f"; it takes steps on '{key}' alone")
    return True


def _step(config: Config, definition: dict[str, Any], table: dict[str, set[str]]) -> Component:
    name = _class(definition)
    if name not in table:
        raise config.refusal(
            f"_target_: {definition.get('_target_')}", f"; it takes {', '.join(table)}"
        )
    settings = {k: config.value(v) for k, v in definition.items() if k not in _BESIDE}
    if name == "CropForegroundd" and settings.pop("select_fn", None) is not None:
        raise config.refusal("select_fn", "; it takes the default one")
    return Component(name=name, settings=settings)


def _function(config: Config, transform: dict[str, Any]) -> Component:
    """One of the functions that medseg knows by their text."""
    text = transform.get("func")
    if isinstance(text, str) and is_foreground(text):
        return Component(name="Foreground")
    order = overlay_of(text) if isinstance(text, str) else None
    if order is None:
        raise config.refusal(str(text))
    return Component(name="Overlay", settings={"order": order})


def _class(definition: dict[str, Any]) -> str:
    """Name of MONAI's class, in the form of dictionary transforms that ends in d."""
    target = str(definition.get("_target_", ""))
    name = target.rpartition(".")[2] if target.startswith("monai.") else target
    for ending in ("Dict", "D"):
        if name.endswith(ending) and len(name) > len(ending):
            return f"{name.removesuffix(ending)}d"
    return name
