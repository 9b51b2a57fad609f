"""Models of bioimage.io: ``bioimageio.yaml`` or ``rdf.yaml``, format 0.4 or 0.5, with ONNX weights.

See https://github.com/bioimage-io/spec-bioimage-io. Packages without ONNX weights, with several
tensors, or with a processing that is no closed form are refused by name.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from medseg.errors import PackageError
from medseg.model_package.chain import Chain
from medseg.model_package.foreign_network import FILE
from medseg.model_package.interop.bioimageio.axes import Axes, axes_of
from medseg.model_package.interop.bioimageio.processing import processing_of
from medseg.model_package.interop.decoding import decoded_mapping, weights_file
from medseg.model_package.interop.files import ModelFiles
from medseg.model_package.manifest import Card, Manifest
from medseg.model_package.package import ModelPackage
from medseg.planning.plan import Component, Normalisation, Plan
from medseg.volume.label_table import LabelTable

_DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml")
_VERSIONS = ("0.4.", "0.5.")


def recognises(path: Path) -> bool:
    """Whether it is such a description, or the folder or zip archive of one."""
    if path.is_dir():
        return any((path / name).is_file() for name in _DESCRIPTIONS)
    if path.name in _DESCRIPTIONS:
        return True
    return path.suffix.lower() == ".zip" and ModelFiles(path).root_of(*_DESCRIPTIONS) is not None


def read(path: Path) -> ModelPackage:
    """The model.

    Parameters
    ----------
    path : Path

    Raises
    ------
    PackageError
        When a file is missing, damaged or altered, or the model needs what medseg does not do.
    """
    files = ModelFiles(path.parent if path.name in _DESCRIPTIONS else path)
    root = files.root_of(*_DESCRIPTIONS) or ""
    name = next(root + each for each in _DESCRIPTIONS if root + each in files.names)
    where = files.where(name)
    content = decoded_mapping(files.read(name), where)
    if not str(content.get("format_version", "")).startswith(_VERSIONS):
        raise _refusal(where, f"format_version {content.get('format_version')}", "0.4 and 0.5")
    given, answered = (_only_tensor(content, key, where) for key in ("inputs", "outputs"))
    axes, out = axes_of(given, where), axes_of(answered, where)
    if axes.spatial != out.spatial or answered_elsewhere(answered):
        raise _refusal(where, "an output on another grid than the input", "outputs of its size")
    before = processing_of(given.get("preprocessing"), axes, where)
    after = processing_of(answered.get("postprocessing"), out, where)
    names = _label_names(out)
    last = [step.name for step in after]
    argmax = "softmax" in last or (len(names) > 1 and not names[0])
    ending = (
        Component(name="AsDiscreted", settings={"argmax": True})
        if argmax
        else Component(name="LargestAbove", settings={"threshold": 0.5})
    )
    data = _weights(content, files, root, where)
    roi = axes.tile()
    settings = {"roi_size": list(roi), "sw_batch_size": 1, "overlap": 0.25, "mode": "gaussian"}
    settings |= {"axes": axes.order, "output_axes": out.order, "padding_mode": "replicate"}
    chain = Chain(
        before=before,
        inferer=Component(name="AxesWindow", settings=settings),
        after=(*after, ending),
        outputs=names,
    )
    manifest = Manifest(
        name=str(content.get("id") or content.get("name") or path.stem),
        version=str(content.get("version", "1")),
        plan=_plan(axes, roi),
        labels=LabelTable.of(dict(enumerate([n for n in names if n], start=1))),
        card=Card(
            summary=str(content.get("description") or content.get("name") or ""),
            licence=str(content.get("license", "")),
            attribution=", ".join(
                str(each.get("name", "")) for each in content.get("authors") or [] if each
            ),
        ),
        provenance={"format": f"bioimage.io {content['format_version']}"},
        weights=weights_file(data, "network.onnx"),
        chain=chain,
    )
    package = ModelPackage(path, manifest, data=data)
    package.load_network()
    return package


def answered_elsewhere(tensor: dict[str, Any]) -> bool:
    """Whether an output is scaled or cut against its input, by the shape that format 0.4 gives."""
    shape = tensor.get("shape")
    if not isinstance(shape, dict) or "scale" not in shape:
        return False
    return any(n not in (0, 1) for n in shape["scale"]) or any(shape.get("offset", [])[2:])


def _only_tensor(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    tensors = content.get(key)
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        count = len(tensors) if isinstance(tensors, list) else 0
        raise _refusal(where, f"{count} {key}", "one input and one output")
    return tensors[0]


def _label_names(out: Axes) -> tuple[str, ...]:
    """What each channel of the output stands for; empty for the background."""
    given = out.channel_names
    if given and len(set(given)) == len(given):
        return tuple("" if name.lower() in ("background", "bg") else name for name in given)
    count = out.channels
    return ("foreground",) if count == 1 else tuple(f"channel {n}" for n in range(count))


def _weights(content: dict[str, Any], files: ModelFiles, root: str, where: str) -> bytes:
    """The ONNX file, verified."""
    weights = content.get("weights")
    entry = weights.get("onnx") if isinstance(weights, dict) else None
    if not isinstance(entry, dict):
        kinds = ", ".join(weights) if isinstance(weights, dict) else "none"
        raise _refusal(where, f"weights as {kinds}", "weights as onnx")
    source = str(entry.get("source", ""))
    if "://" in source:
        raise _refusal(where, f"weights at {source}", "packages that hold their weights")
    data = files.read(root + source.removeprefix("./"))
    sha256 = hashlib.sha256(data).hexdigest()
    if entry.get("sha256") != sha256:
        raise PackageError(
            f"'{files.where(root + source)}' has SHA-256 {sha256[:12]}... and '{where}' says"
            f" {str(entry.get('sha256'))[:12]}...: it was altered or damaged; copy it again",
            code="CHECKSUM",
        )
    return data


def _plan(axes: Axes, roi: tuple[int, ...]) -> Plan:
    """What a plan can say of it."""
    sizes = dict(zip(axes.spatial, roi, strict=True))
    names = axes.channel_names or tuple(f"channel {n}" for n in range(axes.channels))
    return Plan(
        spacing_mm=(1.0, 1.0, 1.0),
        channels=names,
        normalisation=(Normalisation(scheme="none"),) * len(names),
        patch=(sizes["x"], sizes["y"], sizes.get("z", 1)),
        batch=1,
        network=Component(name=FILE),
        mirror_axes=(),
        augmentation=(),
        overlap=0.25,
        plane=None if "z" in sizes else "axial",
    )


def _refusal(where: str, what: str, takes: str) -> PackageError:
    return PackageError(
        f"'{where}' has {what}; medseg takes models of bioimage.io with {takes}",
        code="UNKNOWN_STEP",
    )
