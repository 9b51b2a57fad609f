import json
import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from dicom_phantom import Series, random_stored
from medseg.model_package import Manifest, save_package
from medseg.model_package.package import UNSAVED
from medseg.networks import build_network
from medseg.planning import Component, Normalisation, Plan
from medseg.reading import read_scan
from medseg.volume import Grid, LabelMap, LabelTable
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
    told = {"statistics", "intervals", "rules"}
    assert set(scores) == {"tolerance_mm", "cases", "mean", "mean_over_labels", *told}
    assert scores["tolerance_mm"] == 1.0
    volumes = {"volume_error_ml", "volume_error_relative"}
    assert set(scores["mean"]["liver"]) == {"dice", "iou", "hd95_mm", "assd_mm", "nsd", *volumes}
    assert [row["case"] for row in scores["cases"]] == ["a", "b"]
    assert scores["cases"][0]["labels"]["liver"]["dice"] == 1.0
    assert scores["mean"]["spleen"]["dice"] == 0.5
    assert scores["mean_over_labels"]["dice"] == pytest.approx((5 + 0.5) / 6)
    assert scores["mean"]["foreground"] == scores["mean_over_labels"]
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


SPACING_MM = 1.5
REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "core": 2},
    "regions_class_order": [1, 2],
}


def balls(outer_mm, core_mm):
    """A ball of value 1 whose core has value 2, as a label map of the parts."""
    place = (np.indices((40, 40, 40)).T - 19.5) * SPACING_MM
    radius_mm = np.sqrt((place**2).sum(-1))
    values = ((radius_mm < outer_mm).astype(np.uint8) + (radius_mm < core_mm)).astype(np.uint8)
    table = LabelTable.of({1: "whole without core", 2: "core"})
    return LabelMap(values, Grid(values.shape, np.diag([SPACING_MM] * 3 + [1.0])), table)


@pytest.fixture
def pair(tmp_path):
    return (
        write_labels(balls(18.0, 9.0), tmp_path / "p.nii.gz"),
        write_labels(balls(24.0, 9.0), tmp_path / "t.nii.gz"),
    )


@pytest.fixture
def dataset_json(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(REGIONS))
    return path


@pytest.fixture
def region_model(tmp_path):
    plan = Plan(
        spacing_mm=(1.5, 1.5, 1.5),
        channels=("MR",),
        normalisation=(Normalisation(),),
        patch=(16, 16, 16),
        batch=2,
        regions=((1, 2), (2,)),
        network=Component(
            name="unet",
            settings={
                "features": [4, 8],
                "strides": [[1] * 3, [2] * 3],
                "kernels": [[3] * 3] * 2,
            },
        ),
    )
    labels = LabelTable.of({1: "whole without core", 2: "core"})
    manifest = Manifest(name="regions", plan=plan, labels=labels, weights=UNSAVED)
    return save_package(tmp_path / "regions", manifest, build_network(plan, classes=2)).folder


@pytest.mark.parametrize("source", ["--labels", "--model"])
def test_regions_are_scored_with_all_inside_them(
    run, pair, tmp_path, source, dataset_json, region_model
):
    """The truth by formula: balls of 18 and 24 mm, one in the other, 6 mm apart."""
    what = {"--labels": dataset_json, "--model": region_model}[source]
    output = tmp_path / "scores.json"
    result = run("evaluate", *pair, "--output", output, source, what, "--regions")
    assert result.exit_code == 0, result.output
    scores = json.loads(output.read_text())
    assert set(scores["mean"]) == {"whole", "core", "foreground"}
    assert scores["mean"]["whole"]["dice"] == pytest.approx(2 * 18**3 / (18**3 + 24**3), abs=0.01)
    assert scores["mean"]["whole"]["hd95_mm"] == pytest.approx(6.0, abs=SPACING_MM)
    assert scores["mean"]["whole"]["nsd"] == 0.0
    same = dict.fromkeys(("hd95_mm", "assd_mm", "volume_error_ml", "volume_error_relative"), 0.0)
    assert scores["mean"]["core"] == {"dice": 1.0, "iou": 1.0, "nsd": 1.0, **same}
    assert "whole" in result.output


def test_without_the_flag_the_parts_are_scored(run, pair, tmp_path, dataset_json):
    output = tmp_path / "scores.json"
    assert run("evaluate", *pair, "--output", output, "--labels", dataset_json).exit_code == 0
    assert "whole without core" in json.loads(output.read_text())["mean"]


