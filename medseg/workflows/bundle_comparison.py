"""A MONAI bundle against the model it was made of: the same labels, and at what cost."""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.metrics import overlap
from medseg.model_package import ModelPackage
from medseg.reading import read_scan
from medseg.volume import LabelMap, Scan
from medseg.writing import write_scan

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Took:
    """Seconds of one way from a file to labels.

    Parameters
    ----------
    preparation : float
        Reading, orientation, spacing and normalisation.
    labelling : float
        The network, and labels on the scan's grid.
    """

    preparation: float
    labelling: float


@dataclass(frozen=True)
class BundleComparison:
    """Labels of a bundle beside those of its model.

    Parameters
    ----------
    equal : float
        Share of the scan's voxels with the same label.
    dice : dict of str to float or None
        Agreement of both by label; None where neither has the label.
    medseg, bundle : Took
    """

    equal: float
    dice: dict[str, float | None]
    medseg: Took
    bundle: Took


def compare_bundle(package: ModelPackage, folder: Path, scan: Scan) -> BundleComparison:
    """Label a scan by a model and by its bundle, both from one NIfTI file, both on the CPU.

    Parameters
    ----------
    package : ModelPackage
    folder : Path
        Of the bundle, made of `package`; its transforms run in this process, by MONAI's parser.
    scan : Scan

    Raises
    ------
    InputError
        When the scan does not fit the model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = write_scan(scan, Path(scratch) / "scan.nii.gz")
        labels, medseg = _by_medseg(package, path)
        values, bundle = _by_bundle(folder, path)
    bundled = LabelMap(values.astype(labels.values.dtype), labels.grid, labels.table)
    dice = {name: scores.dice for name, scores in overlap(bundled, labels).items()}
    return BundleComparison(float((bundled.values == labels.values).mean()), dice, medseg, bundle)


def _by_medseg(package: ModelPackage, path: Path) -> tuple[LabelMap, Took]:
    from medseg.inference import Predictor
    from medseg.preprocessing import prepare_image

    predictor = Predictor.load(package, device="cpu")
    start = time.monotonic()
    scan = read_scan(path)
    image, placement = prepare_image(scan, predictor.plan)
    prepared = time.monotonic()
    labels = predictor.predict_prepared(image, scan.grid, placement.box)
    return labels, Took(prepared - start, time.monotonic() - prepared)


def _by_bundle(folder: Path, path: Path) -> tuple[npt.NDArray[Any], Took]:
    """Labels (I, J, K) of a bundle, by its own transforms, network and inferer."""
    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(folder)
    parser["device"] = "cpu"
    parser["postprocessing"]["transforms"].pop()  # SaveImaged: what comes before it is compared
    parts = ("preprocessing", "network_def", "inferer", "postprocessing")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that TorchScript is old
        preprocessing, network, inferer, postprocessing = map(parser.get_parsed_content, parts)
        start = time.monotonic()
        item = preprocessing({"image": str(path)})
        prepared = time.monotonic()
        item["pred"] = inferer(item["image"][None], network)[0]
        labels = postprocessing(item)["pred"]
    return np.asarray(labels)[0], Took(prepared - start, time.monotonic() - prepared)
