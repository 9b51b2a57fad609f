"""From the command line: a model in, a file for other programs out."""

import shutil

import pytest


def test_an_onnx_file_is_written_checked_and_described(run, model, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime runs what was exported")
    pytest.importorskip("onnxscript", reason="torch writes ONNX with the package onnxscript")
    output = tmp_path / "tiny.onnx"
    result = run("models", "export", model, "--output", output, "--opset", "19")
    assert result.exit_code == 0, result.output
    for words in ("opset 19", "1 x 16 x 16 x 16 voxels", "differ from torch's by", str(output)):
        assert words in result.output
    session = runtime.InferenceSession(output, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["model"] == "tiny"


def test_a_pt2_file_needs_no_extra(run, model, tmp_path):
    output = tmp_path / "tiny.pt2"
    result = run("models", "export", model, "--output", output, "--no-check")
    assert result.exit_code == 0, result.output
    assert "none, as asked" in result.output
    assert output.stat().st_size > 1000


@pytest.mark.parametrize(
    ("output", "more", "words"),
    [
        ("tiny.h5", (), (".onnx, .pt2, .ts", "tiny.h5")),
        ("tiny.onnx", ("--opset", "9"), ("opset 9", "18 to 23")),
        ("none/tiny.onnx", (), ("none", "does not exist")),
        (".", (), ("is a folder",)),
    ],
)
def test_bad_outputs_are_one_sentence(run, model, tmp_path, output, more, words):
    before = set(tmp_path.rglob("*"))
    result = run("models", "export", model, "--output", tmp_path / output, *more)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert set(tmp_path.rglob("*")) == before


def test_a_model_that_is_not_there_or_altered_is_one_sentence(run, model, tmp_path):
    output = tmp_path / "x.pt2"
    result = run("models", "export", tmp_path / "nowhere", "--output", output)
    assert (result.exit_code, "nowhere" in result.stderr) == (2, True)
    shutil.copy(model / "manifest.json", model / "weights.safetensors")
    result = run("models", "export", model, "--output", output)
    assert (result.exit_code, "SHA-256" in result.stderr) == (2, True)
    assert not output.exists()
