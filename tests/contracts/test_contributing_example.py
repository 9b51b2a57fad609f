"""The network of CONTRIBUTING, as it stands there: a file of the tree, and a package outside."""

import importlib
import re
import sys

import pytest

from architecture.house import ROOT
from medseg import networks
from medseg.inference import Predictor
from medseg.planning import Budget
from medseg.reading import read_scan
from medseg.training import TrainingOptions, train
from sample_package import importable, lay_distribution
from toy_dataset import write_toy

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
(CODE,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
(TOML,) = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def stack_runs(tmp_path, monkeypatch):
    """Plan, train, pack and use the network `stack`."""
    small = Budget(voxels=16_000, features=4, most_features=8)
    monkeypatch.setattr("medseg.training.plan_for_run.CPU_BUDGET", small)
    toy = write_toy(tmp_path / "toy", cases=2)

    def run():
        options = TrainingOptions(steps=1, validations=0, device="cpu", network="stack")
        folder = train(toy, tmp_path / "run", options=options)
        predictor = Predictor.load(folder, device="cpu")
        plan = predictor.plan
        assert plan.network.settings.keys() == {"features", "strides", "kernels"}
        scan = read_scan(toy / "images" / "c0.nii.gz")
        assert predictor.predict(scan).grid.same_as(scan.grid)

    return run


def test_as_a_file_of_the_tree(tmp_path, monkeypatch, stack_runs):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "stack.py").write_text(CODE)
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path / "tree")])
    importlib.invalidate_caches()
    stack_runs()
    sys.modules.pop("medseg.networks.stack")


def test_as_a_package_outside(tmp_path, stack_runs):
    site = tmp_path / "site"
    (site / "your_package").mkdir(parents=True)
    (site / "your_package" / "__init__.py").touch()
    (site / "your_package" / "stack.py").write_text(CODE)
    lay_distribution(
        site, "your-package", TOML.replace("project.entry-points.", "").replace('"', "")
    )
    with importable(site):
        stack_runs()
    sys.modules.pop("your_package.stack")
