"""A model of random weights by nnU-Net's own code, and its predictor; run by nnU-Net's interpreter.

    python predicting.py make SPEC.json
    python predicting.py predict SPEC.json

`make` writes a folder as a training leaves it. `predict` segments the scans of SPEC and prints a
line of JSON: seconds of each stage, CPU seconds and peak memory.
"""

import json
import resource
import sys
import time
from pathlib import Path

START = time.perf_counter()

import torch  # noqa: E402
from nnunetv2.inference import predict_from_raw_data  # noqa: E402
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402

CONFIGURATION = "3d_fullres"


def make(spec):
    """Write the model's folder."""
    folder = Path(spec["model"])
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(spec["plans"]))
    (folder / "dataset.json").write_text(json.dumps(spec["dataset"]))
    plans = PlansManager(spec["plans"])
    configuration = plans.get_configuration(CONFIGURATION)
    heads = plans.get_label_manager(spec["dataset"]).num_segmentation_heads
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        plans, configuration, 1, heads, enable_deep_supervision=False
    )
    content = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION, "fold": 0},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")


def predict(spec):
    """Segment the scans and print what it took."""
    stages = {"import": time.perf_counter() - START}

    def timed(owner, name, stage):
        usual = getattr(owner, name)

        def measured(*args, **kwargs):
            start = time.perf_counter()
            result = usual(*args, **kwargs)
            stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - start
            return result

        setattr(owner, name, measured)

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    start = time.perf_counter()
    predictor.initialize_from_trained_model_folder(spec["model"], (0,))
    stages["load"] = time.perf_counter() - start
    timed(predictor.network, "forward", "network")
    timed(nnUNetPredictor, "predict_logits_from_preprocessed_data", "network and sums")
    timed(predict_from_raw_data, "export_prediction_from_logits", "back to the scan, write")
    preprocessor = predictor.configuration_manager.preprocessor_class
    timed(preprocessor, "run_case", "read and prepare")
    output = Path(spec["output"])
    output.mkdir(parents=True, exist_ok=True)
    names = [str(output / Path(scan).name.removesuffix(".nii.gz")) for scan in spec["scans"]]
    predictor.predict_from_files_sequential([[scan] for scan in spec["scans"]], names)
    used = resource.getrusage(resource.RUSAGE_SELF)
    row = {
        "stages": {name: round(seconds, 2) for name, seconds in stages.items()},
        "wall_s": round(time.perf_counter() - START, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    {"make": make, "predict": predict}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
