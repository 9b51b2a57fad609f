"""Seconds, memory and labels of one tile on every backend that is installed.

    OMP_NUM_THREADS=1 python benchmarks/backends.py [--rounds 5] [--only WORD] [--patch 128]

Networks: the shipped hippocampus model on real scans (../shared/data, a phantom without them), and
with random weights a 3-D and a 2-D U-Net of 25 classes as nnU-Net plans them. Each backend runs in
a process of its own; they take turns, and medians are compared, in wall-clock seconds and in
seconds of the processor. The bound is the arithmetic of the convolutions over what a product of
two matrices of 2048 x 2048 reaches here in the same numbers. Labels are compared with torch's in
float32, and peak memory is above that of a process that has loaded no model. Writes
results/backends.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from medseg.inference.backends import Compilation, on_backend
from medseg.inference.backends.choice import installed
from medseg.model_package import Manifest, ModelPackage, find_package, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.phantoms import abdominal_ct
from medseg.planning import Component, Normalisation, Plan
from medseg.preprocessing import prepare_image
from medseg.reading import read_scan
from medseg.runtime.cache_folder import VARIABLE
from medseg.runtime.device import choose_device
from medseg.runtime.processor import processor_name
from medseg.volume import Grid, LabelTable

HERE = Path(__file__).resolve().parent
SCANS = HERE.parents[1] / "shared" / "data" / "hippocampus"
CLASSES = 25
PROCESSES = multiprocessing.get_context("fork")
RULE = Normalisation(scheme="clip_zscore", low=-200, high=300, std=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--patch", type=int, default=128)
    arguments = parser.parse_args()
    device = choose_device("cpu")
    rates = {"float32": gemm(torch.float32)}
    if device.half is not None:
        rates["bfloat16"] = gemm(device.half)
    lines = head(device.description)
    lines += [f"- {name}: {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()]
    with tempfile.TemporaryDirectory() as scratch:
        for name, make in networks(arguments.patch).items():
            if arguments.only in name:
                folder = Path(scratch) / str(len(lines))
                folder.mkdir()
                lines += table(name, make(folder), rates, arguments.rounds)
                print("\n".join(lines), flush=True)
    (HERE / "results" / "backends.md").write_text("\n".join(lines) + "\n", "utf-8")


def head(device: str) -> list[str]:
    versions = ", ".join(f"{n} {metadata.version(n)}" for n in ("torch", *installed()))
    command = " ".join(["benchmarks/backends.py", *sys.argv[1:]])
    machine = f"{processor_name()} ({platform.machine()}), {device}; {versions}"
    rates = "Product of two matrices, in seconds of the processor:"
    return ["# Backends: one tile", "", f"`python {command}` on {machine}.", "", rates, ""]


def networks(size: int) -> dict[str, object]:
    deep = (32, 64, 128, 256, 320, 320)
    flat = (32, 64, 128, 256, 512, 512, 512)
    return {
        "hippocampus-mr": hippocampus,
        f"U-Net 3-D, {size} x {size} x {size}, {CLASSES} classes": lambda folder: untrained(
            folder, (size,) * 3, deep, 3
        ),
        f"U-Net 2-D, 512 x 512, {CLASSES} classes": lambda folder: untrained(
            folder, (512, 512, 1), flat, 2
        ),
    }


def hippocampus(folder: Path) -> Path:
    """The shipped model, and tiles from the middle of eight scans."""
    package = find_package("hippocampus-mr")
    files = sorted(SCANS.glob("images/*.nii.gz"))[:8]
    scans = [read_scan(file) for file in files] or [abdominal_ct(1)[0]]
    plan = package.manifest.plan
    tiles = [middle(prepare_image(scan, plan)[0], plan.patch) for scan in scans]
    return laid(folder, package, torch.stack(tiles))


def untrained(folder: Path, patch: tuple[int, ...], features: tuple[int, ...], axes: int) -> Path:
    """A U-Net with random weights, and a tile of the abdominal phantom."""
    torch.manual_seed(0)
    strides = [[1] * axes] + [[2] * axes] * (len(features) - 1)
    settings = {"features": features, "strides": strides, "kernels": [[3] * axes] * len(features)}
    plan = Plan(
        spacing_mm=(2.5, 2.5, 2.5),
        channels=("CT",),
        normalisation=(RULE,),
        patch=patch,
        batch=1,
        plane="axial" if axes == 2 else None,
        network=Component(name="unet", settings=settings),
    )
    labels = LabelTable.of({value: f"label {value}" for value in range(1, CLASSES)})
    manifest = Manifest(name="untrained", plan=plan, labels=labels, weights=UNSAVED)
    package = save_package(folder / "model", manifest, build_network(plan, classes=CLASSES))
    spacing = 320 / patch[0]
    grid = Grid(patch, np.diag([-spacing, -spacing, 2.5, 1.0]))
    return laid(folder, package, prepare_image(abdominal_ct(1, grid)[0], plan)[0][None], patch)


def laid(
    folder: Path, package: ModelPackage, tiles: torch.Tensor, patch: tuple[int, ...] | None = None
) -> Path:
    """Put what the processes need into a folder."""
    if patch is not None:
        tiles = torch.stack([middle(tile, patch) for tile in tiles])
    np.save(folder / "tiles.npy", tiles.numpy())
    (folder / "package").write_text(str(package.folder), "utf-8")
    return folder


def middle(image_CIJK: torch.Tensor, patch: tuple[int, ...]) -> torch.Tensor:
    """A tile from the middle, padded where the image is smaller."""
    for axis, size in enumerate(patch, start=1):
        extent = image_CIJK.shape[axis]
        if extent >= size:
            image_CIJK = image_CIJK.narrow(axis, (extent - size) // 2, size)
        else:
            missing = [0] * 6
            missing[2 * (3 - axis) + 1] = size - extent
            image_CIJK = torch.nn.functional.pad(image_CIJK, missing)
    return image_CIJK


def table(name: str, folder: Path, rates: dict[str, float], rounds: int) -> list[str]:
    """Run every backend in turn; its rows."""
    ways = [(backend, n) for backend in ("torch", *installed()) for n in rates]
    ways = [way for way in ways if way != ("onnxruntime", "bfloat16")]  # it has none on a CPU
    first = {}
    for (
        way
    ) in ways:  # once, so that what is written and compiled counts for neither memory nor time
        child = Child(folder, *way)
        first[way] = child.start_s
        child.end()
    children = {way: Child(folder, *way) for way in ways}
    for _ in range(rounds):
        for child in children.values():
            child.run()
    truth = np.load(folder / "torch-float32.npy")
    flops = json.loads((folder / "flops.json").read_text("utf-8"))
    titles = (
        "backend, numbers, s, CPU s, bound CPU s, of the bound, labels equal, MB, first start s"
    )
    lines = ["", f"## {name}", "", f"{flops / 1e9:.0f} GFLOP a tile.", ""]
    lines += [f"| {titles.replace(', ', ' | ')} | again s |", "|---" * 10 + "|"]
    for way, child in children.items():
        equal = (np.load(folder / f"{'-'.join(way)}.npy") == truth).mean()
        wall, cpu = child.medians()
        bound = flops / rates[way[1]]
        lines.append(
            f"| {' | '.join(way)} | {wall:.3f} | {cpu:.3f} | {bound:.3f} | {bound / cpu:.0%} |"
            f" {equal:.4%} | {child.end():.0f} | {first[way]:.1f} | {child.start_s:.1f} |"
        )
    return lines


class Child:
    """A process with a loaded model."""

    def __init__(self, folder: Path, backend: str, number_format: str) -> None:
        self.pipe, there = PROCESSES.Pipe()
        arguments = (there, folder, backend, number_format)
        self.process = PROCESSES.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        there.close()
        self.seconds: list[tuple[float, float]] = []
        self.start_s: float = self.pipe.recv()

    def run(self) -> None:
        """One tile, measured."""
        self.pipe.send("run")
        self.seconds.append(self.pipe.recv())

    def medians(self) -> tuple[float, float]:
        """Of wall-clock and processor seconds."""
        walls, cpus = zip(*self.seconds, strict=True)
        return statistics.median(walls), statistics.median(cpus)

    def end(self) -> float:
        """Megabytes at most."""
        self.pipe.send("end")
        megabytes: float = self.pipe.recv()
        self.process.join()
        return megabytes


def serve(pipe: Connection, folder: Path, backend: str, number_format: str) -> None:
    """Load, then run a tile as often as asked."""
    os.environ[VARIABLE] = str(folder / f"cache-{backend}-{number_format}")
    device = choose_device("cpu")
    if number_format == "float32":
        device = replace(device, half=None)
    tiles = torch.from_numpy(np.load(folder / "tiles.npy"))
    before, begin = peak_mb(), time.perf_counter()
    package = ModelPackage.open(Path((folder / "package").read_text("utf-8")))
    network = on_backend(Compilation(package, package.load_network(), device), backend)
    start_s = time.perf_counter() - begin
    with torch.inference_mode(), device.autocast():
        keep(folder, f"{backend}-{number_format}", network, tiles)
        pipe.send(start_s)
        while pipe.recv() == "run":
            wall, cpu = time.perf_counter(), time.process_time()
            network(tiles[:1].to(memory_format=torch.channels_last_3d))
            pipe.send((time.perf_counter() - wall, time.process_time() - cpu))
    pipe.send(peak_mb() - before)


def keep(folder: Path, name: str, network: torch.nn.Module, tiles: torch.Tensor) -> None:
    """Write the labels, and once the arithmetic of a tile."""
    labels = [network(tile[None]).argmax(dim=1).numpy() for tile in tiles]
    np.save(folder / f"{name}.npy", np.concatenate(labels).astype(np.uint8))
    if name == "torch-float32":
        with FlopCounterMode(display=False) as counter:
            network(tiles[:1])
        (folder / "flops.json").write_text(json.dumps(counter.get_total_flops()), "utf-8")


def peak_mb() -> float:
    """Most memory that this process has held."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def gemm(dtype: torch.dtype) -> float:
    """Operations in a second of the processor, the best of several products."""
    size = 2048
    left, right = torch.randn(2, size, size).to(dtype)
    seconds = []
    for _ in range(6):
        begin = time.process_time()
        left @ right
        seconds.append(time.process_time() - begin)
    return 2 * size**3 / min(seconds[1:])


if __name__ == "__main__":
    main()
