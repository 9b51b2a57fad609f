import json
import re

import pytest

from medseg.phantoms.dicom_archive import PatientRecipe, SeriesRecipe, ct_grid
from medseg.reading import read_labels
from medseg.training.history import read_history
from medseg.volume.label_table import MEAN
from medseg_pipelines import demo, demo_training


@pytest.fixture
def small(monkeypatch):
    """Four small patients, the last with two series and a scout, and a network of no ambition."""

    def patients(count):
        grid = ct_grid(shape=(26, 18, 16), spacing_mm=(13.0, 13.5, 15.0), turn_degrees=(0, 4, 0))
        one = SeriesRecipe("one", grid)
        plain = [PatientRecipe(number, (one,)) for number in range(1, count)]
        return (*plain, PatientRecipe(count, (one, one), scout=True))

    monkeypatch.setattr(demo, "demo_patients", patients)
    monkeypatch.setattr(demo, "PATIENTS", 4)
    monkeypatch.setattr(demo, "HELD_OUT", 2)
    monkeypatch.setattr(demo_training, "FEATURES", (4, 8))


@pytest.mark.slow
def test_the_whole_way_leaves_everything_in_its_place_even_on_a_miss(run, small, tmp_path):
    output = tmp_path / "demo"
    result = run("demo", "--output", output, "--no-view", "--steps", 2, "--device", "cpu")
    assert result.exit_code == 1, result.output
    assert "below 0.93 after the last step" in result.output
    assert "BELOW the 0.90 expected, after 2 steps; run it again with --steps 300" in result.output
    maps = sorted((output / "compared").iterdir())
    assert len(maps) == 3
    assert len(list((output / "results").rglob("labels.nii.gz"))) == 3
    assert len(list((output / "results").rglob("seg.dcm"))) == 3
    names = {row["case"] for row in json.loads((output / "scores.json").read_text())["cases"]}
    assert names == {path.name.removesuffix(".nii.gz") for path in maps}
    assert (output / "run" / "model" / "manifest.json").is_file()
    assert "FEW_SLICES" in (output / "results" / "summary.csv").read_text()
    html = (output / "report.html").read_text()
    assert len(re.findall("data:image/png", html)) == 4
    for path in maps:
        assert read_labels(output / "truth" / path.name).grid.same_as(read_labels(path).grid)


@pytest.mark.slow
def test_it_trains_until_the_validation_patient_is_found_well(run, small, tmp_path, monkeypatch):
    scores = iter((0.5, 0.94))
    monkeypatch.setattr("medseg.training.run.mean_dice", lambda *_, **__: {MEAN: next(scores)})
    monkeypatch.setattr(demo_training, "STEPS_BETWEEN_VALIDATIONS", 1)
    monkeypatch.setattr(demo, "EXPECTED_DICE", 0.0)
    output = tmp_path / "demo"
    result = run("demo", "--output", output, "--no-view", "--steps", 3, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert (
        "step 1: Dice of the validation patient 0.500, waiting for 0.93, or step 3" in result.output
    )
    assert "step 2: Dice of the validation patient 0.940, which is enough" in result.output
    assert read_history(output / "run")[-1]["step"] == 2


def test_a_folder_of_somebody_else_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = run("demo", "--output", tmp_path, "--no-view")
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_the_demo_reaches_its_dice(run, tmp_path):
    result = run("demo", "--output", tmp_path / "demo", "--no-view")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "demo" / "scores.json").read_text())
    assert scores["mean"]["foreground"]["dice"] >= 0.90
