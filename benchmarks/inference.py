"""The same weights by nnU-Net, MONAI and medseg, from files to files: time, memory, equal labels.

    python benchmarks/inference.py --nnunet-python VENV/bin/python [--cases hippocampus ct-25 ...]
        [--systems nnunet monai medseg medseg-bfloat16 medseg-openvino ...] [--rounds 3]
        [--threads 2] [--size 1.0] [--scans 52] [--quick]

Cases: hippocampus (a folder of 52 scans, 3 classes), cube (128^3, 3 classes), ct-25 and ct-105
(512 x 512 x 200 to 1.5 mm). nnU-Net's code makes a model of random weights for each; medseg imports
its folder, and MONAI runs the imported network. Systems run in processes of their own, in turns.
A run that is in RUNS/rows.json is not repeated, so that rows can be measured one after another;
tables have medians and go to results/inference.md. `--size` shrinks scans and patches, to try it.

Beside each case stands the bound: operations of all tiles over the speed of matrix products.
medseg-coarse looks at larger voxels first, and only around what it finds then; with random
weights that is everywhere, so it says something of trained models only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from medseg.reading import read_labels  # noqa: E402
from medseg.volume import Grid, Scan  # noqa: E402
from medseg.writing import write_scan  # noqa: E402

SYSTEMS = ("nnunet", "monai", "medseg", "medseg-bfloat16", "medseg-openvino", "medseg-coarse")
_ASKED = {
    "medseg-bfloat16": {"device": "cpu:bfloat16"},
    "medseg-openvino": {"backend": "openvino"},
    "medseg-coarse": {"roi_from": "coarse"},
}
"""What a system is told beside the model and the scans."""
DATA = HERE.parent.parent / "shared" / "data" / "hippocampus" / "images"
_SCANS = 52
UNET = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


@dataclass(frozen=True)
class Case:
    """Scans and a model for them.

    Parameters
    ----------
    shape, spacing_mm : tuple
        Of a made scan; the real folder when empty.
    target_mm : tuple of float
    patch, features : tuple of int
        Of the network.
    classes : int
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    target_mm: tuple[float, ...]
    patch: tuple[int, ...]
    features: tuple[int, ...]
    classes: int


FULL = (32, 64, 128, 256, 320, 320)
CT = ((512, 512, 200), (0.75, 0.75, 1.5), (1.5,) * 3, (128,) * 3, FULL)
CASES = {
    "hippocampus": Case((), (), (1.0,) * 3, (40, 56, 40), FULL[:4], 3),
    "cube": Case((128,) * 3, (1.0,) * 3, (1.0,) * 3, (128,) * 3, FULL, 3),
    "ct-25": Case(*CT, 25),
    "ct-105": Case(*CT, 105),
}


def plans_of(case: Case) -> dict[str, Any]:
    """``plans.json`` of nnU-Net."""
    rules = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    stages = len(case.features)
    network = {
        "n_stages": stages,
        "features_per_stage": list(case.features),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3] * 3] * stages,
        "strides": [[1] * 3, *[[2] * 3] * (stages - 1)],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    imported = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    planned = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(case.patch),
        "median_image_size_in_voxels": [float(n) for n in case.patch],
        "spacing": list(case.target_mm),
        "normalization_schemes": ["CTNormalization" if case.classes > 3 else "ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": rules,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": rules | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": rules | {"order": 1},
        "batch_dice": False,
        "architecture": {
            "network_class_name": UNET,
            "arch_kwargs": network,
            "_kw_requires_import": imported,
        },
    }
    seen = {"mean": 80.0, "std": 150.0, "percentile_00_5": -500.0, "percentile_99_5": 900.0}
    return {
        "dataset_name": "Dataset501_Task",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(case.target_mm),
        "original_median_shape_after_transp": list(case.patch),
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": planned},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": seen},
    }


