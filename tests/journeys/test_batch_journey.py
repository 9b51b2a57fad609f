"""`medseg batch`, with the work done in the test's own process; workers are tested elsewhere."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from batch_stand_ins import InlinePool, files_below
from medseg.phantoms import abdominal_ct
from medseg.phantoms.dicom_archive import ct_grid, write_series
from medseg.writing import write_scan
from medseg_pipelines.batch import archive_run
from medseg_pipelines.batch.ledger.layout import Places
from medseg_pipelines.batch.messages import Fault, Result
from medseg_pipelines.cli import medseg

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ct_grid(shape=(16, 14, 8), spacing_mm=(20.0, 19.0, 30.0))
FLAT = ct_grid(shape=(16, 14, 2), spacing_mm=(20.0, 19.0, 30.0))


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    root = tmp_path_factory.mktemp("batch") / "archive"
    for number in (1, 2):
        write_series(abdominal_ct(number, SMALL)[0], root / f"patient-{number}", patient=number)
    write_scan(abdominal_ct(3, SMALL)[0], root / "three.nii.gz")
    write_scan(abdominal_ct(4, FLAT)[0], root / "scout.nii.gz")
    (root / "broken.nii.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    return root


@pytest.fixture(scope="module")
def first_run(archived, shared_model, tmp_path_factory):
    """What the first run printed, and its output."""
    output = tmp_path_factory.mktemp("batch") / "out"
    options = ["--format", "nifti", "--format", "preview"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_run, "_pool", lambda _: InlinePool)
        where = [str(archived), "--model", str(shared_model), "--output", str(output)]
        return CliRunner().invoke(medseg, ["batch", *where, *options]), output


@pytest.fixture
def finished(first_run, output):
    """A copy of that output, in the place where `batch` writes."""
    return shutil.copytree(first_run[1], output)


@pytest.fixture
def archive(archived, tmp_path):
    return shutil.copytree(archived, tmp_path / "archive")


@pytest.fixture
def pools(monkeypatch):
    """The pools that worked; each does its tasks in this process."""
    made = []

    def make():
        made.append(InlinePool())
        return made[-1]

    monkeypatch.setattr(archive_run, "_pool", lambda _: make)
    return made


@pytest.fixture
def batch(run, pools, archive, model, tmp_path):
    """Run a batch over the archive; options are added."""

    def call(*more):
        return run("batch", archive, "--model", model, "--output", tmp_path / "out", *more)

    return call


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def summary(output):
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def states(output):
    return sorted((row["state"], row["code"]) for row in summary(output))


def names_below(folder):
    return sorted({path.name for path in folder.rglob("*") if path.is_file()})


def truth_of(output, truth, names):
    """Label maps as a truth: those of the batch, called as the scans."""
    truth.mkdir()
    listed = json.loads(
        CliRunner().invoke(medseg, ["batch", "status", str(output), "--paths", "--json"]).stdout
    )["list"]
    for one in listed:
        if (name := Path(one["path"]).name.split(".")[0]) in names:
            path = Places(output).file(one["folder"], "labels.nii.gz")
            shutil.copy(path, truth / f"{names[name]}.nii.gz")
    return truth


def plain(text):
    return " ".join(text.split())


def test_one_bad_scan_does_not_stop_the_rest(first_run):
    result, output = first_run
    assert result.exit_code == 0, result.output
    assert states(output) == [
        ("done", ""),
        ("done", ""),
        ("done", ""),
        ("refused", "FEW_SLICES"),
        ("refused", "UNREADABLE"),
    ]
    for row in summary(output):
        if row["state"] == "done":
            files = sorted(Places(output).files(row["folder"]))
            assert files == ["case.json", "labels.nii.gz", "preview.png", "thumbnail.png"]
            assert float(row["liver_ml"]) >= 0
        else:
            assert row["folder"] == ""
            assert row["message"]
    assert "3 done, 1 refused" in plain(result.output)
    at_top = {path.name for path in output.iterdir() if path.is_file()}
    beside = {f"three.{end}" for end in ("nii.gz", "case.json", "preview.png", "thumbnail.png")}
    assert at_top == {"report.html", "summary.csv", "summary.parquet"} | beside


def test_both_tables_say_the_same(first_run):
    _, output = first_run
    rows, table = summary(output), parquet.read_table(output / "summary.parquet")
    assert table.column_names == list(rows[0])
    assert table.column("case").to_pylist() == [row["case"] for row in rows]
    for stored, row in zip(table.column("liver_ml").to_pylist(), rows, strict=True):
        assert (stored is None) == (row["liver_ml"] == "")
        assert stored is None or float(row["liver_ml"]) == pytest.approx(stored, abs=5e-4)
    ended = table.column("ended").to_pylist()
    assert [one and one.strftime("%Y-%m-%dT%H:%M:%SZ") for one in ended] == [
        row["ended"] or None for row in rows
    ]


def test_the_report_shows_every_finished_case(first_run):
    _, output = first_run
    html = (output / "report.html").read_text()
    assert len(re.findall("data:image/png;base64,", html)) == 3
    assert "FEW_SLICES" in html
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", html)
    for link in set(re.findall(r'href="([^"]+)"', html)):
        assert (output / link).is_dir()


def test_running_again_changes_nothing(run, archived, shared_model, finished, monkeypatch):
    def nobody(_):
        raise AssertionError("there is nothing to do")

    monkeypatch.setattr(archive_run, "_pool", lambda _: nobody)
    before = files_below(finished)
    stamps = {path: path.stat().st_mtime_ns for path in finished.rglob("*.*") if path.is_file()}
    again = run(
        *("batch", archived, "--model", shared_model, "--output", finished),
        *("--format", "nifti", "--format", "preview"),
    )
    assert again.exit_code == 0
    assert "3 done already" in plain(again.output)
    assert files_below(finished) == before
    assert all(
        path.stat().st_mtime_ns == at for path, at in stamps.items() if ".medseg" not in path.parts
    )


def test_new_series_are_found_and_done_ones_computed_again_on_request(
    batch, archive, output, pools
):
    for path in archive.glob("*.nii.gz"):
        path.unlink()
    assert batch().exit_code == 0
    write_series(abdominal_ct(9, SMALL)[0], archive / "late", patient=9)
    assert batch().exit_code == 0
    assert [len(pool.done) for pool in pools] == [2, 1]
    assert states(output) == [("done", "")] * 3
    assert batch("--overwrite").exit_code == 0
    assert len(pools[-1].done) == 3


def test_dicom_results_are_refused_where_there_is_no_dicom(batch, output):
    batch("--format", "dicom-seg", "--format", "sr", "--encoding", "labelmap")
    assert states(output)[:2] == [("done", "")] * 2
    assert ("refused", "NO_DICOM_SOURCE") in states(output)
    folder = output / next(row["folder"] for row in summary(output) if row["folder"])
    assert {"seg.dcm", "measurements.sr.dcm"} < set(names_below(folder))


class Clumsy(InlinePool):
    """Fails at its first case, every time."""

    def events(self, timeout_s):
        if self.tasks[0].scan.path.endswith("three.nii.gz"):
            task = self.tasks.popleft()
            fault = Fault(code="BROKE", message="it broke")
            return [Result(case=task.case, token=task.token, state="failed", fault=fault)]
        return super().events(timeout_s)


def test_a_failure_is_told_by_the_exit_code_and_can_be_retried(
    batch, run, output, archive, monkeypatch
):
    good = archive_run._pool(None)
    monkeypatch.setattr(archive_run, "_pool", lambda _: Clumsy)
    monkeypatch.setattr("sys.argv", ["medseg", "batch", "my archive", "--quiet"])
    assert batch("--attempts", "2").exit_code == 1
    assert ("failed", "BROKE") in states(output)
    monkeypatch.setattr(archive_run, "_pool", lambda _: good)
    assert batch().exit_code == 1  # it was tried often enough
    assert run("batch", "retry", output).exit_code == 2
    unknown = run("batch", "retry", output, "--failed", "--code", "OTHER")
    assert unknown.exit_code == 2
    assert "there are BROKE" in unknown.output
    told = run("batch", "retry", output, "--failed", "--code", "BROKE")
    assert "1 case(s) wait" in told.output
    assert "medseg batch 'my archive' --quiet" in told.output
    assert batch().exit_code == 0
    assert states(output).count(("done", "")) == 3
    assert "nothing to retry" in run("batch", "retry", output, "--failed").output


def test_rules_choose_and_a_dry_run_says_why_and_writes_nothing(batch, archive, output, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "ours"\nwhere.Modality = "CT"\n')
    options = ("--rules", rules, "--where", "slices>=5", "--dry-run")
    result = batch(*options)
    assert result.exit_code == 0, result.output
    assert not output.exists()
    assert "Scans: 5 found; 2 new, 3 refused" in plain(result.output)
    assert "RULE" in result.output
    assert str(archive) not in result.output
    shown = batch(*options, "--paths", "--json-lines")
    told = [json.loads(line) for line in shown.output.splitlines()]
    assert [one["runs"] for one in told].count(True) == 2
    assert all(one["path"].startswith(str(archive)) for one in told)
    for option, pattern in (
        ("--series-description", "*brain*"),
        ("--exclude-description", "*"),
        ("--orientation", "coronal"),
    ):
        told = batch(option, pattern, "--dry-run", "--json-lines").output.splitlines()
        assert not any(json.loads(line)["runs"] for line in told)


def test_bad_rules_are_bad_use(batch, output):
    result = batch("--where", "Modality == 1 and slices > 3")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not output.exists()


def test_shares_of_an_archive_make_the_whole(batch, output, pools):
    assert batch("--shard", "1/2").exit_code == 0
    assert batch("--shard", "2/2").exit_code == 0
    assert sum(len(pool.done) for pool in pools) == 4
    assert states(output).count(("done", "")) == 3
    for wrong in ("3/2", "0/2", "1", "a/b"):
        assert batch("--shard", wrong).exit_code == 2


def test_json_lines_are_json_and_nothing_else(batch, output):
    result = batch("--json-lines")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    names = [one["event"] for one in told]
    assert names[0] == "planned"
    assert names[-1] == "finished"
    assert names.count("case_ended") == 4
    assert told[-1]["done"] == 3
    ended = {one["case"]: one for one in told if one["event"] == "case_ended"}
    for row in summary(output):
        if row["case"] in ended:
            assert ended[row["case"]]["state"] == row["state"]
            assert ended[row["case"]]["folder"] == row["folder"]


def test_quiet_is_one_line(batch):
    lines = batch("--quiet").output.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("3 done, 1 refused")


def test_stopping_tells_how_to_go_on(batch, output, monkeypatch):
    def stop(task):
        begun.append(task)
        if len(begun) == 3:
            raise KeyboardInterrupt

    begun = []
    monkeypatch.setattr(archive_run, "_pool", lambda _: lambda: InlinePool(before=stop))
    result = batch()
    assert result.exit_code == 130
    assert "stopped" in result.stderr
    rows = states(output)
    assert rows.count(("done", "")) == 1
    assert rows.count(("waiting", "")) == 2
    assert batch().exit_code == 0
    assert states(output).count(("done", "")) == 3


def test_de_identified_results_say_so_and_warn_of_pixels(batch, output):
    from pydicom import dcmread

    result = batch("--format", "dicom-seg", "--deidentify", "--where", "format=dicom")
    assert result.exit_code == 0, result.output
    assert "burnt into it" in result.stderr
    objects = [dcmread(path) for path in output.rglob("seg.dcm")]
    assert len(objects) == 2
    assert all(one.PatientIdentityRemoved == "YES" for one in objects)
    assert not any("hantom" in str(one.PatientName) for one in objects)
    assert (output / ".medseg" / "deidentify.key").stat().st_mode & 0o777 == 0o600


def test_status_and_explain(run, first_run, archived):
    output = first_run[1]
    told = json.loads(run("batch", "status", output, "--json", "--cases").output)
    assert told["states"] == {"waiting": 0, "leased": 0, "done": 3, "refused": 2, "failed": 0}
    assert told["codes"]["refused"] == {"FEW_SLICES": 1, "UNREADABLE": 1}
    assert len(told["list"]) == 5
    assert "1 FEW_SLICES" in run("batch", "status", output, "--cases").output
    done = next(one for one in told["list"] if one["state"] == "done")
    explained = [
        json.loads(run("batch", "explain", output, name, "--json").output)
        for name in (
            done["case"],
            done["case"][:12],
            done["folder"],
            output / done["folder"],
            output / done["folder"] / "case.json",
        )
    ]
    assert all(one == explained[0] for one in explained)
    assert explained[0]["results"]["labels.nii.gz"] > 0
    assert "path" not in explained[0]["scan"]
    by_path = run("batch", "explain", output, archived / "patient-1", "--json", "--paths").output
    assert json.loads(by_path)["scan"]["path"] == str(archived / "patient-1")
    assert "labels.nii.gz" in run("batch", "explain", output, done["case"]).output
    assert run("batch", "explain", output, "nothing").exit_code == 2
    several = run("batch", "explain", output, archived)
    assert several.exit_code == 2
    assert "may mean 5 cases" in several.output


def test_a_folder_without_scans_or_a_batch_is_bad_input(run, model, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("batch", tmp_path / "empty", "--model", model, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
    for command in ("status", "explain", "retry"):
        more = {"explain": ["x"], "retry": ["--failed"]}.get(command, [])
        assert run("batch", command, tmp_path / "empty", *more).exit_code == 2
    assert not list((tmp_path / "empty").iterdir())


def test_results_are_held_against_a_truth_by_the_names_of_the_scans(run, first_run, tmp_path):
    truth = truth_of(first_run[1], tmp_path / "truth", {"patient-1": "patient-1", "three": "three"})
    run("evaluate", first_run[1], truth, "--output", tmp_path / "scores.json", "--no-surface")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [case["case"] for case in scores["cases"]] == ["patient-1", "three"]
    dice = [one["dice"] for case in scores["cases"] for one in case["labels"].values()]
    assert {one for one in dice if one is not None} == {1.0}
    swapped = truth_of(first_run[1], tmp_path / "swapped", {"patient-1": "patient-2"})
    run("evaluate", first_run[1], swapped, "--output", tmp_path / "swapped.json", "--no-surface")
    dice = json.loads((tmp_path / "swapped.json").read_text())["mean"]["foreground"]["dice"]
    assert dice < 1.0


def test_scans_of_one_name_are_not_guessed_at(run, pools, model, archived, tmp_path):
    for side in ("left", "right"):
        (tmp_path / "twice" / side).mkdir(parents=True)
    write_scan(abdominal_ct(5, SMALL)[0], tmp_path / "twice/left/scan.nii.gz")
    write_scan(abdominal_ct(6, SMALL)[0], tmp_path / "twice/right/scan.nii.gz")
    output = tmp_path / "out"
    run("batch", tmp_path / "twice", "--model", model, "--output", output)
    (tmp_path / "truth").mkdir()
    shutil.copy(output / "left" / "scan.nii.gz", tmp_path / "truth")
    scores = tmp_path / "scores.json"
    result = run("evaluate", output, tmp_path / "truth", "--output", scores)
    assert result.exit_code != 0
    assert "two results" in plain(result.output)
    assert not scores.exists()
