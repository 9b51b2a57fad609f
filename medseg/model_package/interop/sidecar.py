"""A network in one file, ONNX or TorchScript, beside a ``medseg.json`` that says all around it.

``medseg.json`` is what ``manifest.json`` of medseg's packages is, of which ``weights`` may be left
out; where it is there, the file's digest must be the one it gives.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from medseg.errors import PackageError, PlanError
from medseg.model_package.interop.decoding import decoded_mapping, weights_file
from medseg.model_package.interop.files import ModelFiles
from medseg.model_package.manifest import Manifest, decode_manifest
from medseg.model_package.package import ModelPackage

SIDECAR = "medseg.json"
ENDINGS = (".onnx", ".ts")


def recognises(path: Path) -> bool:
    """Whether it is such a file beside its ``medseg.json``, or the folder or archive of both."""
    if path.is_dir():
        return (path / SIDECAR).is_file()
    if path.suffix.lower() in ENDINGS:
        return path.with_name(SIDECAR).is_file()
    return path.suffix.lower() == ".zip" and ModelFiles(path).root_of(SIDECAR) is not None


def read(path: Path) -> ModelPackage:
    """The model.

    Parameters
    ----------
    path : Path

    Raises
    ------
    PackageError
        When the description does not decode, there is not one network beside it, or that is
        damaged, altered, or does not fit.
    """
    single = path.suffix.lower() in ENDINGS and path.is_file()
    files = ModelFiles(path.parent if single else path)
    root = files.root_of(SIDECAR) or ""
    name = root + path.name if single else _only(files, root)
    data = files.read(name)
    weights = weights_file(data, f"network{Path(name).suffix.lower()}")
    manifest = _manifest(files, root + SIDECAR, weights.sha256)
    package = ModelPackage(path, msgspec.structs.replace(manifest, weights=weights), data=data)
    package.load_network()
    return package


def _only(files: ModelFiles, root: str) -> str:
    """The one network in a folder."""
    names = [n for n in files.names if n.startswith(root) and n.lower().endswith(ENDINGS)]
    if len(names) != 1:
        raise PackageError(
            f"'{files.path}' holds {len(names)} networks ({', '.join(names) or 'no .onnx or .ts'})"
            f" beside {SIDECAR}; give the path of one",
            code="MISSING_FILE",
        )
    return names[0]


def _manifest(files: ModelFiles, name: str, sha256: str) -> Manifest:
    where = files.where(name)
    content = decoded_mapping(files.read(name), where)
    content.setdefault("weights", {"file": "", "sha256": sha256})
    try:
        manifest = decode_manifest(msgspec.json.encode(content), where=where)
    except PlanError as error:
        raise PackageError(str(error), code="DECODE") from error
    if manifest.weights.sha256 != sha256:
        raise PackageError(
            f"the network beside '{where}' has SHA-256 {sha256[:12]}... and not"
            f" {manifest.weights.sha256[:12]}...: it was altered or damaged; copy it again",
            code="CHECKSUM",
        )
    return manifest
