"""Train a network of your own with transforms, loss and augmentation of MONAI; then use it.

python examples/own_network.py [STEPS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from monai.losses import DiceCELoss
from monai.networks.nets import AttentionUnet
from monai.transforms import RandAdjustContrastd, RandGaussianNoised, ScaleIntensity
from phantom_dataset import write_dataset

import medseg
from medseg.metrics import overlap
from medseg.phantoms import ABDOMEN_LABELS
from medseg.training import TrainingOptions


def main(steps: int = 200) -> float:
    """Train for so many steps; gives the Dice of the liver on a scan of the training."""
    folder = Path(tempfile.mkdtemp(prefix="medseg-example-"))
    dataset = write_dataset(folder / "dataset")
    transforms = ScaleIntensity()  # on whole scans, in training and in prediction alike
    model = medseg.train(
        dataset,
        folder / "run",
        options=TrainingOptions(steps=steps, learning_rate=5e-3, device="cpu"),
        network=AttentionUnet(3, 1, len(ABDOMEN_LABELS) + 1, channels=(16, 32, 64), strides=(2, 2)),
        loss=DiceCELoss(to_onehot_y=True, softmax=True),
        transforms=transforms,
        augmentation=[  # on training patches
            RandGaussianNoised("image", prob=0.2, std=0.05),
            RandAdjustContrastd("image", prob=0.2, gamma=(0.8, 1.2)),
        ],
        callbacks=[lambda event: event.step % 50 or print(f"{event.step}: {event.loss:.3f}")],
    )
    predictor = medseg.Predictor.load(model, device="cpu", transforms=transforms)
    scan = medseg.read_scan(dataset / "images" / "patient_0.nii.gz")
    labels = predictor.predict(scan)
    truth = medseg.read_labels(dataset / "labels" / "patient_0.nii.gz")
    dice = float(overlap(labels, truth)["liver"].dice)
    print(f"The model is in {model}; Dice of the liver: {dice:.3f}")
    return dice


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
