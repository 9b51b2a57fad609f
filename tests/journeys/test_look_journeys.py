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
    assert found["scan"]["verdict"]["outcome"] == "ok"
    assert found["series"]["oblique_degrees"] > 6
    assert found["series"]["slices"] == 20
    assert found["series"]["decodable"]
    assert found["bad"]["verdict"]["outcome"] == "refused"
    assert found["bad"]["verdict"]["code"] == "UNREADABLE"


def test_inspect_says_what_a_repair_would_do(run, series):
    sorted(series.iterdir())[9].unlink()
    (refused,) = json.loads(run("inspect", series, "--json").stdout)
    assert refused["verdict"]["code"] == "MISSING_SLICE"
    assert refused["missing"] == 1
    options = ("--missing", "interpolate", "--pixels", "--json")
    (repaired,) = json.loads(run("inspect", series, *options).stdout)
    assert repaired["verdict"]["outcome"] == "repaired"
    assert repaired["shape"] == [32, 24, 20]


def test_segment_repairs_when_asked_to(run, series, model, tmp_path):
    sorted(series.iterdir())[9].unlink()
    output = tmp_path / "organs.nii.gz"
    assert run("segment", series, "--model", model, "--output", output).exit_code == 2
    asked = ("--missing", "interpolate")
    result = run("segment", series, "--model", model, "--output", output, *asked)
    assert result.exit_code == 0, result.output
    assert output.exists()


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
