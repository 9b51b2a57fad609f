"""Options that several commands have, and the screen they show themselves on.

Only click is imported here, so that help is instant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medseg.planning import Component
    from medseg_pipelines.console import Console


def open_console() -> AbstractContextManager[Console]:
    """The screen of a command, which listens to Ctrl-C."""
    from medseg_pipelines.console import Console

    return Console().listening()


def given_on(ctx: click.Context) -> dict[str, Any]:
    """The parameters of a command that the person gave, by name; none that is a default."""
    given = click.core.ParameterSource.COMMANDLINE
    return {k: value for k, value in ctx.params.items() if ctx.get_parameter_source(k) is given}


def settings_of(
    ctx: click.Context, option: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, Any]:
    """Settings from KEY=VALUE: values are JSON where they can be, else words."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"'{pair}' is not KEY=VALUE", ctx, option)
        try:
            settings[key] = json.loads(text)
        except ValueError:
            settings[key] = text
    return settings


def oversample_of(ctx: click.Context, option: click.Parameter, text: str) -> float | str:
    """A share, or one of the words auto and off."""
    if text in ("auto", "off"):
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is neither auto, off, nor a share such as 0.33", ctx, option
        ) from None


def class_weights_of(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> dict[str, float] | str | None:
    """Weights from LABEL=W,LABEL=W, or the word auto; a label's name may hold a comma."""
    if text in (None, "auto"):
        return text
    pairs = re.findall(r"\s*([^=]+)=([^,=]+)(?:,|$)", str(text))
    try:
        weights = {name: float(weight) for name, weight in pairs}
    except ValueError:
        weights = {}
    if not weights or ",".join(f"{name}={weight}" for name, weight in pairs) != text:
        raise click.BadParameter(f"'{text}' is neither auto nor LABEL=W,LABEL=W", ctx, option)
    return weights


def memory_of(ctx: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Bytes from a size such as 8G."""
    from medseg.errors import InputError
    from medseg.training.gpu_memory import bytes_of

    try:
        return None if text is None else bytes_of(text)
    except InputError as error:
        raise click.BadParameter(str(error), ctx, option) from None


def folds_of(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | str | None:
    """Numbers from N,N,..., or the word all."""
    if text in (None, "all"):
        return text
    numbers = str(text).split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise click.BadParameter(f"'{text}' is neither all nor numbers such as 0,1,2", ctx, option)
    return tuple(int(number) for number in numbers)


def devices_of(ctx: click.Context, option: click.Parameter, text: str) -> int | tuple[str, ...]:
    """A number of devices, or their names from DEVICE,DEVICE; they are looked at when used."""
    if not text.isdecimal():
        return tuple(filter(None, (name.strip() for name in text.split(","))))
    if int(text) < 1:
        raise click.BadParameter("0 devices train nothing; give at least 1", ctx, option)
    return int(text)


def _steps(
    ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> tuple[Component, ...] | None:
    """Postprocessing steps from NAME:KEY=VALUE,...; None, the model's own, where none is given."""
    from medseg.planning import Component

    steps = []
    for text in texts:
        name, _, rest = text.partition(":")
        pairs = tuple(re.split(r",(?=\w+=)", rest)) if rest else ()
        steps.append(Component(name=name, settings=settings_of(ctx, option, pairs)))
    return tuple(step for step in steps if step.name != "none") if texts else None


def _only_one(ctx: click.Context, option: click.Parameter, models: tuple[str, ...]) -> str:
    """The model; the last of several does not win silently."""
    if len(models) > 1:
        raise click.BadParameter(f"it is given {len(models)} times; give one", ctx, option)
    return models[0]


def model_option(*, several: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--model``: one, or with `several` as many as a person gives."""
    more = "; may be given several times." if several else "."
    return click.option(
        "--model",
        "models" if several else "model",
        required=True,
        multiple=True,
        callback=None if several else _only_one,
        metavar="NAME_OR_FOLDER",
        help="A shipped or imported model, or the folder or archive of one" + more,
    )


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cpu:bfloat16, cuda, cuda:1 or mps.",
)
encoding_option = click.option(
    "--encoding", type=click.Choice(["binary", "labelmap", "auto"]), help="Of a DICOM SEG."
)
postprocess_option = click.option(
    "--postprocess",
    "postprocessing",
    multiple=True,
    metavar="STEP[:KEY=VALUE,...]",
    callback=_steps,
    help="Step after the network in place of the model's own, or none; may be given several times.",
)
probabilities_option = click.option(
    "--probabilities",
    is_flag=True,
    help="Write the probability of every class too: 4-D NIfTI, uint8, 255 is certain.",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(["torch", "openvino", "onnxruntime", "auto"]),
    default="torch",
    show_default=True,
    help="What runs the network on a CPU; auto measures once and takes the fastest.",
)
uncertainty_option = click.option(
    "--uncertainty",
    is_flag=True,
    help="Write how probable it is that a label is wrong: NIfTI, uint8, per cent.",
)
tta_option = click.option(
    "--tta",
    is_flag=True,
    help="Take the mean over mirror images: more exact, up to eight times slower.",
)
_roi_from_option = click.option(
    "--roi-from",
    metavar="MASK|MODEL|coarse",
    help="Look only at a box around the labels of a mask, of another model, or of a quick look"
    " at larger voxels.",
)
_roi_margin_option = click.option(
    "--roi-margin",
    "roi_margin_mm",
    type=click.FloatRange(0),
    metavar="MM",
    help="Around that box; 20 when not given.",
)
file_path = click.Path(path_type=Path)


def roi_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where to look."""
    return _roi_from_option(_roi_margin_option(command))


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what may be repaired in a DICOM series."""
    irregular = click.option(
        "--irregular",
        type=click.Choice(["refuse", "resample"]),
        default="refuse",
        show_default=True,
        help="DICOM slices at uneven distances.",
    )
    missing = click.option(
        "--missing",
        type=click.Choice(["refuse", "interpolate"]),
        default="refuse",
        show_default=True,
        help="Missing DICOM slices.",
    )
    return irregular(missing(command))


def _fold(ctx: click.Context, option: click.Parameter, text: str) -> int | None:
    """A fold's number, or None for "all"."""
    if text.isdecimal():
        return int(text)
    if text != "all":
        raise click.BadParameter(f"'{text}' is neither a fold's number nor 'all'", ctx, option)
    return None


def dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which cases of a dataset are meant, and what they are."""
    options = (
        click.option(
            "--fold",
            default="0",
            show_default=True,
            metavar="N",
            callback=_fold,
            help='Hold this fold out and score on it; "all" trains on every case.',
        ),
        click.option("--splits", type=file_path, help="Folds from this JSON file."),
        click.option("--labels", type=file_path, help='Label names, as JSON: {"1": "liver"}.'),
        click.option(
            "--modality",
            type=click.Choice(["CT", "MR"]),
            help="Of the scans, where no file says it.",
        ),
        click.option(
            "--cases",
            "status",
            type=click.Choice(["reviewed", "draft", "raw"]),
            default="reviewed",
            show_default=True,
            help="Least that a case was checked, in a dataset made in napari.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
