"""What lies in a folder of nnU-Net v2, and which of it is meant.

::

    DatasetNNN_Name/
      inference_information.json            which configurations were best, alone or together
      TRAINER__PLANS__CONFIGURATION/
        plans.json  dataset.json
        fold_0..4 or fold_all/              checkpoint_final.pth  validation/summary.json
        crossval_results_folds_.../         postprocessing.json
      ensembles/ensemble___A___B___folds/   postprocessing.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from medseg.errors import PackageError
from medseg.model_package.interop.nnunet.plans import Plans, convert
from medseg.model_package.interop.nnunet.postprocessed import FILE as POSTPROCESSING

PLANS, DATASET = "plans.json", "dataset.json"
_FINAL, _BEST = "checkpoint_final.pth", "checkpoint_best.pth"
_INFORMATION = "inference_information.json"
_DEEPEST = 3
"""Folders between what is given and a trained configuration."""


@dataclass(frozen=True)
class Trained:
    """A folder ``TRAINER__PLANS__CONFIGURATION``.

    Parameters
    ----------
    folder : Path
    plans : Plans
    configuration : str
    """

    folder: Path
    plans: Plans
    configuration: str

    @classmethod
    def of(cls, folder: Path) -> Trained:
        """The configuration of a folder: the end of its name, or the only one of its plans.

        Raises
        ------
        PackageError
            When the plans do not decode, or neither says which configuration was trained.
        """
        plans: Plans = convert(read_json(folder / PLANS), Plans, where=f"'{PLANS}'")
        name = folder.name.rpartition("__")[2]
        if name in plans.configurations:
            return cls(folder, plans, name)
        if len(plans.configurations) == 1:
            return cls(folder, plans, next(iter(plans.configurations)))
        fold = next(iter(checkpoints_in(folder)), None)
        if fold is None:
            raise no_fold(folder)
        from medseg.model_package.interop.nnunet.checkpoint import read_checkpoint

        return cls(folder, plans, read_checkpoint(fold).configuration)

    @property
    def previous(self) -> str | None:
        """The configuration whose labels it takes as input, if any."""
        return self.plans.configuration(self.configuration).previous_stage

    def checkpoints(self, folds: Sequence[str] = ()) -> dict[str, Path]:
        """The file of each fold, as nnU-Net takes them: all numbered ones, else ``all``.

        Parameters
        ----------
        folds : sequence of str, optional
            Those that are wanted.

        Raises
        ------
        PackageError
            When one is missing, or there is none.
        """
        there = {
            path.parent.name.removeprefix("fold_"): path for path in checkpoints_in(self.folder)
        }
        if missing := [fold for fold in folds if fold not in there]:
            raise PackageError(
                f"'{self.folder.name}' has no trained fold {', '.join(missing)}; it has"
                f" {', '.join(there) or 'none'}",
                code="NO_FOLD",
            )
        if len(folds) > 1 and "all" in folds:
            raise PackageError(
                f"fold 'all' was trained on every case and does not go with {', '.join(folds)};"
                " name it alone",
                code="NO_FOLD",
            )
        numbered = [fold for fold in there if fold.isdecimal()]
        wanted = list(folds) or sorted(numbered, key=int) or list(there)
        if not wanted:
            raise no_fold(self.folder)
        return {fold: there[fold] for fold in wanted}


def no_fold(folder: Path) -> PackageError:
    """The error for a folder without weights."""
    return PackageError(
        f"'{folder.name}' holds no weights: there is no fold_0/{_FINAL} (or fold_all) in it; copy"
        " the whole folder, or train the model to its end",
        code="NO_FOLD",
    )


def checkpoints_in(folder: Path) -> list[Path]:
    """Final checkpoints of its folds; the best ones where no training came to its end."""
    for name in (_FINAL, _BEST):
        paths = sorted(folder.glob(f"fold_*/{name}"))
        if paths:
            return paths
    return []


@dataclass(frozen=True)
class Choice:
    """Which trained configurations make the model.

    Parameters
    ----------
    members : tuple of Trained
        Several ones answer together.
    postprocessing : Path or None
        The file of what `inference_information.json` names; None where there is no such choice.
    """

    members: tuple[Trained, ...]
    postprocessing: Path | None = None


def trained_in(root: Path) -> list[Path]:
    """Folders of trained configurations: `root` itself, or those in it."""
    if _is_trained(root):
        return [root]
    levels = ("/".join("*" * depth) for depth in range(1, _DEEPEST + 1))
    folders = (path.parent for level in levels for path in root.glob(f"{level}/{PLANS}"))
    return sorted(folder for folder in folders if _is_trained(folder))


def _is_trained(folder: Path) -> bool:
    """Whether a folder has plans and weights, or the name of one that has."""
    named = folder.name.count("__") == 2 and not folder.name.startswith("ensemble___")
    return (folder / PLANS).is_file() and (named or any(folder.glob("fold_*/")))


def choose(root: Path, configuration: str = "") -> Choice:
    """The configuration that is meant: the only one, the cascade, or the one called the best.

    Parameters
    ----------
    root : Path
        Folder of one configuration, of a dataset, or above.
    configuration : str, optional
        Name of one, or of its folder.

    Raises
    ------
    PackageError
        When there is none, or several and nothing says which.
    """
    trained = [Trained.of(folder) for folder in trained_in(root)]
    if not trained:
        raise PackageError(
            f"'{root.name}' holds no trained configuration of nnU-Net v2 (a folder with {PLANS},"
            f" {DATASET} and fold_0)",
            code="NO_MODEL",
        )
    if configuration:
        trained = [
            each for each in trained if configuration in (each.configuration, each.folder.name)
        ]
        return Choice((_only(trained, root, configuration),))
    if len(trained) == 1:
        return Choice((trained[0],))
    best = _named_best(trained)
    if best:
        return best
    stages = [each for each in trained if each.previous]
    if len(trained) == 2 and len(stages) == 1:
        return Choice((stages[0],))
    return Choice((_only(trained, root),))


def _only(trained: list[Trained], root: Path, asked: str = "") -> Trained:
    """The only one; an error that lists them otherwise."""
    if len(trained) == 1:
        return trained[0]
    if not trained:
        names = ", ".join(folder.name for folder in trained_in(root))
        raise PackageError(
            f"'{root.name}' has no configuration '{asked}'; it has {names}", code="NO_CONFIGURATION"
        )
    listed = ", ".join(f"{each.folder.parent.name}/{each.folder.name}" for each in trained)
    raise PackageError(
        f"'{root.name}' holds several trained configurations ({listed}) and no {_INFORMATION} that"
        " says which was best; give the folder of one, or `medseg models import` with"
        " --configuration",
        code="SEVERAL_CONFIGURATIONS",
    )


class _Selected(msgspec.Struct, frozen=True, kw_only=True):
    configuration: str
    trainer: str
    plans_identifier: str


class _Best(msgspec.Struct, frozen=True, kw_only=True):
    selected_model_or_models: tuple[_Selected, ...]
    postprocessing_file: str = ""


class _Information(msgspec.Struct, frozen=True, kw_only=True):
    best_model_or_ensemble: _Best


def _named_best(trained: list[Trained]) -> Choice | None:
    """What the dataset's own comparison found to be best; None without one."""
    datasets = {each.folder.parent for each in trained}
    file = next(iter(datasets)) / _INFORMATION
    if len(datasets) > 1 or not file.is_file():
        return None
    best: _Best = convert(read_json(file), _Information, where=file.name).best_model_or_ensemble
    by_folder = {each.folder.name: each for each in trained}
    names = [
        f"{model.trainer}__{model.plans_identifier}__{model.configuration}"
        for model in best.selected_model_or_models
    ]
    if missing := [name for name in names if name not in by_folder]:
        raise PackageError(
            f"'{file.name}' names {', '.join(missing)} as best, which is not there; give"
            f" the folder of one of {', '.join(by_folder)}",
            code="NO_CONFIGURATION",
        )
    # the path is that of the machine where it was written; its end is the same everywhere
    parts = PurePosixPath(best.postprocessing_file.replace("\\", "/")).parts[-3:-1]
    steps = file.parent.joinpath(*parts, POSTPROCESSING)
    inside = bool(parts) and ".." not in parts and steps.is_file()
    return Choice(tuple(by_folder[name] for name in names), steps if inside else None)


def previous_of(trained: Trained) -> Trained | None:
    """The stage before, which lies beside it.

    Raises
    ------
    PackageError
        When it is not there.
    """
    if trained.previous is None:
        return None
    name = f"{trained.folder.name.rpartition('__')[0]}__{trained.previous}"
    folder = trained.folder.with_name(name)
    if not _is_trained(folder):
        raise PackageError(
            f"'{trained.folder.name}' is the second stage of a cascade and its first, '{name}', is"
            " not beside it; give the folder of the dataset that holds both",
            code="NO_PREVIOUS_STAGE",
        )
    return Trained(folder, trained.plans, trained.previous)


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises
    ------
    PackageError
        When it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackageError(
            f"'{path.parent.name}' has no readable {path.name}: {error.strerror}", code="NO_FILE"
        ) from error
    except ValueError as error:
        raise PackageError(
            f"'{path.parent.name}/{path.name}' is no JSON: {error}", code="DAMAGED"
        ) from error
