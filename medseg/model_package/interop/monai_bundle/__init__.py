"""MONAI bundles, as folders and zip archives: their configuration is data, by an allow-list."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, get_args

from medseg.model_package.chain import Chain
from medseg.model_package.foreign_network import FILE
from medseg.model_package.interop.decoding import (
    as_safetensors,
    channel_names,
    decoded_mapping,
    state_dict,
    weights_file,
)
from medseg.model_package.interop.files import ModelFiles
from medseg.model_package.interop.monai_bundle.config import Config
from medseg.model_package.interop.monai_bundle.labels import labels_of
from medseg.model_package.interop.monai_bundle.steps import (
    IMAGE,
    component_of,
    inferer_of,
    is_target,
    steps_after,
    steps_before,
)
from medseg.model_package.manifest import Card, Manifest
from medseg.model_package.package import ModelPackage
from medseg.planning.plan import Component, Normalisation, Plan, Plane, slice_axis

_CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
_SCRIPT, _STATE = "models/model.ts", "models/model.pt"
_DEFAULT_PATCH = 96
_DEFAULT_OVERLAP = 0.25
"""Of MONAI's sliding window."""


def recognises(path: Path) -> bool:
    """Whether a folder, or a zip archive, holds ``configs/inference.json`` or ``.yaml``."""
    if path.is_dir():
        return any((path / name).is_file() for name in _CONFIGS)
    return path.suffix.lower() == ".zip" and ModelFiles(path).root_of(*_CONFIGS) is not None


def read(path: Path) -> ModelPackage:
    """The model of a bundle.

    Parameters
    ----------
    path : Path

    Raises
    ------
    PackageError
        When a file is missing, damaged or unsafe, a part is not one of MONAI's that medseg takes,
        or the weights do not fit; the message names the file.
    """
    files = ModelFiles(path)
    root = files.root_of(*_CONFIGS) or ""
    name = next(root + each for each in _CONFIGS if root + each in files.names)
    config = Config(decoded_mapping(files.read(name), files.where(name)), files.where(name))
    facts = f"{root}configs/metadata.json"
    metadata = decoded_mapping(files.read(facts), files.where(facts))
    image = config.get("image_key", IMAGE)
    before = steps_before(config, image)
    after = steps_after(config, image)
    inferer = inferer_of(config)
    formats = metadata.get("network_data_format", {})
    inputs: dict[str, Any] = next(iter(formats.get("inputs", {}).values()), {})
    file = _weights_file(config, files, root)
    network = _network(config, inputs, formats, script=file.endswith(".ts"))
    names, labels = labels_of(formats, after, channels=network.settings["out_channels"])
    raw = files.read(file)
    data, weights = raw, weights_file(raw, "model.ts")
    if not file.endswith(".ts"):
        data, weights = as_safetensors(state_dict(raw, files.where(file)))
    evaluator = config.content.get("evaluator", {})
    chain = Chain(
        before=before,
        inferer=inferer,
        after=after,
        outputs=names,
        half=isinstance(evaluator, dict) and bool(config.value(evaluator.get("amp", False))),
    )
    manifest = Manifest(
        name=path.stem if path.suffix == ".zip" else path.resolve().name,
        version=str(metadata.get("version", "1")),
        plan=_plan(chain, network, inputs),
        labels=labels,
        card=_card(metadata, inputs),
        provenance={"format": f"MONAI bundle of MONAI {metadata.get('monai_version', '?')}"},
        weights=weights,
        chain=chain,
    )
    package = ModelPackage(path, manifest, data=data)
    package.load_network()
    return package


def _weights_file(config: Config, files: ModelFiles, root: str) -> str:
    """The file that the bundle's checkpoint loader reads, or the TorchScript beside it."""
    for loader in _loaders(config.content):
        given = str(config.value(loader.get("load_path", "")))
        path = PurePosixPath(given)
        if path.is_absolute() or ".." in path.parts:
            raise config.refusal(f"load_path: {given}", "; the weights must lie in the bundle")
        return root + path.as_posix()
    both = (root + _STATE, root + _SCRIPT)
    return next((name for name in both if name in files.names), both[0])


def _loaders(value: Any) -> list[dict[str, Any]]:
    """Every checkpoint loader of a configuration."""
    if isinstance(value, dict) and is_target(value, "CheckpointLoader"):
        return [value]
    entries = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return [loader for entry in entries for loader in _loaders(entry)]


def _network(config: Config, inputs: Any, formats: Any, *, script: bool) -> Component:
    """The network by its class, with every setting; a script only with its channels."""
    if script:
        outputs: dict[str, Any] = next(iter(formats.get("outputs", {}).values()), {})
        channels = {"in_channels": inputs.get("num_channels", 1)}
        channels["out_channels"] = outputs.get("num_channels", 2)
        return Component(name=FILE, settings={"spatial_dims": 3, **channels})
    definition = config.content.get("network_def", config.content.get("network"))
    if not isinstance(definition, dict):
        raise config.refusal(f"network_def: {definition}", "; it must name a network of MONAI")
    return component_of(config, definition)


def _plan(chain: Chain, network: Component, inputs: Any) -> Plan:
    """What a plan can say of a chain; the chain itself is what is done."""
    settings = {step.name: step.settings for step in chain.before}
    window, dims = chain.inferer.settings, network.settings["spatial_dims"]
    orientation = settings.get("Orientationd", {}).get("axcodes") or "RAS"
    patch = window.get("roi_size") or settings.get("Resized", {}).get("spatial_size")
    i, j, k = _three(patch or _DEFAULT_PATCH, dims, default=_DEFAULT_PATCH)
    plane = None
    if dims == 2:
        plane = _plane(orientation, window.get("spatial_dim", 2))
        i, j, k = ((1, i, j), (i, 1, j), (i, j, 1))[window.get("spatial_dim", 2)]
    spacing_mm = _three(settings.get("Spacingd", {}).get("pixdim") or 1.0, 3, default=1.0)
    count = network.settings["in_channels"]
    names = channel_names(inputs.get("channel_def"), count)
    return Plan(
        orientation=orientation,
        spacing_mm=spacing_mm,
        channels=names or tuple(f"image {n}" for n in range(count)),
        normalisation=(Normalisation(scheme="none"),) * count,
        patch=(int(i), int(j), int(k)),
        batch=1,
        network=network,
        mirror_axes=(),
        augmentation=(),
        overlap=window.get("overlap", _DEFAULT_OVERLAP) if "roi_size" in window else 0.0,
        plane=plane,
    )


def _three(given: Any, axes: int, *, default: float) -> tuple[float, float, float]:
    """One number for each axis; `default` for those that are missing or left open."""
    numbers = [given] * axes if isinstance(given, int | float) else list(given)
    i, j, k = (n if n > 0 else default for n in [*numbers, default, default][:3])
    return i, j, k


def _plane(orientation: str, axis: int) -> Plane:
    """The plane of slices across an axis."""
    planes: tuple[Plane, ...] = get_args(Plane)
    return next(plane for plane in planes if slice_axis(plane, orientation=orientation) == axis)


def _card(metadata: dict[str, Any], inputs: Any) -> Card:
    modality = str(inputs.get("modality", ""))

    def text(name: str) -> str:
        return str(metadata.get(name, ""))

    return Card(
        summary=text("task") or text("description"),
        data=text("data_source"),
        intended_use=text("intended_use"),
        licence=text("license") or text("copyright"),
        attribution=text("authors"),
        modality={"MRI": "MR"}.get(
            modality, modality if modality in {"CT", "MR", "PT", "US"} else ""
        ),
    )
