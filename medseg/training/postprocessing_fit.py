"""Choose a model's steps by what they do to held-out cases.

Of each kind of step one after another is tried, and kept only where the mean Dice rises: first the
CRF, one setting at a time, then the steps on labels, label by label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from medseg.errors import InputError
from medseg.metrics import by_region, overlap, summarise
from medseg.planning.plan import Component, Regions
from medseg.postprocessing import build_postprocessing
from medseg.postprocessing.protocol import Three
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, LabelMap, LabelTable
from medseg.volume.label_table import IGNORE, IGNORED_CLASS, MEAN

if TYPE_CHECKING:
    from torch import Tensor

CRF_SETTINGS: Mapping[str, tuple[float, ...]] = {
    "smoothness_weight": (0.0, 0.5, 1.0, 3.0),
    "appearance_weight": (0.0, 0.5, 1.0, 2.0, 5.0),
    "intensity": (0.25, 0.5, 1.0),
    "appearance_mm": (2.0, 4.0, 8.0),
    "smoothness_mm": (1.0, 2.0),
}
"""What is tried for each setting of the CRF, in this order."""
LABEL_STEPS: tuple[Component, ...] = (
    Component(name="components"),
    Component(name="minimum_volume", settings={"smallest_mm3": 10.0}),
    Component(name="minimum_volume", settings={"smallest_mm3": 100.0}),
    Component(name="holes"),
)
"""Steps on labels that are tried, in this order."""


@dataclass(frozen=True, eq=False)
class Example:
    """What a network said about a held-out case, and the truth.

    Parameters
    ----------
    probabilities_LIJK : torch.Tensor
    image_CIJK : torch.Tensor
    truth_IJK : ndarray of integers
        True class of each voxel, on the same grid; 255 where it does not count.
    spacing_mm : tuple of float
        Of the three axes, in mm.
    """

    probabilities_LIJK: Tensor  # noqa: N815 - axes in the name, as everywhere
    image_CIJK: Tensor  # noqa: N815
    truth_IJK: npt.NDArray[Any]  # noqa: N815
    spacing_mm: Three


@dataclass(frozen=True, eq=False)
class LabelExample:
    """What a model made of a held-out case, and the truth.

    Parameters
    ----------
    classes_IJK : ndarray of integers
        Class the model gave to each voxel.
    truth_IJK : ndarray of integers
        True class of each voxel, on the same grid; 255 where it does not count.
    spacing_mm : tuple of float
        Of the three axes, in mm.
    """

    classes_IJK: npt.NDArray[Any]  # noqa: N815 - axes in the name, as everywhere
    truth_IJK: npt.NDArray[Any]  # noqa: N815
    spacing_mm: Three


class Fitting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps for a model, and what they did to the cases they were chosen on.

    Parameters
    ----------
    postprocessing : tuple of Component
        For the manifest; empty when nothing helped.
    dice_without, dice_with : float
        Mean over labels (or regions) of the mean Dice over cases, 0 to 1.
    """

    postprocessing: tuple[Component, ...]
    dice_without: float
    dice_with: float


def fit(
    examples: Sequence[Example], *, least_gain: float = 5e-4, progress: Progress = silent
) -> Fitting:
    """The steps that raise the mean Dice of some held-out cases.

    Parameters
    ----------
    examples : sequence of Example
        Cases the network was not trained on.
    least_gain : float, default 5e-4
        Rise in mean Dice below which a step is not worth its time.
    progress : Progress, optional
        Called before every trial; may raise `Cancelled`.

    Returns
    -------
    Fitting
        Never worse on `examples` than no step at all. Dice on them is a little flattering, since
        the steps were chosen there.

    Raises
    ------
    InputError
        When no example holds a label, neither truly nor by the network.
    """
    classes = max((len(example.probabilities_LIJK) for example in examples), default=1)
    search = _Search(examples, range(1, classes), {}, least_gain, progress)
    start = search.scored((), [_classes(example.probabilities_LIJK) for example in examples])
    best = search.label_steps(_CrfSearch(examples, search).best(start))
    return Fitting(postprocessing=best.choices, dice_without=start.dice, dice_with=best.dice)


def fit_label_steps(
    examples: Sequence[LabelExample],
    *,
    regions: Regions,
    least_gain: float = 5e-4,
    progress: Progress = silent,
) -> Fitting:
    """The steps on labels that raise the mean Dice over the regions of some held-out cases.

    Parameters
    ----------
    examples : sequence of LabelExample
        Cases the network was not trained on.
    regions : tuple of tuple of int
        The classes that each region is made of, as a plan has them; each class is the own one of
        one region. A step takes voxels from one part of a region, mostly to the background, so it
        may cost the regions around that part what it gives to it.
    least_gain : float, default 5e-4
        Rise in mean Dice below which a step is not worth its time.
    progress : Progress, optional
        Called before every step; may raise `Cancelled`.

    Returns
    -------
    Fitting
        Never worse on `examples` than no step at all.

    Raises
    ------
    InputError
        When no example holds a region, neither truly nor by the model.
    """
    labels = sorted(classes[0] for classes in regions)
    named = {str(classes[0]): classes for classes in regions}
    search = _Search(examples, labels, named, least_gain, progress)
    start = search.scored((), [example.classes_IJK for example in examples])
    best = search.label_steps(start)
    return Fitting(postprocessing=best.choices, dice_without=start.dice, dice_with=best.dice)


