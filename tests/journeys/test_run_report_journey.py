"""A training ends in scores of its held-out cases and a page about it."""

import json
import re
import shutil

import pytest

from medseg.planning.plan import encode
from medseg.workflows.run_report import typical_cases
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset, two scans of which are of one patient, and a run that holds out four cases."""
    from click.testing import CliRunner

    from medseg_pipelines.cli import medseg

    folder = tmp_path_factory.mktemp("report")
    dataset = write_toy(folder / "toy", cases=8)
    (dataset / "patients.csv").write_text("case,patient\nc4,Secret Name\nc5,Secret Name\n")
    names = [f"c{number}" for number in range(8)]
    (folder / "splits.json").write_text(json.dumps([{"train": names[:4], "val": names[4:]}]))
    (folder / "plan.json").write_bytes(encode(TOY_PLAN))
    words = f"train {dataset} --output {folder / 'run'} --plan {folder / 'plan.json'} --steps 30"
    words += f" --splits {folder / 'splits.json'} --validations 2 --device cpu --name <toy&1>"
    result = CliRunner().invoke(medseg, words.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "The report is" in result.output
    return folder, dataset, folder / "run"


def test_scores_are_those_of_evaluating_the_label_maps(run, trained, tmp_path):
    _, dataset, folder = trained
    output = tmp_path / "scores.json"
    maps = (
        folder / "held_out",
        dataset / "labels",
        "--subset",
        "--labels",
        dataset / "labels.json",
    )
    result = run("evaluate", *maps, "--output", output, "--csv", tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output
    stored = json.loads((folder / "held_out" / "scores.json").read_text())
    assert stored == json.loads(output.read_text())
    assert stored["intervals"]["resampled"] == "patients"
    assert stored["intervals"]["units"] == 3
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    dice = stored["mean_over_labels"]["dice"]
    assert manifest["scores"]["mean_over_labels"] == pytest.approx(dice, abs=1e-5)
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("case,patient,label,dice,iou,volume_ml")
    assert [line.split(",")[:3] for line in lines[1:3]] == [
        ["c4", "c4", "box"],
        ["c4", "c4", "core"],
    ]
    assert len(lines) == 1 + 4 * 2


def test_the_page_needs_nothing_else_and_names_no_place_and_no_person(trained):
    folder, _, run_folder = trained
    html = (run_folder / "report.html").read_text(encoding="utf-8")
    targets = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(targets) == 5
    assert all(target.startswith("data:image/png;base64,") for target in targets)
    assert "http" not in html
    assert "url(" not in html
    for private in (str(folder), "Secret", "report0", "Recipe("):
        assert private not in html
    assert "&lt;toy&amp;1&gt;" in html
    for words in (
        "on 4 held-out cases",
        "10000 draws of 3 patients",
        "A label that is empty in both maps has no score",
        "best: c",
        "median: c",
        "worst: c",
        "Scans are turned to RAS",
        "SHA-256",
        "steps 30",
        "</i>core</span>",
    ):
        assert words in html


def test_it_is_written_again_also_without_the_scans(run, trained, tmp_path):
    _, _, folder = trained
    first = (folder / "report.html").read_text(encoding="utf-8")
    page = tmp_path / "again.html"
    assert run("report", folder, "--output", page).exit_code == 0
    assert page.read_text(encoding="utf-8") == first
    moved = shutil.copytree(folder, tmp_path / "moved")
    source = json.loads((moved / "dataset.json").read_text())
    (moved / "dataset.json").write_text(json.dumps(source | {"path": str(tmp_path / "gone")}))
    assert run("report", moved).exit_code == 0
    html = (moved / "report.html").read_text(encoding="utf-8")
    assert "There are no pictures" in html
    assert "best: c" not in html


def test_of_no_run_there_is_no_report(run, tmp_path):
    result = run("report", tmp_path)
    assert result.exit_code == 2
    assert "holds no finished training" in result.stderr


def test_a_run_that_holds_nothing_out_says_so(run, trained, tmp_path):
    folder, dataset, _ = trained
    words = ("--plan", folder / "plan.json", "--steps", 2, "--fold", "all", "--device", "cpu")
    assert run("train", dataset, "--output", tmp_path / "all", *words).exit_code == 0
    assert not (tmp_path / "all" / "held_out").exists()
    assert "no case was held out" in (tmp_path / "all" / "report.html").read_text()
    result = run("compare", tmp_path / "all", tmp_path / "all")
    assert "holds no scores of held-out cases" in result.stderr


def test_best_median_and_worst_are_by_the_mean_over_labels():
    rows = [
        {"case": case, "labels": {"a": {"dice": first}, "b": {"dice": second}}}
        for case, first, second in (
            ("low", 0.1, None),
            ("high", 1.0, 0.8),
            ("middle", 0.2, 0.8),
            ("none", None, None),
        )
    ]
    assert typical_cases(rows) == {
        "best": ("high", pytest.approx(0.9)),
        "median": ("middle", pytest.approx(0.5)),
        "worst": ("low", pytest.approx(0.1)),
    }
    assert list(typical_cases(rows[:1])) == ["best"]
    assert typical_cases(rows[3:]) == {}
