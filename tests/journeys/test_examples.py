"""The examples run as they are, the notebook's cells too; only the training is shorter."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "medseg_and_monai.ipynb"


@pytest.fixture(autouse=True)
def beside(monkeypatch, tmp_path):
    """Examples find one another, and leave nothing behind."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mpl.use("agg")


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_and_used(capsys):
    assert 0 <= example("own_network").main(steps=2) <= 1
    assert "Dice of the liver" in capsys.readouterr().out


def test_labels_of_a_monai_pipeline_lie_on_the_series(capsys):
    assert example("exact_dicom_in_monai").main().is_file()
    assert "lies on the slices of the series: True" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_is_taken_into_monai(capsys):
    pytest.importorskip("ignite", reason="MONAI's evaluator needs the package pytorch-ignite")
    bundle = example("model_to_monai").main()
    assert (bundle / "configs" / "inference.json").is_file()
    share = float(capsys.readouterr().out.split("gives ")[1].split("%")[0])
    assert share > 99


def cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["source"]]


@pytest.mark.slow
def test_the_notebook_was_executed_and_its_cells_still_run():
    names = {"__name__": "notebook"}
    pytest.importorskip("ignite", reason="MONAI's evaluator needs the package pytorch-ignite")
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["execution_count"]
            code = "".join(cell["source"]).replace("steps=300", "steps=2")
            exec(compile(code, str(NOTEBOOK), "exec"), names)
    shown = [output for cell in cells() for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not [output for output in shown if output["output_type"] == "error"]
    assert tuple(names["classes"].shape) == (1, 1, 40, 48, 40)
    sys.modules.pop("phantom_dataset", None)


def test_arrays_go_in_and_come_out(capsys):
    scores = example("numpy_arrays").main(steps=2)
    assert set(scores) == {"ball", "core"}
    assert "core: Dice" in capsys.readouterr().out
