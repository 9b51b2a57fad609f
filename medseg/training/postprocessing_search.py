"""Which steps a model gets after its network: chosen on some held-out cases, tried on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
from torch import Tensor

from medseg.inference import Predictor
from medseg.losses import IGNORE
from medseg.planning import Component
from medseg.postprocessing import Postprocessing, build_postprocessing
from medseg.postprocessing.protocol import Three
from medseg.preprocessing import prepare_labels
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import class_indices
from medseg.training.dataset import Case, Dataset
from medseg.training.postprocessing_fit import Example, LabelExample, fit, fit_label_steps
from medseg.training.validation import mean_dice

MOST_CASES = 16
"""Held-out cases whose probabilities are kept in memory at once."""


class PostprocessingChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Steps chosen for a model, and what they do to cases they were not chosen on.

    Parameters
    ----------
    postprocessing : tuple of Component
        Empty when nothing helped.
    dice_without, dice_with : float or None
        Mean foreground Dice of the other held-out cases; None when there are none, or no step.
    """

    postprocessing: tuple[Component, ...] = ()
    dice_without: float | None = None
    dice_with: float | None = None


def choose_postprocessing(
    predictor: Predictor, dataset: Dataset, cases: Sequence[Case], *, progress: Progress = silent
) -> PostprocessingChoice:
    """Choose steps on every other held-out case; keep them if the rest do not suffer.

    A model of regions has no probabilities of classes, so its steps are those on labels.

    Parameters
    ----------
    predictor : Predictor
        The model, without steps.
    dataset : Dataset
    cases : sequence of Case
        Held-out cases; at least one.
    progress : Progress, optional
        Called on the way; may raise `Cancelled`.
    """
    chosen_on, others = cases[::2][:MOST_CASES], cases[1::2]
    postprocessing = _fitted(predictor, dataset, chosen_on, progress)
    if not postprocessing or not others:
        return PostprocessingChoice(postprocessing=postprocessing)
    refined = replace(predictor, postprocessing=build_postprocessing(postprocessing))
    without = mean_dice(predictor, dataset, others, progress=progress).get("foreground")
    with_steps = mean_dice(refined, dataset, others, progress=progress).get("foreground")
    if without is None or with_steps is None:
        return PostprocessingChoice(postprocessing=postprocessing)
    kept = postprocessing if with_steps >= without else ()
    return PostprocessingChoice(postprocessing=kept, dice_without=without, dice_with=with_steps)


def _fitted(
    predictor: Predictor, dataset: Dataset, cases: Sequence[Case], progress: Progress
) -> tuple[Component, ...]:
    """Steps that help on some cases; none when the truth holds nothing to measure by."""
    regions = predictor.plan.regions
    if regions:
        examples = [_labelled(predictor, dataset, case) for case in cases]
        if not any(_is_labelled(one) for one in examples):
            return ()
        return fit_label_steps(examples, regions=regions, progress=progress).postprocessing
    seen = [held_out_example(predictor, dataset, case) for case in cases]
    if not any(_is_labelled(one) for one in seen):
        return ()
    return fit(seen, progress=progress).postprocessing


def _is_labelled(example: Example | LabelExample) -> bool:
    """Whether the truth holds a class to measure by."""
    return bool(((example.truth_IJK > 0) & (example.truth_IJK != IGNORE)).any())


def _labelled(predictor: Predictor, dataset: Dataset, case: Case) -> LabelExample:
    """Predicted and true classes of a case on its own grid, where steps on labels work."""
    scan, truth = dataset.read(case)
    found = predictor.predict(scan)
    return LabelExample(
        class_indices(found.values, found.table),
        class_indices(truth.values, dataset.annotated),
        truth.grid.spacing_mm,
    )


def held_out_example(predictor: Predictor, dataset: Dataset, case: Case) -> Example:
    """Probabilities, image and truth of a case on the grid the network sees."""
    scan, truth = dataset.read(case)
    seen = _Recorder()
    replace(predictor, postprocessing=Postprocessing((seen,))).predict(scan)
    classes = class_indices(prepare_labels(truth, predictor.plan), dataset.annotated)
    return Example(seen.probabilities_LIJK, seen.image_CIJK, classes, seen.spacing_mm)


@dataclass
class _Recorder:
    """A step that changes nothing and remembers what went through."""

    probabilities_LIJK: Tensor = field(init=False)  # noqa: N815 - axes in the name, as everywhere
    image_CIJK: Tensor = field(init=False)  # noqa: N815
    spacing_mm: Three = field(init=False)

    def __call__(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, *, spacing_mm: Three
    ) -> Tensor:
        self.probabilities_LIJK = probabilities_LIJK.clone()
        self.image_CIJK, self.spacing_mm = image_CIJK.clone(), spacing_mm
        return probabilities_LIJK
