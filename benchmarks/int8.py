"""What 8-bit integers would bring: the shipped hippocampus model, quantised by ONNX Runtime.

    OMP_NUM_THREADS=1 python benchmarks/int8.py [--calibrate 16] [--scans 16]

Convolutions are quantised after the training on tiles of some scans (static, weights by channel,
as NNCF and ONNX Runtime do by default), OpenVINO runs the file, and labels of other scans are
compared with those in float32, among the voxels that have a label in either. Needs
../shared/data/hippocampus, openvino and onnxruntime. Prints its table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from backends import SCANS, middle

from medseg.inference.backends import openvino
from medseg.model_package import export_model, find_package
from medseg.preprocessing import prepare_image
from medseg.reading import read_scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibrate", type=int, default=16)
    parser.add_argument("--scans", type=int, default=16)
    arguments = parser.parse_args()
    package = find_package("hippocampus-mr")
    plan = package.manifest.plan
    files = sorted(SCANS.glob("images/*.nii.gz"))[: arguments.calibrate + arguments.scans]
    tiles = [middle(prepare_image(read_scan(file), plan)[0], plan.patch)[None] for file in files]
    seen, others = tiles[: arguments.calibrate], tiles[arguments.calibrate :]
    size = tuple(tiles[0].shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        exact, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        export_model(package, exact, check=False)
        quantise(exact, small, seen)
        runners = {
            "float32": openvino.Runner(exact, size, half=False),
            "bfloat16": openvino.Runner(exact, size, half=True),
            "int8": openvino.Runner(small, size, half=False),
        }
        compare(runners, others)


def quantise(exact: Path, small: Path, tiles: list[torch.Tensor]) -> None:
    """Write the file with its convolutions in 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Tiles(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(tiles)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """The next tile."""
            tile = next(self.rest, None)
            return None if tile is None else {"image": tile.numpy()}

    quantize_static(
        exact,
        small,
        Tiles(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "ConvTranspose"],
        per_channel=True,
    )


def compare(runners: dict[str, openvino.Runner], tiles: list[torch.Tensor]) -> None:
    """Seconds of the processor in turn, and labels beside those in float32."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    labels: dict[str, list[np.ndarray]] = {name: [] for name in runners}
    for tile in tiles:
        for name, runner in runners.items():
            begin = time.process_time()
            logits = runner(tile)
            seconds[name].append(time.process_time() - begin)
            labels[name].append(logits.argmax(dim=1).numpy())
    truth = np.concatenate(labels["float32"])
    print("| numbers | CPU s a tile | labels equal | of labelled voxels |\n|---|---|---|---|")
    for name, of_tiles in labels.items():
        ours = np.concatenate(of_tiles)
        labelled = (ours > 0) | (truth > 0)
        equal, share = (ours == truth).mean(), (ours == truth)[labelled].mean()
        print(f"| {name} | {statistics.median(seconds[name]):.3f} | {equal:.4%} | {share:.3%} |")


if __name__ == "__main__":
    main()
