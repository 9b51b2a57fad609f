import json


def test_inspect_shows_where_voxels_lie(run, series):
    result = run("inspect", series)
    assert result.exit_code == 0, result.output
    assert "32 x 24 x 20" in result.output
    assert "LPS" in result.output


def test_inspect_speaks_json(run, scan_file, series, tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(b"no")
    result = run("inspect", tmp_path, "--json")
    found = {one["name"]: one for one in json.loads(result.stdout)}
    assert found["scan"]["shape"] == [32, 24, 20]
    assert found["series"]["oblique_degrees"] > 6
    assert found["bad"]["error"]


def test_model_info_names_labels_scores_and_licence(run, model):
    result = run("models", "info", model)
    assert result.exit_code == 0, result.output
    for word in ("tiny", "liver", "0.500", "CC0", "unet"):
        assert word in result.output


def test_models_list_runs(run):
    assert run("models", "list").exit_code == 0


def test_an_unknown_model_is_an_error(run):
    result = run("models", "info", "no-such-model")
    assert result.exit_code == 2
    assert "no-such-model" in result.stderr