@dataclass(frozen=True, eq=False)
class _State:
    """Steps so far, and what they make of each example."""

    choices: tuple[Component, ...]
    maps: list[npt.NDArray[Any]]
    dice: float = 0.0


@dataclass(frozen=True, eq=False)
class _Search:
    """Tries steps on labels; `regions`, if there are any, are what is measured in their place."""

    examples: Sequence[Example | LabelExample]
    labels: Sequence[int]
    regions: Mapping[str, tuple[int, ...]]
    least_gain: float
    progress: Progress

    def label_steps(self, start: _State) -> _State:
        """The state after every step on labels that helps, each on the labels it helps."""
        best = start
        for step in LABEL_STEPS:
            self.progress(0, 1, f"fitting {step.name}")
            labels = [
                label
                for label in self.labels
                if self._with_step(best, step, (label,)).dice > best.dice
            ]
            trial = self._with_step(best, step, tuple(labels)) if labels else best
            best = trial if trial.dice - best.dice >= self.least_gain else best
        return best

    def scored(self, choices: tuple[Component, ...], maps: list[npt.NDArray[Any]]) -> _State:
        """A state with the mean over labels, or regions, of the mean Dice over examples."""
        names = {label: str(label) for label in self.labels}
        table = LabelTable.of({**names, IGNORED_CLASS: IGNORE})
        rows = {}
        for number, (example, classes_IJK) in enumerate(zip(self.examples, maps, strict=True)):
            grid = Grid(classes_IJK.shape, np.diag((*example.spacing_mm, 1.0)))
            truth = LabelMap(example.truth_IJK, grid, table)
            predicted = LabelMap(classes_IJK, grid, table)
            rows[str(number)] = by_region(overlap, predicted, truth, self.regions)
        dice = summarise(rows)[MEAN]["dice"] if rows else None
        if dice is None:
            raise InputError("no example holds a label, so no step can be chosen; give others")
        return _State(choices, maps, float(dice))

    def _with_step(self, state: _State, step: Component, labels: tuple[int, ...]) -> _State:
        choice = Component(name=step.name, settings={**step.settings, "labels": list(labels)})
        postprocessing = build_postprocessing((choice,))
        maps = [
            postprocessing.labels(classes_IJK, spacing_mm=example.spacing_mm)
            for example, classes_IJK in zip(self.examples, state.maps, strict=True)
        ]
        return self.scored((*state.choices, choice), maps)


@dataclass(frozen=True, eq=False)
class _CrfSearch:
    """Tries settings of the CRF."""

    examples: Sequence[Example]
    search: _Search

    def best(self, start: _State) -> _State:
        """The best CRF, or no CRF: one setting is changed at a time, the others stay."""
        best = start
        settings: dict[str, Any] = {}
        trials = sum(map(len, CRF_SETTINGS.values()))
        done = 0
        for name, values in CRF_SETTINGS.items():
            tried = []
            for value in values:
                self.search.progress(done, trials, "fitting the CRF")
                done += 1
                tried.append(self._with({**settings, name: value}))
            winner = max(tried, key=lambda state: state.dice)
            settings = dict(winner.choices[0].settings)
            best = max(best, winner, key=lambda state: state.dice)
        return best if best.dice - start.dice >= self.search.least_gain else start

    def _with(self, settings: dict[str, Any]) -> _State:
        choice = Component(name="crf", settings=settings)
        try:
            return self.search.scored((choice,), list(self._postprocessed(choice)))
        except InputError:  # kernels too narrow for these images: as good as none
            return _State((choice,), [])

    def _postprocessed(self, choice: Component) -> Iterator[npt.NDArray[Any]]:
        postprocessing = build_postprocessing((choice,))
        for example in self.examples:
            yield _classes(
                postprocessing.probabilities(
                    example.probabilities_LIJK, example.image_CIJK, spacing_mm=example.spacing_mm
                )
            )


def _classes(probabilities_LIJK: Tensor) -> npt.NDArray[np.uint8]:
    """The most probable class of each voxel."""
    classes: npt.NDArray[Any] = probabilities_LIJK.argmax(dim=0).cpu().numpy()
    return classes.astype(np.uint8)
