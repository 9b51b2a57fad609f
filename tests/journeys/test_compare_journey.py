"""Two models compared from files, folders and runs, and what is refused."""

import json

import numpy as np
import pytest

from medseg.volume import Grid, LabelMap, LabelTable
from medseg.writing import write_labels

NAMES = {1: "box", 2: "core"}


def scores(path, dice_of, *, core=0.5, tolerance_mm=1.0, **more):
    """A scores file of some cases; each has a true volume of 2 ml."""
    volumes = {"volume_ml": 2.0, "reference_volume_ml": 2.0}
    cases = [
        {
            "case": case,
            "labels": {
                "box": {"dice": dice, "nsd": dice, **volumes},
                "core": {"dice": core, "nsd": core, **volumes},
            },
            **more,
        }
        for case, dice in dice_of.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"tolerance_mm": tolerance_mm, "cases": cases}))
    return path


def eight(offset=0.0, step=0.0):
    return {f"c{n}": 0.8 + offset + step * n for n in range(8)}


def test_a_better_model_is_told_in_a_sentence(run, tmp_path):
    """Differences 0.05 to 0.12: mean 0.085, over two labels half of it; 8 like signs: 2 of 2^8."""
    a, b = scores(tmp_path / "one.json", eight()), scores(tmp_path / "two.json", eight(0.05, 0.01))
    result = run("compare", a, b, "--output", tmp_path / "out.json", "--measure", "dice")
    assert result.exit_code == 0, result.output
    assert "two is better in Dice by 0.0425 (95 % interval" in result.output
    assert "Wilcoxon p = 0.0078, n = 8 cases)." in result.output
    out = json.loads((tmp_path / "out.json").read_text())
    box = out["measures"]["dice"]["box"]
    assert box["difference"] == pytest.approx(0.085)
    assert (box["p"], box["p_holm"]) == pytest.approx((2 / 2**8, 4 / 2**8))
    assert box["low"] < 0.085 < box["high"]
    assert out["measures"]["dice"]["core"]["p"] == 1.0
    assert out["cases"] == list(eight())
    assert "two is better in Dice" in out["verdicts"]["dice"]
    turned = run("compare", b, a, "--measure", "dice").output
    assert "two is better in Dice by 0.0425 (95 % interval 0.0" in turned


def test_few_cases_show_nothing_and_it_is_said(run, tmp_path):
    five = [
        scores(tmp_path / n, dict(list(eight(o).items())[:5]))
        for n, o in (("a.json", 0), ("b.json", 0.1))
    ]
    told = run("compare", *five).output
    assert "No difference shown in Dice: b less a is +0.0500" in told
    assert "With fewer than 6 cases that differ no p can fall below 0.05" in told
    same = run("compare", five[0], five[0]).output
    assert "No difference shown in Dice: a (B) less a (A) is +0.0000" in same
    assert "5 without a difference" in same


def test_runs_are_compared_by_their_held_out_cases_and_the_rest_is_named(run, tmp_path):
    scores(tmp_path / "first" / "held_out" / "scores.json", eight() | {"only": 0.5})
    scores(tmp_path / "second" / "out_of_fold" / "scores.json", eight(0.1) | {"more": 0.5})
    told = run("compare", tmp_path / "first", tmp_path / "second").output
    assert "Left out, only in first: only" in told
    assert "Left out, only in second: more" in told
    assert "second is better in Dice" in told
    assert "second is better in surface Dice" in told


def test_cases_of_one_patient_count_once(run, tmp_path):
    a = scores(tmp_path / "a.json", eight(), patient="c0")
    b = scores(tmp_path / "b.json", eight(0.1), patient="c0")
    assert "n = 1 patients" in run("compare", a, b).output


def test_another_tolerance_leaves_the_surface_dice_out(run, tmp_path):
    a, b = (
        scores(tmp_path / "a.json", eight()),
        scores(tmp_path / "b.json", eight(), tolerance_mm=2.0),
    )
    told = run("compare", a, b).output
    assert "its tolerance is 1.0 in a and 2.0 in b" in told
    assert "in surface Dice" not in told


def test_label_maps_are_measured_first(run, tmp_path):
    """Of blocks of 8 and 4 voxels, A is a voxel off: Dice 7/8 and 3/4."""
    for folder, shift in (("truth", 0), ("a", 1), ("b", 0)):
        values = np.zeros((30, 6, 6), np.uint8)
        values[2 + shift : 10 + shift], values[18 + shift : 22 + shift] = 1, 2
        (tmp_path / folder).mkdir()
        for case in range(6):
            grid = Grid(values.shape, np.eye(4))
            labels = LabelMap(values, grid, LabelTable.of(NAMES))
            write_labels(labels, tmp_path / folder / f"c{case}.nii.gz")
    maps = (tmp_path / "a", tmp_path / "b", "--truth", tmp_path / "truth")
    told = run("compare", *maps).output
    assert "b is better in Dice by 0.1875" in told
    assert "b is better in HD95 by 1.000 mm (95 % interval 1.000 to 1.000" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"cases": [{"case": "c0", "labels": {"box": {"dice": NaN}}}]}', "dice of label 'box'"),
        ('{"cases": [{"case": "c0", "labels": {}}, {"case": "c0", "labels": {}}]}', "'c0' twice"),
        ('{"mean": {}}', "no scores file of medseg"),
        ('{"cases": [{"case": "x", "labels": {"box": {"dice": 1}}}]}', "share no case"),
        ('{"cases": []}', "share no case"),
        ('{"cases": [{"case": "c0", "labels": {"rim": {"dice": 1}}}]}', "share no label"),
        (
            '{"cases": [{"case": "c0", "labels": {"box": {"dice": 1, "reference_volume_ml": 3}}}]}',
            "measured against different truths: label 'box' of case 'c0'",
        ),
        ("[1]", "must hold a JSON object"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(run, tmp_path, content, told):
    (tmp_path / "bad.json").write_text(content)
    result = run("compare", scores(tmp_path / "a.json", eight()), tmp_path / "bad.json")
    assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_what_is_not_there_is_one_sentence(run, tmp_path):
    a = scores(tmp_path / "a.json", eight())
    for words, told in (
        ((a, tmp_path / "none"), "there is no"),
        ((a, tmp_path), "holds no scores of held-out cases"),
        ((a, a, "--measure", "luck"), "there is no 'luck' to compare"),
        ((a, a, "--missing", "worst"), None),
    ):
        result = run("compare", *words)
        assert result.exit_code == (2 if told else 0)
        assert told is None or told in result.stderr
