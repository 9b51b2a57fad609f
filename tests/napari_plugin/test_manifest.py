"""The manifest names things that exist, and claims no file that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("napari")

from npe2 import PluginManifest

import medseg_napari
from medseg_napari.reader import dicom_reader, volume_reader

MANIFEST = Path(medseg_napari.__file__).with_name("napari.yaml")


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_everything_it_names_can_be_imported(manifest) -> None:
    manifest.validate_imports()


def test_name_is_that_of_the_distribution(manifest) -> None:
    assert manifest.name == "medseg"
    assert all(command.id.startswith("medseg.") for command in manifest.contributions.commands)


def test_it_never_asks_for_every_file(manifest) -> None:
    patterns = {p for reader in manifest.contributions.readers for p in reader.filename_patterns}
    assert patterns == {"*.nii", "*.nii.gz", "*.nrrd", "*.mha", "*.dcm"}


def test_menus_are_ones_napari_lets_plugins_add_to(manifest) -> None:
    from napari._app_model.constants._menus import is_menu_contributable

    assert all(map(is_menu_contributable, manifest.contributions.menus))


def test_readers_pass_by_what_is_not_theirs(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "picture.dcm").write_bytes(b"no DICOM")
    assert dicom_reader(str(tmp_path)) is None
    assert dicom_reader(str(tmp_path / "picture.dcm")) is None
    assert volume_reader(str(tmp_path / "notes.txt")) is None
    assert volume_reader(str(tmp_path / "absent.nii.gz")) is None


def test_dicom_is_found_in_a_subfolder(tmp_path: Path) -> None:
    series = tmp_path / "study" / "series"
    series.mkdir(parents=True)
    (series / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert dicom_reader(str(tmp_path)) is not None
