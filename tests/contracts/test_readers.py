"""What every format that is read keeps, of `medseg.reading` or of an installed package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from medseg import reading
from medseg.errors import ReadError
from medseg.reading import READERS, read_labels, read_scan
from medseg.runtime import registry
from sample_package import part_names

PLUGINS = part_names("medseg.readers")
NAMES = READERS + PLUGINS


def load(name):
    if name in PLUGINS:
        return registry.load("medseg.reading", name)
    return importlib.import_module(f"medseg.reading.{name}")


@pytest.fixture(params=NAMES)
def reader(request):
    return load(request.param)


def test_the_formats_are_there():
    assert {"nifti", "dicom.series", "dicom.seg", "itk_image"} <= set(NAMES)


def test_every_file_that_reads_is_asked():
    folders = {"": reading, "dicom.": importlib.import_module("medseg.reading.dicom")}
    modules = [
        prefix + module.name
        for prefix, package in folders.items()
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and module.name != "protocol"
    ]
    readers = {name for name in modules if hasattr(load(name), "recognises")}
    assert readers == set(READERS)


def test_calling_form(reader):
    assert list(inspect.signature(reader.recognises).parameters) == ["path"]
    forms = {
        "read": ["path", "series", "progress"],
        "read_by_policy": ["path", "series", "policies", "progress"],
        "read_labels": ["path", "table"],
        "read_labels_by_choice": ["path", "table", "choice", "progress"],
    }
    offered = [name for name in forms if hasattr(reader, name)]
    assert offered
    for name in offered:
        parameters = inspect.signature(getattr(reader, name)).parameters
        assert list(parameters) == forms[name]
        assert all(one.kind is one.KEYWORD_ONLY for one in list(parameters.values())[1:])


def test_recognises_no_text_file(reader, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("just words, of no format at all")
    assert reader.recognises(path) is False


def test_only_one_format_recognises_a_file(tmp_path):
    for name in ("a.nii", "a.nii.gz", "a.nrrd", "a.mha"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(500))
        owners = [one for one in NAMES if load(one).recognises(tmp_path / name)]
        assert len(owners) == 1, name


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".gipl", ".dcm"])
@pytest.mark.parametrize("read", [read_scan, read_labels])
@pytest.mark.parametrize("content", [b"", b"\0" * 600, b"noise" * 200], ids=["none", "0", "noise"])
def test_rubbish_is_a_read_error_in_one_sentence(tmp_path, ending, read, content):
    path = tmp_path / f"rubbish{ending}"
    path.write_bytes(content)
    with pytest.raises(ReadError, match="rubbish") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_scan, read_labels])
def test_missing_path_is_named(tmp_path, read):
    with pytest.raises(ReadError, match="nowhere"):
        read(tmp_path / "nowhere.nii.gz")
