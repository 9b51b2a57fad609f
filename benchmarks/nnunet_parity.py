"""The same labels as nnU-Net's own predictor, from the same folders.

    python benchmarks/nnunet_parity.py --nnunet-python PYTHON [--only NAME ...] [--folder FOLDER]

Models of every form that plans have (networks, norms, both generations, 2-D, cascade, regions,
several channels and folds, transposed axes, ways of resampling) are made by nnU-Net's code in its
own interpreter, which also predicts small real scans and turned ones, with mirroring, as it does
by default. medseg imports the same folders and predicts the same files. Prints a row for each model
and case, and writes results/nnunet_parity.md when all are there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rivals.nnunet_folders import SCRIPTS, environment
from rivals.parity_cases import write_cases
from rivals.parity_plans import MODELS, Model, channels_of, written

from medseg.inference import Predictor
from medseg.model_package.interop.nnunet.importing import import_nnunet
from medseg.reading import read_labels
from medseg.reading.channels import read_channels
from medseg.runtime.device import choose_device

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "nnunet_parity.md"


_TEXT = """# Labels of nnU-Net's predictor and of medseg, from the same folders

`python benchmarks/nnunet_parity.py --nnunet-python PYTHON`: small networks, taught for a few steps
to tell levels of smoothed intensities apart, so that borders of labels are everywhere. Both mirror.
Equal: voxels with nnU-Net's label, the network in single precision, as medseg takes it for these
models on a CPU; 16 bits: in bfloat16, when asked for on a machine that has it. nnU-Net's own:
voxels at which its labels stay the same when it adds tiles up in single instead of half precision.
What differs is rounding: where two labels are as likely as one another to the last bit, and with
several folds, whose sums nnU-Net rounds fold by fold, where medseg sums the mean of the folds. The
last columns are seconds from files to labels on a busy machine, and no measure of speed.

"""


@dataclass(frozen=True)
class Compared:
    """One case of one model.

    Parameters
    ----------
    model, case : str
    voxels : int
    exact : int
        Voxels whose label differs from nnU-Net's, both networks working in single precision.
    quick : int or None
        The same in bfloat16; None where this machine has none.
    own : int
        Voxels whose label differs in nnU-Net itself, when it adds tiles up in single precision.
    labels : int
        Different labels that nnU-Net found.
    identity : bool
        Whether the scan has the network's spacing already.
    nnunet_s, medseg_s : float
        From files to labels.
    """

    model: str
    case: str
    voxels: int
    exact: int
    quick: int | None
    own: int
    labels: int
    identity: bool
    nnunet_s: float
    medseg_s: float


def compare(model: Model, root: Path, cases: dict[str, list[Path]]) -> list[Compared]:
    """What medseg says of each case of a model, against nnU-Net."""
    folder = root / model.folder
    package = import_nnunet(
        folder if not model.previous else folder.parent, root / "p" / model.name
    )
    exact = Predictor.load(package, device="cpu:float32", tta=True)
    quick = None
    if choose_device("cpu").half is not None:
        quick = Predictor.load(package, device="cpu:bfloat16", tta=True)
    output = root / "labels" / model.name
    seconds = json.loads((output / "half" / "seconds.json").read_text())
    rows = []
    for name in model.cases:
        start = time.perf_counter()
        scan = read_channels(channels_of(cases[name], model))
        labels = exact.predict(scan).values
        passed = time.perf_counter() - start
        half, single = (
            read_labels(output / word / f"{name}{model.ending}", like=scan).values
            for word in ("half", "single")
        )
        differing = None
        if quick is not None:
            differing = int((quick.predict(scan).values != half).sum())
        rows.append(
            Compared(
                model.name,
                name,
                labels.size,
                int((labels != half).sum()),
                differing,
                int((half != single).sum()),
                len(np.unique(half)),
                model.identity(scan.grid.spacing_mm),
                seconds[name],
                passed,
            )
        )
    return rows


def table(rows: list[Compared]) -> str:
    """Rows of Markdown, one for each model and case."""
    lines = [
        "| model | case | labels | voxels | equal | 16 bits | nnU-Net's own | nnU-Net, s | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        same = " (its spacing)" if row.identity else ""
        counts = (row.exact, row.quick, row.own)
        equal, quick, own = (
            "" if count is None else f"{1 - count / row.voxels:.4%}" for count in counts
        )
        lines.append(
            f"| {row.model} | {row.case}{same} | {row.labels} | {row.voxels} | {equal} | {quick}"
            f" | {own} | {row.nnunet_s:.2f} | {row.medseg_s:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nnunet-python", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--folder", type=Path, help="Keep models and label maps here, and go on.")
    parser.add_argument("--quick", action="store_true", help="One case of each model.")
    parser.add_argument("--steps", type=int, default=60, help="That each network is taught.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = [model for model in MODELS if not arguments.only or model.name in arguments.only]
    wanted = {model.previous for model in models} - {""}
    models = [m for m in MODELS if m.name in wanted and m not in models] + models
    models = [
        replace(
            model,
            steps=arguments.steps,
            cases=model.cases[:1] if arguments.quick else model.cases,
        )
        for model in models
    ]
    with tempfile.TemporaryDirectory() as scratch:
        root = (arguments.folder or Path(scratch)).resolve()
        cases = write_cases(root / "cases")
        todo = [m for m in models if not (root / "labels" / m.name / "single").is_dir()]
        for model in todo:
            shutil.rmtree(root / model.folder, ignore_errors=True)
            shutil.rmtree(root / "labels" / model.name, ignore_errors=True)
        if todo:
            spec = root / "spec.json"
            spec.write_text(json.dumps(written(todo, root, cases)))
            script = SCRIPTS / "parity_models.py"
            command = [arguments.nnunet_python, script, spec]
            subprocess.run(command, check=True, env=environment(root))
        rows = []
        for model in models:
            rows += compare(model, root, cases)
            print(table(rows[-len(model.cases) :]), flush=True)
    text = table(rows)
    if not arguments.only:
        RESULTS.write_text(_TEXT + text)


if __name__ == "__main__":
    main()
