"""Parts of installed packages: found, used from end to end, and refused one by one."""

import json
import shutil
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from msgspec import structs

from medseg import losses, networks, reading
from medseg.errors import PackageError, PlanError, WriteError
from medseg.inference import Predictor
from medseg.networks import suggestion
from medseg.planning import Component
from medseg.planning.stages import Stages
from medseg.postprocessing import build_postprocessing
from medseg.reading import read_labels, read_scan
from medseg.runtime import registry
from medseg.training import TrainingOptions, train
from medseg.volume import Grid, Scan
from medseg.writing import label_suffixes, write_scan
from sample_package import DISTRIBUTION, VERSION, importable, lay_distribution, part_names
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = TrainingOptions(steps=2, validations=0, device="cpu")
SCAN = Scan(np.zeros((1, 4, 5, 6), np.float32), Grid((4, 5, 6), np.eye(4)))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=3)


@pytest.fixture
def site(tmp_path):
    """A folder to lay packages in, from which Python imports."""
    with importable(tmp_path / "site") as folder:
        yield folder
    sys.modules.pop("medseg_other", None)


def run_command(*arguments):
    from click.testing import CliRunner

    from medseg_pipelines.cli import medseg

    return CliRunner().invoke(medseg, [str(argument) for argument in arguments])


def lay(site, group, name, code):
    """The package medseg-other, of one module and one entry point."""
    site.mkdir()
    (site / "medseg_other.py").write_text(code)
    lay_distribution(site, "medseg-other", f"[{group}]\n{name} = medseg_other\n")


@pytest.mark.parametrize(
    ("package", "kind"), [(package, kind) for package, kind in registry.KINDS.items()]
)
def test_the_sample_package_brings_a_part_of_the_kind(package, kind):
    if package == "medseg.networks.encoders" or find_spec(package) is None:
        pytest.skip("the sample package brings none")
    for name in part_names(kind.group):
        assert name in registry.names(package)
        assert registry.source(package, name).distribution == DISTRIBUTION
    assert part_names(kind.group)


def test_from_the_command_line_to_labels_in_a_format_from_outside(toy, tmp_path):
    run, output = tmp_path / "run", tmp_path / "labels.sample.npz"
    settings = ("--set", "width=4", "--steps", "2", "--device", "cpu")
    arguments = ("--network", "sample_stack", "--loss", "sample_entropy", *settings)
    result = run_command("train", toy, "--output", run, *arguments)
    assert result.exit_code == 0, result.output
    manifest = json.loads((run / "model" / "manifest.json").read_text())
    assert manifest["plan"]["network"] == {"name": "sample_stack", "settings": {"width": 4}}
    assert manifest["plan"]["loss"]["name"] == "sample_entropy"
    assert manifest["requires"] == [
        {
            "part": "network 'sample_stack'",
            "distribution": DISTRIBUTION,
            "version": VERSION,
            "path": "medseg_sample.stack",
        }
    ]
    scan = read_scan(toy / "images" / "c0.nii.gz")
    source = write_scan(scan, tmp_path / "scan.sample.npz")
    steps = ("--postprocess", "sample_rare:least_voxels=2", "--device", "cpu")
    result = run_command("segment", source, "--model", run, "--output", output, *steps)
    assert result.exit_code == 0, result.output
    assert read_labels(output).grid.same_as(scan.grid)


def test_an_object_of_an_installed_class_is_recorded_with_its_arguments(toy, tmp_path):
    from medseg_sample.stack import Stack

    network = Stack(1, 3, width=5)
    folder = train(toy, tmp_path / "run", options=OPTIONS, plan=TOY_PLAN, network=network)
    manifest = json.loads((folder / "manifest.json").read_text())
    name = "medseg_sample.stack:Stack"
    assert manifest["plan"]["network"] == {"name": name, "settings": {"width": 5}}
    assert manifest["requires"][0]["distribution"] == DISTRIBUTION
    assert Predictor.load(folder, device="cpu")


def test_a_class_by_name_at_the_command_line(toy, tmp_path):
    arguments = ("--network", "medseg_sample.stack:Stack", "--steps", "1", "--device", "cpu")
    result = run_command("train", toy, "--output", tmp_path / "run", *arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.slow
@pytest.mark.parametrize("command", ["networks", "losses"])
def test_lists_name_the_package(command):
    result = run_command(command, "list")
    assert result.exit_code == 0, result.output
    name = {"networks": "sample_stack", "losses": "sample_entropy"}[command]
    assert name in result.output
    assert VERSION in result.output
    assert "monai:" in result.output


@pytest.fixture(scope="module")
def model(toy, tmp_path_factory):
    """A model with the network of the sample package."""
    component = Component(name="sample_stack", settings={"width": 4})
    plan = structs.replace(TOY_PLAN, network=component)
    return train(toy, tmp_path_factory.mktemp("runs") / "run", options=OPTIONS, plan=plan)


def test_a_package_whose_plug_in_is_missing_is_one_sentence(model, sample_package):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if entry != str(sample_package)])
        with pytest.raises(PackageError) as caught:
            Predictor.load(model, device="cpu")
    assert str(caught.value) == (
        f"the model 'toy' needs the network 'sample_stack' of the package {DISTRIBUTION} {VERSION},"
        f" which is not installed; run pip install '{DISTRIBUTION}=={VERSION}'"
    )
    assert caught.value.code == "NOT_INSTALLED"


