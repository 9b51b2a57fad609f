"""Segmenting files with the weights of an nnU-Net folder: by medseg, or by MONAI's parts.

    python predicting.py medseg|monai|bound SPEC.json

Prints a line of JSON, as nnunet/predicting.py does. `bound` says how many operations the network
needs for all tiles, and how fast this machine multiplies matrices.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

START = time.perf_counter()
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
Stages = dict[str, float]


def measured(stages: Stages, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, whose seconds are added up under the name of a stage."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = work(*args, **kwargs)
        stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start
        return result

    return timed


def package_of(spec: dict[str, Any]) -> Any:
    """The model as a package of medseg, made once beside nnU-Net's."""
    from medseg.model_package import ModelPackage
    from medseg.model_package.interop.nnunet.importing import import_nnunet

    folder = Path(spec["package"])
    if folder.is_dir():
        return ModelPackage.open(folder)
    return import_nnunet(Path(spec["model"]), folder)


def by_medseg(spec: dict[str, Any], stages: Stages) -> None:
    """As `medseg segment`, the model loaded once."""
    from medseg.inference import Options, Predictor
    from medseg.inference.coarse_to_fine import looking_only
    from medseg.inference.sliding_window import SlidingWindow
    from medseg.workflows.record import ModelUsed
    from medseg.workflows.segment import read_case, segment_case, write_case

    stages["import"] = time.perf_counter() - START
    package = package_of(spec)
    load = measured(stages, "load", Predictor.load)
    predictor = load(package, device=spec["device"], backend=spec["backend"])
    segmenter = looking_only(predictor, spec["roi_from"])
    SlidingWindow.logits = measured(stages, "network", SlidingWindow.logits)  # type: ignore[method-assign]
    channels, used = package.manifest.plan.channels, ModelUsed.of(package)
    for scan_file in map(Path, spec["scans"]):
        output = Path(spec["output"]) / scan_file.name
        scan = measured(stages, "read", read_case)([scan_file], output, channels=channels)
        segment = measured(stages, "prepare, network, labels", segment_case)
        result = segment(scan, segmenter, used, Options())
        measured(stages, "write", write_case)(result, output)


def by_monai(spec: dict[str, Any], stages: Stages) -> None:
    """Dictionary transforms, the sliding window and the way back, as MONAI's bundles have them."""
    import torch
    from monai.data import decollate_batch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        NormalizeIntensityd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    stages["import"] = time.perf_counter() - START
    package = package_of(spec)
    network, plan = measured(stages, "load", package.load_network)(), package.manifest.plan
    rule = plan.normalisation[0]
    scaled: list[Any] = [NormalizeIntensityd("image")]
    if rule.scheme == "clip_zscore":
        clipped = ScaleIntensityRanged("image", rule.low, rule.high, rule.low, rule.high, clip=True)
        subtracted = NormalizeIntensityd("image", subtrahend=rule.mean, divisor=rule.std)
        scaled = [clipped, subtracted]
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Spacingd("image", pixdim=plan.spacing_mm[::-1], mode="bilinear"),
            *scaled,
        ]
    )
    after = Compose(
        [
            Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=spec["output"], output_postfix="", separate_folder=False),
        ]
    )
    inferer = SlidingWindowInferer(plan.patch, overlap=0.5, mode="gaussian")
    network.forward = measured(stages, "network", network.forward)
    for scan in spec["scans"]:
        item = measured(stages, "read and prepare", before)({"image": scan})
        with torch.inference_mode():
            image_CKJI = item["image"].permute(0, 3, 2, 1)  # nnU-Net's networks see axes in reverse
            logits = measured(stages, "network and sums", inferer)(image_CKJI[None], network)
        item["pred"] = decollate_batch(logits)[0].permute(0, 3, 2, 1)
        del logits
        measured(stages, "back to the scan, write", after)(item)


def bound(spec: dict[str, Any], stages: Stages) -> None:
    """Operations of all tiles, and those that a second has for matrix products in float32."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from medseg.inference import Predictor
    from medseg.reading import read_scan

    predictor = Predictor.load(package_of(spec), device="cpu")
    tile = torch.zeros(1, len(predictor.plan.channels), *predictor.plan.patch)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        predictor.network(tile)
    tiles = sum(predictor.tiles(read_scan(scan).grid) for scan in spec["scans"])
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a = torch.randn(2048, 2048).to(dtype)
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - start)
        per_second = 2 * 2048**3 / min(seconds)
        stages[f"network at the speed of {name} products"] = (
            tiles * counter.get_total_flops() / per_second
        )
    stages["tiles"] = tiles


def main() -> None:
    """Do the work in this process and print what it took."""
    stages: Stages = {}
    spec = json.loads(Path(sys.argv[2]).read_text())
    Path(spec["output"]).mkdir(parents=True, exist_ok=True)
    {"medseg": by_medseg, "monai": by_monai, "bound": bound}[sys.argv[1]](spec, stages)
    used = resource.getrusage(resource.RUSAGE_SELF)
    row = {
        "stages": {name: round(seconds, 2) for name, seconds in stages.items()},
        "wall_s": round(time.perf_counter() - START, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
