"""From the command line: a bundle of MONAI at every door that medseg's own models go through."""

import json
import shutil

import numpy as np
import pytest

from batch_stand_ins import Diary, InlinePool
from medseg.reading import read_labels, read_scan
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.run import run_batch
from zoo_bundles import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundles") / "spleen", "spleen_ct")


def test_a_zipped_bundle_segments_a_dicom_series_with_its_names(run, bundle, series, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "spleen"), "zip", bundle)
    output = tmp_path / "labels.dcm"
    result = run("segment", series, "--model", archive, "--output", output, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "spleen" in result.output
    labels = read_labels(output)
    assert labels.table.names == ("spleen",)
    assert labels.values.any()


def test_probabilities_are_written_beside_the_labels(run, bundle, scan_file, tmp_path):
    output = tmp_path / "labels.nii.gz"
    maps = ("--probabilities", "--uncertainty")
    result = run("segment", scan_file, "--model", bundle, "--output", output, *maps)
    assert result.exit_code == 0, result.output
    doubt = read_scan(tmp_path / "labels.uncertainty.nii.gz")
    assert doubt.voxels.max() <= 50
    shares = read_scan(tmp_path / "labels.probabilities.nii.gz")
    assert shares.channel_names == ("background", "spleen")
    labels = read_labels(output)
    assert labels.grid.same_as(shares.grid)
    assert (shares.voxels[1][labels.values == 1] >= 127).all()


def test_a_batch_runs_it_as_any_model(bundle, series, tmp_path):
    options, output = BatchOptions(pool=InlinePool), tmp_path / "out"
    run_batch(series, model=bundle, output=output, options=options, events=Diary())
    (path,) = output.rglob("labels.nii.gz")
    assert read_labels(path).table.names == ("spleen",)


def test_what_it_is_is_told(run, bundle):
    result = run("models", "info", bundle)
    assert result.exit_code == 0, result.output
    for words in ("spleen_ct of random weights", "monai:UNet", "MONAI bundle", "CC0"):
        assert words in result.output


@pytest.mark.parametrize(
    "command",
    [("plan", "explain"), ("models", "export", "--output", "x.ts")],
)
def test_what_needs_a_plan_says_that_it_has_none(run, bundle, command, tmp_path):
    words = [str(tmp_path / word) if word == "x.ts" else word for word in command]
    result = run(*words, bundle)
    assert result.exit_code == 2
    assert "comes from another program" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("line", ["$os.system('touch {}')", "$__import__('os').mkdir('{}')"])
def test_a_hostile_bundle_is_one_sentence_and_leaves_nothing(
    run, bundle, scan_file, tmp_path, line
):
    copy = shutil.copytree(bundle, tmp_path / "hostile")
    path = copy / "configs" / "inference.json"
    content = json.loads(path.read_text())
    marker = tmp_path / "executed"
    lines = ["$import os", line.format(marker)]
    path.write_text(json.dumps({**content, "imports": lines[:1], "run": lines[1:]}))
    result = run("segment", scan_file, "--model", copy, "--output", tmp_path / "labels.nii.gz")
    assert (result.exit_code, marker.exists()) == (2, False)
    assert str(path) in result.stderr
    assert not (tmp_path / "labels.nii.gz").exists()


def test_a_saved_bundle_labels_as_before(bundle, scan_file, tmp_path):
    from medseg.inference import Predictor
    from medseg.model_package import find_package
    from medseg.model_package.package import save_foreign

    scan = read_scan(scan_file)
    saved = save_foreign(find_package(bundle), tmp_path / "saved")
    assert saved.manifest.chain == find_package(tmp_path / "saved").manifest.chain
    before, after = (Predictor.load(one, device="cpu").predict(scan) for one in (bundle, saved))
    assert np.array_equal(before.values, after.values)


def test_time_and_memory_are_told_in_advance(bundle, phantom):
    from medseg.inference import Predictor

    predictor = Predictor.load(bundle, device="cpu")
    estimate = predictor.estimate(phantom[0].grid, probe=predictor.probe())
    assert estimate.tiles >= 1
    assert estimate.main_bytes > 3 * 2 * 4 * phantom[0].voxels.size
