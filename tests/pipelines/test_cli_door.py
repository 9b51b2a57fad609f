import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from medseg import __version__
from medseg.errors import Cancelled, ReadError
from medseg_pipelines.cli import medseg

HEAVY = ("torch", "monai", "numpy", "rich", "nibabel", "pydicom", "matplotlib", "SimpleITK")
COMMANDS = ("segment", "batch", "train", "evaluate", "models", "inspect", "demo")


def imported_by(*arguments):
    code = (
        "import sys; from medseg_pipelines.cli import medseg\n"
        f"try: medseg({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("segment", "--help"),
        ("batch", "--help"),
        ("batch", "status", "--help"),
    ],
)
def test_help_imports_nothing_heavy(arguments):
    assert "HEAVY []" in imported_by(*arguments)


def test_importing_the_library_imports_no_torch():
    code = "import sys, medseg; print([n for n in ('torch', 'numpy') if n in sys.modules])"
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[]"


def test_every_command_is_listed_and_explains_itself():
    runner = CliRunner()
    listed = runner.invoke(medseg, ["--help"]).stdout
    for name in COMMANDS:
        assert name in listed
        page = runner.invoke(medseg, [name, "--help"])
        assert page.exit_code == 0
        assert "Usage: medseg" in page.stdout


def test_the_version_is_told():
    assert __version__ in CliRunner().invoke(medseg, ["--version"]).stdout


@pytest.fixture
def failing():
    """A command that raises what it is given, inside the real door."""
    raised = []

    @medseg.command("fail-for-tests")
    def fail() -> None:
        raise raised[0]

    def call(error):
        raised[:] = [error]
        return CliRunner().invoke(medseg, ["fail-for-tests"])

    yield call
    medseg.commands.pop("fail-for-tests")


def test_own_errors_are_one_line_and_exit_code_2(failing):
    result = failing(ReadError("'a.nii' is cut short; copy it again"))
    assert result.exit_code == 2
    assert result.stderr == "medseg: error: 'a.nii' is cut short; copy it again\n"


@pytest.mark.parametrize("error", [Cancelled("the checkpoint is in 'run'"), KeyboardInterrupt()])
def test_stopping_is_exit_code_130(failing, error):
    result = failing(error)
    assert result.exit_code == 130
    assert result.stderr.startswith("medseg: stopped: ")


def test_faults_of_medseg_itself_keep_their_traceback(failing):
    result = failing(ZeroDivisionError("a bug"))
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(("text", "fold"), [("0", 0), ("3", 3), ("all", None)])
def test_folds_are_numbers_or_all(text, fold):
    option = next(one for one in medseg.commands["train"].params if one.name == "fold")
    assert option.callback is not None
    assert option.callback(click.Context(medseg), option, text) == fold


def test_another_fold_is_refused():
    result = CliRunner().invoke(medseg, ["train", "d", "--output", "r", "--fold", "-1"])
    assert result.exit_code == 2
    assert "'-1'" in result.stderr
