"""From numpy to numpy: write arrays as a dataset, train, predict labels and probabilities, score.

python examples/numpy_arrays.py [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

import medseg
from medseg.inference import Options

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])  # voxels of 2 x 2 x 3 mm, axes to right, anterior, superior
NAMES = {1: "ball", 2: "core"}


def arrays(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (float32) and labels (uint8), both of shape (I, J, K): a ball with a core, in noise."""
    rng = np.random.default_rng(seed)
    voxels_mm = np.stack(np.indices((40, 40, 24)), -1) * [2.0, 2.0, 3.0]
    distance_mm = np.linalg.norm(voxels_mm - rng.uniform(30, 45, 3), axis=-1)
    labels = (distance_mm < 20).astype(np.uint8) + (distance_mm < 10)
    return (labels * 100 + rng.normal(0, 30, labels.shape)).astype(np.float32), labels


def case(seed: int) -> tuple[medseg.Scan, medseg.LabelMap]:
    """The arrays, with what a number alone does not say: where, in mm, and which structure."""
    image, labels = arrays(seed)
    scan = medseg.Scan.from_array(image, AFFINE, modality="MR")
    return scan, medseg.LabelMap.from_array(labels, AFFINE, NAMES)


def show(done: int, total: int, message: str) -> None:
    """Progress on one line, in a terminal and in a notebook."""
    print(f"\r{message}: {done} of {total}".ljust(79), end="", flush=True)


def main(steps: int = 60) -> dict[str, float]:
    """Train for so many steps; gives the Dice of each label on a case that was not trained on."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-example-"))
    cases = {f"case_{seed}": case(seed) for seed in range(6)}
    dataset = medseg.write_dataset(folder / "dataset", cases)
    options = medseg.TrainingOptions(steps=steps, learning_rate=5e-3, device="cpu")
    model = medseg.train(dataset, folder / "run", options=options, progress=show)

    predictor = medseg.Predictor.load(model, device="cpu")
    scan, truth = case(100)
    prediction = predictor.run(scan, Options(probability_of="core"))
    labels = prediction.labels.values  # uint8 (I, J, K), on the voxels of the array
    probability = prediction.probability.voxels[0] / 100  # the same shape, 0 to 1
    print(f"\n{(labels == 2).sum()} voxels of core, where it is {probability.max():.0%} at most.")

    scores = medseg.evaluate(prediction.labels, truth)
    for name, score in scores.items():
        print(f"{name}: Dice {score['dice']:.3f}, HD95 {score['hd95_mm']} mm")
    return {name: score["dice"] for name, score in scores.items()}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
