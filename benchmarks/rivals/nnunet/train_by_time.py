"""Train nnU-Net for a wall-clock budget and predict; run by nnU-Net's interpreter.

    BUDGET_SECONDS=600 python train_by_time.py DATASET CONFIGURATION FOLD DEVICE IMAGES OUTPUT

Writes the label maps and ``training.json`` (iterations, seconds, patch, batch) to OUTPUT. The
folders are those of nnU-Net's environment variables.
"""

import json
import sys
from pathlib import Path

import torch
from by_time import trainer_of
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


def main():
    dataset, configuration, fold, device, images, output = sys.argv[1:]
    kind = torch.device(device)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer = trainer_of(dataset, configuration, fold, device)
    trainer.run_training()
    predictor = nnUNetPredictor(
        use_mirroring=True,
        perform_everything_on_device=device == "cuda",
        device=kind,
        allow_tqdm=False,
    )
    network = getattr(trainer.network, "_orig_mod", trainer.network)
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    network.eval()
    trainer.set_deep_supervision_enabled(False)
    Path(output).mkdir(parents=True, exist_ok=True)
    predictor.predict_from_files_sequential(
        [[str(path)] for path in sorted(Path(images).glob("*_0000.nii.gz"))],
        output,
        save_probabilities=False,
        overwrite=True,
    )
    facts = {
        "iterations": trainer.iterations,
        "seconds": trainer.seconds,
        "patch": [int(n) for n in trainer.configuration_manager.patch_size],
        "batch": trainer.batch_size,
        "nnunet": __import__("importlib.metadata").metadata.version("nnunetv2"),
        "torch": str(torch.__version__),
    }
    (Path(output) / "training.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
