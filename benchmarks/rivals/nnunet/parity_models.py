"""Small models by nnU-Net's own code, and what its predictor says; run by nnU-Net's interpreter.

    python parity_models.py SPEC.json

For each model of the file: writes ``plans.json``, ``dataset.json`` and checkpoints as a training
does, of networks that nnU-Net's trainer builds and that are taught for a few steps to tell levels
of the smoothed first channel apart, so that labels are no noise. Then predicts its cases with
`nnUNetPredictor` as it is, and with sums of tiles in single precision instead of half.
"""

import inspect
import json
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

TRAINER_MODULE = "nnunetv2.training.nnUNetTrainer"
TRAINERS = Path(predict_from_raw_data.__file__).parents[1] / "training" / "nnUNetTrainer"
SMOOTHING = 5


def _in_single(name):
    """A method of nnU-Net's predictor with another number format in its source."""
    source = textwrap.dedent(inspect.getsource(getattr(nnUNetPredictor, name)))
    names = {}
    exec(source.replace("torch.half", "torch.float32"), vars(predict_from_raw_data), names)
    return names[name]


_SUMMING = "_internal_predict_sliding_window_return_logits"
SinglePredictor = type("SinglePredictor", (nnUNetPredictor,), {_SUMMING: _in_single(_SUMMING)})


class Levels:
    """What the networks are taught: which of some equal shares a smoothed intensity lies in."""

    def __init__(self, heads, *, regions):
        self.regions = regions
        self.edges = torch.linspace(0, 1, heads + (2 if regions else 1))[1:-1]

    def target(self, image):
        """Level of each voxel of (B, C, ...)."""
        pool = torch.nn.functional.avg_pool2d if image.ndim == 4 else torch.nn.functional.avg_pool3d
        sizes = [min(SMOOTHING, n // 2 * 2 - 1) for n in image.shape[2:]]
        smooth = pool(image[:, :1], sizes, 1, [n // 2 for n in sizes], count_include_pad=False)
        return torch.bucketize(smooth[:, 0], torch.quantile(smooth.flatten()[:500_000], self.edges))

    def loss(self, logits, image):
        """Cross-entropy of the levels, or of each region that holds a level and those above."""
        level = self.target(image)
        if not self.regions:
            return torch.nn.functional.cross_entropy(logits, level)
        inside = [level > row for row in range(logits.shape[1])]
        wanted = torch.stack(inside, 1).float()
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)


def teach(network, cases, patch, levels, *, labels, steps, seed):
    """Some steps of Adam on patches of prepared cases."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for _ in range(steps):
        image = torch.stack([_patch(cases[draw.integers(len(cases))], patch, draw)] * 2)
        image[1] += 0.1 * torch.randn_like(image[1])
        if labels:
            level = levels.target(image)
            masks = [(level == row + 1).float() for row in range(labels)]
            image = torch.cat((image, torch.stack(masks, 1)), 1)
        optimiser.zero_grad()
        levels.loss(network(image), image).backward()
        optimiser.step()
    return network.eval()


def _patch(data, patch, draw):
    """A patch of (C, ...), padded with 0 where the case is smaller."""
    data = torch.from_numpy(data)
    if len(patch) == 2:
        data = data[:, draw.integers(data.shape[1])]
    for axis, size in enumerate(patch, 1):
        first = int(draw.integers(max(data.shape[axis] - size, 0) + 1))
        data = data.narrow(axis, first, min(size, data.shape[axis]))
    missing = [n for axis, size in enumerate(patch, 1) for n in (size - data.shape[axis], 0)]
    return torch.nn.functional.pad(data, missing[::-1])


def make(model, cases):
    """Write a model's folder."""
    folder = Path(model["folder"])
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(model["plans"]))
    (folder / "dataset.json").write_text(json.dumps(model["dataset"]))
    plans = PlansManager(model["plans"])
    configuration = plans.get_configuration(model["configuration"])
    labels = plans.get_label_manager(model["dataset"])
    inputs = determine_num_input_channels(plans, configuration, model["dataset"])
    images = len(model["dataset"]["channel_names"])
    trainer = recursive_find_python_class(str(TRAINERS), model["trainer"], TRAINER_MODULE)
    preprocessor = configuration.preprocessor_class(verbose=False)
    prepared = [
        preprocessor.run_case(cases[name], None, plans, configuration, model["dataset"])[0]
        for name in model["cases"]
    ]
    heads = labels.num_segmentation_heads
    for fold in model["folds"]:
        torch.manual_seed(int(fold) if fold != "all" else 9)
        network = trainer.build_network_architecture(
            plans, configuration, inputs, heads, enable_deep_supervision=False
        )
        teach(
            network,
            prepared,
            configuration.patch_size,
            Levels(heads, regions=labels.has_regions),
            labels=inputs - images,
            steps=model["steps"],
            seed=int(fold) if fold != "all" else 9,
        )
        place = folder / f"fold_{fold}"
        place.mkdir()
        content = {
            "network_weights": network.state_dict(),
            "trainer_name": model["trainer"],
            "init_args": {"configuration": model["configuration"], "fold": fold},
            "inference_allowed_mirroring_axes": model["mirror_axes"],
        }
        torch.save(content, place / "checkpoint_final.pth")


def predict(model, cases, kind, word):
    """Label maps of one predictor, and seconds for each case."""
    output = Path(model["output"]) / word
    output.mkdir(parents=True)
    predictor = kind(use_mirroring=True, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(model["folder"], model["folds"])
    previous = model["previous"] and str(Path(model["previous"]) / word)
    seconds = {}
    for name in model["cases"]:
        start = time.perf_counter()
        predictor.predict_from_files_sequential(
            [cases[name]], [str(output / name)], folder_with_segs_from_prev_stage=previous
        )
        seconds[name] = time.perf_counter() - start
    (output / "seconds.json").write_text(json.dumps(seconds))


def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    for model in spec["models"]:
        print("model", model["name"], flush=True)
        make(model, model["cases"])
        predict(model, model["cases"], nnUNetPredictor, "half")
        predict(model, model["cases"], SinglePredictor, "single")


if __name__ == "__main__":
    main()