def test_another_version_of_the_plug_in_is_a_warning(model, sample_package, tmp_path):
    newer = shutil.copytree(sample_package, tmp_path / "newer")
    (info,) = newer.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    (info / "METADATA").write_text(metadata.replace(VERSION, "2.0"))
    info.rename(info.with_name("medseg_sample-2.0.dist-info"))
    others = [entry for entry in sys.path if entry != str(sample_package)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(newer), *others])
        with pytest.warns(UserWarning, match=f"made with .* {VERSION}; 2.0 is installed"):
            Predictor.load(model, device="cpu")


@pytest.mark.slow
def test_a_broken_entry_point_is_named_and_the_rest_works(site, tmp_path):
    lay(site, "medseg.networks", "broken", "import a_module_that_is_not_there\n")
    with pytest.raises(PlanError, match=r"'broken'.*medseg-other 0.1.*a_module_that") as caught:
        suggestion("broken")
    assert "\n" not in str(caught.value)
    assert networks.load_part("unet")
    result = run_command("networks", "list")
    assert result.exit_code == 0
    listing = " ".join(result.output.split())
    assert "the network 'broken' (medseg_other of the package medseg-other 0.1) cannot" in listing
    assert "deeplab" in listing


@pytest.mark.parametrize("group", ["medseg.readers", "medseg.writers"])
def test_a_broken_format_is_a_warning_and_the_rest_works(site, tmp_path, group):
    lay(site, group, "broken", "raise RuntimeError('old library')\n")
    path = write_scan(SCAN, tmp_path / "scan.nii.gz")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_scan(path).grid.same_as(SCAN.grid)
        assert read_scan(write_scan(SCAN, tmp_path / "scan.sample.npz")).channels == 1
        assert ".sample.npz" in label_suffixes()
    texts = {str(warning.message) for warning in caught}
    assert any("'broken'" in text and "RuntimeError: old library" in text for text in texts)


def test_two_parts_of_one_name_are_refused_with_both_named(site):
    lay(site, "medseg.losses", "dice", "x = 1\n")
    with pytest.raises(PlanError) as caught:
        losses.load_part("dice")
    message = str(caught.value)
    assert "medseg.losses.dice of medseg" in message
    assert "medseg_other of the package medseg-other 0.1" in message
    assert "\n" not in message
    assert losses.load_part("dice_ce")


def test_two_packages_with_one_name_are_refused(site):
    lay(site, "medseg.readers", "sample_npz", "x = 1\n")
    both = f"2 times, .*medseg-other 0.1 and .*{DISTRIBUTION} {VERSION}"
    with pytest.raises(PlanError, match=both):
        registry.load("medseg.reading", "sample_npz")


def test_two_writers_of_one_suffix_are_refused(site, tmp_path):
    code = "suffixes = ('.nii.gz',)\ndef write_scan(scan, path): ...\n"
    lay(site, "medseg.writers", "other", code)
    with pytest.raises(WriteError, match=r"'\.nii\.gz': 'nifti' and 'other'.*medseg-other 0.1"):
        write_scan(SCAN, tmp_path / "scan.nii.gz")


def test_an_entry_point_without_a_part_is_refused(site):
    lay(site, "medseg.postprocessing", "empty", "Settings = dict\n")
    with pytest.raises(PlanError, match=r"'empty' .* it lacks WORKS_ON, build"):
        build_postprocessing([Component(name="empty")])


@pytest.mark.parametrize("package", ["medseg.networks", "medseg.losses", "medseg.writing"])
def test_a_file_of_the_tree_without_a_part_is_an_error(package, tmp_path, monkeypatch):
    module = sys.modules[package]
    (tmp_path / "study.py").write_text('"""Not a part."""\n')
    monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path)])
    assert "study" in registry.names(package)
    with pytest.raises(PlanError, match=f"'study' .{package}.study of medseg. is no .*lacks"):
        registry.load(package, "study")
    sys.modules.pop(f"{package}.study")


def test_a_reader_from_outside_is_asked_after_those_of_medseg(site, tmp_path):
    code = (
        "def recognises(path): return True\ndef read(path, *, series, progress): raise KeyError\n"
    )
    lay(site, "medseg.readers", "greedy", code)
    assert read_scan(write_scan(SCAN, tmp_path / "scan.nii.gz")).grid.same_as(SCAN.grid)
    assert reading.READERS[-1] == "zip_archive"


def test_stages_go_into_settings_of_their_names(site):
    code = (
        "import msgspec\n"
        "class Settings(msgspec.Struct):\n    features: tuple = ()\n    depth: int = 1\n"
        "def build(settings, **sizes): ...\n"
    )
    lay(site, "medseg.networks", "planned", code)
    stages = Stages(patch=(8, 8), features=(3, 5), strides=((1, 1), (2, 2)), kernels=((3, 3),) * 2)
    assert suggestion("planned")(stages).settings == {"features": [3, 5]}