@pytest.mark.parametrize(("tolerance", "nsd"), [("4.0", 0.0), ("8.0", 1.0)])
def test_the_tolerance_is_chosen_and_told(run, pair, tmp_path, dataset_json, tolerance, nsd):
    output = tmp_path / "scores.json"
    words = ("--labels", dataset_json, "--tolerance", tolerance, "--regions")
    result = run("evaluate", *pair, "--output", output, *words)
    assert result.exit_code == 0, result.output
    scores = json.loads(output.read_text())
    assert scores["tolerance_mm"] == float(tolerance)
    assert scores["mean"]["whole"]["nsd"] == nsd
    assert f"surface Dice at {float(tolerance):g} mm" in result.output


def test_surfaces_can_be_left_out(run, folders, names, tmp_path):
    output = tmp_path / "scores.json"
    words = ("--output", output, "--labels", names, "--no-surface")
    result = run("evaluate", *folders, *words)
    assert result.exit_code == 0, result.output
    scores = json.loads(output.read_text())
    told = {"statistics", "intervals", "rules"}
    assert set(scores) == {"cases", "mean", "mean_over_labels", *told}
    volumes = {"volume_error_ml", "volume_error_relative"}
    assert set(scores["mean"]["liver"]) == {"dice", "iou", *volumes}
    assert "HD95" not in result.output


def test_regions_that_nobody_named_are_one_sentence(run, folders, names, model, tmp_path):
    output = tmp_path / "scores.json"
    for words, told in (
        ((), "--labels or --model"),
        (("--labels", names), "names.json' has no regions"),
        (("--model", model), "model' has no regions"),
    ):
        result = run("evaluate", *folders, "--output", output, "--regions", *words)
        assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()


def blocks(*, shift=0):
    """Two blocks side by side, 8 and 4 voxels wide: values 1 and 2."""
    values = np.zeros((30, 6, 6), np.uint8)
    values[2 + shift : 10 + shift], values[18 + shift : 22 + shift] = 1, 2
    return values


def save(path, values, names):
    path.parent.mkdir(exist_ok=True)
    table = LabelTable.of(names)
    return write_labels(LabelMap(values, Grid(values.shape, np.eye(4)), table), path)


def means(run, tmp_path, *words):
    output = tmp_path / "scores.json"
    result = run("evaluate", *words, "--output", output, "--no-surface")
    assert result.exit_code == 0, result.output
    return json.loads(output.read_text()), result.output


def dice(scores):
    return {name: row["dice"] for name, row in scores["mean"].items() if name != "foreground"}


@pytest.mark.parametrize("labels", [False, True])
def test_labels_of_one_name_are_compared_whatever_their_values(run, tmp_path, labels):
    truth = save(tmp_path / "t" / "a.seg.nrrd", blocks(), {1: "box", 2: "core"})
    swapped = np.array([0, 2, 1], np.uint8)[blocks()]
    prediction = save(tmp_path / "p" / "a.seg.nrrd", swapped, {1: "Core", 2: "box"})
    table = tmp_path / "names.json"
    table.write_text('{"1": "box", "2": "core"}')
    words = ("--labels", table) if labels else ()
    for pair in ((prediction, truth), (prediction.parent, truth.parent)):
        scores, _ = means(run, tmp_path, *pair, *words)
        assert dice(scores) == {"box": 1.0, "core": 1.0}


def test_a_truth_without_names_takes_those_of_the_prediction(run, tmp_path):
    truth = save(tmp_path / "t.nii.gz", blocks(), {1: "label 1", 2: "label 2", 3: "label 3"})
    predicted = save(tmp_path / "p.nii.gz", blocks(shift=1), {1: "box", 2: "core"})
    scores, _ = means(run, tmp_path, predicted, truth)
    measured = {"box": pytest.approx(7 / 8), "core": pytest.approx(3 / 4), "label 3": None}
    assert dice(scores) == measured
    scores, _ = means(run, tmp_path, truth, predicted)
    assert dice(scores)["box"] == pytest.approx(7 / 8)


def test_a_label_that_only_the_prediction_names_is_its_own(run, tmp_path):
    truth = save(tmp_path / "t" / "a.seg.nrrd", blocks(), {1: "box", 2: "core"})
    prediction = save(tmp_path / "p" / "a.seg.nrrd", blocks(), {1: "rim", 2: "core"})
    scores, _ = means(run, tmp_path, prediction, truth)
    assert dice(scores) == {"box": 0.0, "core": 1.0, "rim": 0.0}


