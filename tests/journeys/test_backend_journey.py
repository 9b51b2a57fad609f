"""Another library runs the network: asked for on the command line, told in every record."""

import json

import numpy as np
import pytest

from medseg.inference.backends import compiled
from medseg.reading import read_labels
from medseg.runtime.cache_folder import VARIABLE


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(params=compiled.LIBRARIES)
def backend(request):
    if not compiled.version(request.param):
        pytest.skip(f"{request.param} is not installed, or what writes ONNX is not")
    return request.param


@pytest.mark.slow
def test_segment_by_a_library_gives_torchs_labels_and_says_so(
    run, scan_file, model, tmp_path, backend
):
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("torch", backend, "auto")}
    told = {
        name: run("segment", scan_file, "--model", model, "--output", file, "--backend", name)
        for name, file in files.items()
    }
    assert [result.exit_code for result in told.values()] == [0, 0, 0]
    assert "Ran on" not in told["torch"].output
    assert f", {backend} {compiled.version(backend)}" in told[backend].output.replace("\n", " ")
    assert "measured: torch" in told["auto"].output.replace("\n", " ")
    plain, *others = (read_labels(file).values for file in files.values())
    for other in others:  # the CPU may have computed torch's in bfloat16
        assert (other != plain).mean() < 0.02
    assert len(np.unique(plain)) > 1
    shown = run("models", "info", model).output.replace("\n", " ")
    assert "backend on " in shown
    assert "measured: torch" in shown


@pytest.mark.slow
def test_a_batch_by_a_library(run, scan_file, model, tmp_path, backend):
    (tmp_path / "scans").mkdir()
    scan_file.rename(tmp_path / "scans" / "one.nii.gz")
    output = tmp_path / "results"
    result = run(
        "batch", "run", tmp_path / "scans", "--model", model, "--output", output,
        "--backend", backend, "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (record,) = output.rglob("*case.json")
    record = json.loads(record.read_text("utf-8"))
    assert backend in json.dumps(record)


def test_a_library_that_is_not_there(run, scan_file, model, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "version", lambda _: "")
    output = tmp_path / "out.nii.gz"
    result = run(
        "segment", scan_file, "--model", model, "--output", output, "--backend", "openvino"
    )
    assert result.exit_code == 2
    assert "pip install 'medseg[openvino]'" in result.stderr.replace("\n", " ")
    assert not output.exists()