def made_scan(case: Case) -> Scan:
    """An ellipsoid of tissue of many densities in air, as coarse noise that was made smooth."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 1, [n // 16 + 2 for n in case.shape]).astype(np.float32)
    voxels = coarse
    for axis, n in enumerate(case.shape):
        at = np.linspace(0, voxels.shape[axis] - 1.001, n)
        low, share = at.astype(int), (at % 1).astype(np.float32)
        share = share.reshape([-1 if other == axis else 1 for other in range(3)])
        voxels = voxels.take(low, axis) * (1 - share) + voxels.take(low + 1, axis) * share
    axes = (np.linspace(-1, 1, n, dtype=np.float32) ** 2 for n in case.shape)
    i, j, k = axes
    inside = (i[:, None, None] + j[:, None] + 0.3 * k) < 0.8
    values = np.where(inside, 60 + 200 * voxels + rng.normal(0, 15, case.shape), -1000)
    grid = Grid(case.shape, np.diag([*case.spacing_mm, 1.0]))
    return Scan(values.astype(np.int16)[None], grid, modality="CT")


def prepare(name: str, case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Scans and nnU-Net's model, made once; what processes are told."""
    folder = arguments.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    if case.shape:
        scan = folder / "scan.nii.gz"
        if not scan.is_file():
            write_scan(made_scan(case), scan)
        scans = [scan]
    else:
        scans = sorted(DATA.glob("*.nii.gz"))[: arguments.scans]
    labels = {"background": 0, **{f"part {n}": n for n in range(1, case.classes)}}
    spec = {
        "model": str(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"),
        "package": str(folder / "package"),
        "plans": plans_of(case),
        "dataset": {
            "channel_names": {"0": "CT" if case.classes > 3 else "MR"},
            "labels": labels,
            "numTraining": 1,
            "file_ending": ".nii.gz",
        },
        "scans": [str(scan.resolve()) for scan in scans],
        "roi_from": None,
        "device": "cpu",
        "backend": "torch",
    }
    if not Path(spec["model"]).is_dir():
        run(arguments, "nnunet", "make", spec, folder)
    return spec


def run(
    arguments: argparse.Namespace, system: str, what: str, spec: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """One process; the line of JSON that it prints last."""
    told = folder / "spec.json"
    told.write_text(json.dumps(spec | _ASKED.get(system, {}) | {"output": str(folder / system)}))
    python, script = sys.executable, HERE / "rivals" / "predicting.py"
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
    if system == "nnunet":
        python, script = arguments.nnunet_python, HERE / "rivals" / "nnunet" / "predicting.py"
        environment.pop("PYTHONPATH", None)
        for part in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            environment[part] = str(folder)
    done = subprocess.run(
        [python, script, what, told], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        sys.exit(f"{system}, {what}:\n{done.stderr[-3000:]}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def agreement(spec: dict[str, Any], folder: Path, system: str) -> float | None:
    """Share of voxels, in per cent, that have nnU-Net's label."""
    same = total = 0
    for scan in map(Path, spec["scans"]):
        ours, theirs = folder / system / scan.name, folder / "nnunet" / scan.name
        if not (ours.is_file() and theirs.is_file()):
            return None
        equal = read_labels(ours).values == read_labels(theirs).values
        same, total = same + int(equal.sum()), total + equal.size
    return 100 * same / total


def table(name: str, rows: dict[str, Any], agreements: dict[str, float | None]) -> list[str]:
    """Lines of Markdown about a case."""
    lines = [f"\n## {name}\n", "| | wall s | CPU s | peak GB | labels as nnU-Net's | stages, s |"]
    lines.append("|---|---|---|---|---|---|")
    for system, runs in rows.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in _NUMBERS}
        stages = {
            stage: statistics.median(run["stages"].get(stage, 0.0) for run in runs)
            for stage in runs[0]["stages"]
        }
        told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
        if system == "bound":
            lines.append(f"| bound | | | | | {told} |")
            continue
        share = agreements.get(system)
        equal = "" if share is None else f"{share:.3f} %"
        cells = (f"{middle[key]:.2f}" for key in _NUMBERS)
        lines.append(f"| {system} ({len(runs)}) | {' | '.join(cells)} | {equal} | {told} |")
    return lines


_NUMBERS = ("wall_s", "cpu_s", "peak_gb")


def main() -> None:
    """Measure what is missing, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS[:3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=float, default=1.0, help="of scans and patches")
    parser.add_argument("--scans", type=int, default=_SCANS, help="of the hippocampus folder")
    parser.add_argument(
        "--quick", action="store_true", help="nnU-Net and medseg once, on 3 scans of hippocampus"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/inference"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cases, arguments.systems = ["hippocampus"], ["nnunet", "medseg"]
        arguments.rounds, arguments.scans = 1, 3
        arguments.runs = arguments.runs / "quick"
    arguments.runs.mkdir(parents=True, exist_ok=True)
    kept = arguments.runs / "rows.json"
    rows = json.loads(kept.read_text()) if kept.is_file() else {}
    page = []
    for name in arguments.cases:
        case = smaller(CASES[name], arguments.size)
        spec, folder = prepare(name, case, arguments), arguments.runs / name
        of_case = rows.setdefault(name, {})
        wanted = [(s, n) for n in range(arguments.rounds) for s in arguments.systems]
        for system, number in [("bound", 0), *wanted]:
            if len(of_case.setdefault(system, [])) <= number:
                what = {"nnunet": "predict"}.get(system, system.partition("-")[0])
                of_case[system].append(run(arguments, system, what, spec, folder))
                kept.write_text(json.dumps(rows, indent=1) + "\n")
        agreements = {system: agreement(spec, folder, system) for system in arguments.systems}
        page += table(name, {system: runs for system, runs in of_case.items() if runs}, agreements)
    text = "\n".join(page)
    print(text)
    if arguments.size == 1 and not arguments.quick:
        (HERE / "results" / "inference.md").write_text(text.strip() + "\n")


def smaller(case: Case, size: float) -> Case:
    """A case whose scans and patches have fewer voxels along each axis."""
    if size == 1:
        return case
    shape = tuple(max(int(n * size), 16) for n in case.shape)
    patch = tuple(max(int(n * size) // 8 * 8, 16) for n in case.patch)
    features = tuple(max(int(n * size), 4) for n in case.features[:3])
    return Case(shape, case.spacing_mm, case.target_mm, patch, features, case.classes)


if __name__ == "__main__":
    main()