def test_names_that_have_nothing_in_common_need_a_word(run, tmp_path):
    truth = save(tmp_path / "t" / "a.seg.nrrd", blocks(), {1: "box", 2: "core"})
    prediction = save(tmp_path / "p" / "a.seg.nrrd", blocks(), {1: "Segment_1", 2: "Segment_2"})
    result = run("evaluate", prediction, truth, "--output", tmp_path / "s.json")
    assert result.exit_code == 2
    assert "Segment_1, Segment_2" in result.stderr
    assert "--labels" in result.stderr
    table = tmp_path / "names.json"
    table.write_text('{"1": "box", "2": "core"}')
    scores, _ = means(run, tmp_path, prediction, truth, "--labels", table)
    assert dice(scores) == {"box": 1.0, "core": 1.0}


def test_a_label_may_be_called_foreground(run, tmp_path):
    """Blocks of 8 and 4 voxels moved by one: Dice 7/8 and 3/4."""
    names = {1: "foreground", 2: "core"}
    truth = save(tmp_path / "t" / "a.nii.gz", blocks(), names)
    moved = save(tmp_path / "p" / "a.nii.gz", blocks(shift=1), names)
    scores, told = means(run, tmp_path, moved, truth)
    assert scores["mean"]["foreground"]["dice"] == pytest.approx(7 / 8)
    assert scores["mean"]["core"]["dice"] == pytest.approx(3 / 4)
    assert scores["mean_over_labels"]["dice"] == pytest.approx(13 / 16)
    rows = [line.split() for line in told.splitlines()]
    assert any(
        {"foreground", "core", "case"} <= {word.strip("│┃ ") for word in row} for row in rows
    )
    assert "mean over labels" in told


def test_of_contours_that_overlap_the_table_chooses(run, tmp_path):
    Series(random_stored()).write(tmp_path / "slices")
    scan = read_scan(tmp_path / "slices")
    values = np.zeros(scan.grid.shape, np.uint8)
    values[1:4, 1:3] = 1
    liver = LabelMap(values, scan.grid, LabelTable.of({1: "liver"}), scan.provenance)
    drawn = write_labels(liver, tmp_path / "slices" / "drawn.rtstruct.dcm")
    contours = pydicom.dcmread(drawn)
    whole, outline = (contours.StructureSetROISequence, contours.ROIContourSequence)
    whole.append(deepcopy(whole[0]))
    outline.append(deepcopy(outline[0]))
    whole[1].ROINumber, whole[1].ROIName, outline[1].ReferencedROINumber = 2, "body", 2
    contours.save_as(drawn)
    truth = write_labels(liver, tmp_path / "truth.nii.gz")
    table = tmp_path / "names.json"
    table.write_text('{"1": "liver"}')
    scores, _ = means(run, tmp_path, drawn, truth, "--labels", table)
    assert dice(scores) == {"liver": 1.0}


def test_pictures_are_scored_and_a_dataset_is_its_labels(run, tmp_path):
    from PIL import Image

    for folder in ("predictions", "truth/images", "truth/labels"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("a", "b"):
            plane = blocks(shift=int(folder == "predictions"))[:, :, 0]
            Image.fromarray(plane).save(tmp_path / folder / f"{name}.png")
    for truth in (tmp_path / "truth" / "labels", tmp_path / "truth"):
        scores, _ = means(run, tmp_path, tmp_path / "predictions", truth)
        assert [row["case"] for row in scores["cases"]] == ["a", "b"]
        assert dice(scores) == {"label 1": pytest.approx(7 / 8), "label 2": pytest.approx(3 / 4)}
        assert scores["has_physical_size"] is False
    told = run("evaluate", tmp_path / "predictions", truth, "--output", tmp_path / "s.json").output
    assert "HD95, pixels" in told
    assert " mm" not in told
    row = json.loads((tmp_path / "s.json").read_text())["cases"][0]
    assert row["diagonal_pixels"] == pytest.approx(math.hypot(30, 6, 1))
    assert row["labels"]["label 2"] == pytest.approx(
        {
            "dice": 3 / 4,
            "iou": 3 / 5,
            "volume_pixels": 4 * 6,
            "reference_volume_pixels": 4 * 6,
            "volume_error_pixels": 0,
            "volume_error_relative": 0,
            "hd95_pixels": 1.0,
            "assd_pixels": row["labels"]["label 2"]["assd_pixels"],
            "nsd": 1.0,
        }
    )


def test_two_predictions_of_one_case_are_refused(run, tmp_path):
    for name in ("t/a.nii.gz", "p/a.nii.gz", "p/a.nrrd"):
        save(tmp_path / name, blocks(), {1: "box", 2: "core"})
    result = run("evaluate", tmp_path / "p", tmp_path / "t", "--output", tmp_path / "s.json")
    assert result.exit_code == 2
    assert "'a.nii.gz' and 'a.nrrd'" in result.stderr
