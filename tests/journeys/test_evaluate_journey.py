import json
from dataclasses import replace

import pytest

from medseg.volume import LabelMap
from medseg.writing import write_labels


@pytest.fixture
def folders(tmp_path, phantom):
    truth = phantom[1]
    worse = truth.values.copy()
    worse[worse == 2] = 0
    for name in ("truth", "predicted"):
        (tmp_path / name).mkdir()
    for case in ("a", "b"):
        write_labels(truth, tmp_path / "truth" / f"{case}.nii.gz")
    write_labels(truth, tmp_path / "predicted" / "a.nii.gz")
    write_labels(replace(truth, values=worse), tmp_path / "predicted" / "b.nii.gz")
    return tmp_path / "predicted", tmp_path / "truth"


@pytest.fixture
def names(tmp_path, phantom):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({str(one.value): one.name for one in phantom[1].table}))
    return path


def test_scores_have_the_agreed_shape(run, folders, names, tmp_path):
    output = tmp_path / "scores.json"
    result = run("evaluate", *folders, "--output", output, "--labels", names)
    assert result.exit_code == 0, result.output
    scores = json.loads(output.read_text())
    assert set(scores) == {"cases", "mean"}
    assert [row["case"] for row in scores["cases"]] == ["a", "b"]
    assert scores["cases"][0]["labels"]["liver"]["dice"] == 1.0
    assert scores["mean"]["spleen"]["dice"] == 0.5
    assert scores["mean"]["foreground"]["dice"] == pytest.approx((5 + 0.5) / 6)
    assert "0.500" in result.output


def test_a_label_empty_in_both_is_null(run, names, phantom, tmp_path):
    truth = phantom[1]
    values = truth.values.copy()
    values[values == 3] = 0
    for name in ("p", "t"):
        write_labels(LabelMap(values, truth.grid, truth.table), tmp_path / f"{name}.nii.gz")
    output = tmp_path / "s.json"
    pair = (tmp_path / "p.nii.gz", tmp_path / "t.nii.gz")
    assert run("evaluate", *pair, "--output", output, "--labels", names).exit_code == 0
    scores = json.loads(output.read_text())
    assert scores["cases"][0]["labels"]["left_kidney"]["dice"] is None
    assert scores["mean"]["left_kidney"]["dice"] is None
    assert scores["mean"]["foreground"]["dice"] == 1.0


def test_missing_predictions_are_named(run, folders, names, tmp_path):
    (folders[0] / "b.nii.gz").unlink()
    output = tmp_path / "scores.json"
    arguments = ("evaluate", *folders, "--output", output, "--labels", names)
    result = run(*arguments)
    assert result.exit_code == 2
    assert " b;" in result.stderr
    assert not output.exists()
    assert run(*arguments, "--subset").exit_code == 0
    assert [row["case"] for row in json.loads(output.read_text())["cases"]] == ["a"]


@pytest.mark.parametrize(
    "content",
    [{"liver": 1, "spleen": 2}, {"labels": {"background": 0, "liver": 1}}, {"1": "liver"}],
)
def test_label_names_come_in_the_usual_forms(tmp_path, content):
    from medseg_pipelines.evaluate import named_labels

    path = tmp_path / "names.json"
    path.write_text(json.dumps(content))
    table = named_labels(path)
    assert table is not None
    assert table.names[0] == "liver"
    assert table.values[0] == 1


def test_label_names_come_from_a_model(run, folders, model, tmp_path):
    output = tmp_path / "scores.json"
    assert run("evaluate", *folders, "--output", output, "--model", model).exit_code == 0
    assert "aorta" in json.loads(output.read_text())["mean"]
