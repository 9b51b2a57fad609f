"""Which steps a model gets after its network: chosen on some held-out cases, tried on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
from torch import Tensor

from medseg.inference import Predictor
from medseg.losses import IGNORE
from medseg.planning import Component
from medseg.planning.regions import Region
from medseg.postprocessing import Postprocessing, build_postprocessing
from medseg.postprocessing.protocol import Three
from medseg.preprocessing import prepare_labels
from medseg.runtime.progress import Progress, silent
from medseg.training.cache import class_indices
from medseg.training.held_out import HeldOutCase
from medseg.training.postprocessing_fit import Example, LabelExample, fit, fit_label_steps
from medseg.training.validation import PredictorOf, mean_dice
from medseg.volume.label_table import MEAN

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
    predictor: Predictor | PredictorOf,
    cases: Sequence[HeldOutCase],
    *,
    regions: Sequence[Region] = (),
    progress: Progress = silent,
) -> PostprocessingChoice:
    """Choose steps on every other held-out case; keep them if the rest do not suffer.

    A model of regions has no probabilities of classes, so its steps are those on labels.

    Parameters
    ----------
    predictor : Predictor or callable
        The model, without steps; or what gives each case that of the fold which held it out.
    cases : sequence of HeldOutCase
        At least one.
    regions : sequence of Region
        Of the dataset.
    progress : Progress, optional
        Called on the way; may raise `Cancelled`.
    """
    of_case = predictor if callable(predictor) else lambda _: predictor
    fitted_on, others = cases[::2][:MOST_CASES], cases[1::2]
    postprocessing = _fitted(of_case, fitted_on, progress)
    if not postprocessing or not others:
        return PostprocessingChoice(postprocessing=postprocessing)
    steps = build_postprocessing(postprocessing)
    without, with_steps = (
        mean_dice(model, others, regions=regions, progress=progress).get(MEAN)
        for model in (of_case, lambda case: replace(of_case(case), postprocessing=steps))
    )
    if without is None or with_steps is None:
        return PostprocessingChoice(postprocessing=postprocessing)
    return PostprocessingChoice(
        postprocessing=postprocessing if with_steps >= without else (),
        dice_without=without,
        dice_with=with_steps,
    )


def _fitted(
    of_case: PredictorOf, cases: Sequence[HeldOutCase], progress: Progress
) -> tuple[Component, ...]:
    """Steps that help on some cases; none when the truth holds nothing to measure by."""
    regions = of_case(cases[0]).plan.regions
    if regions:
        predicted = [_label_example(of_case(case), case) for case in cases]
        if not any(map(_is_labelled, predicted)):
            return ()
        return fit_label_steps(predicted, regions=regions, progress=progress).postprocessing
    examples = [held_out_example(of_case(case), case) for case in cases]
    if not any(map(_is_labelled, examples)):
        return ()
    return fit(examples, progress=progress).postprocessing


def _is_labelled(example: Example | LabelExample) -> bool:
    """Whether the truth holds a class to measure by."""
    return bool(((example.truth_IJK > 0) & (example.truth_IJK != IGNORE)).any())


def _label_example(predictor: Predictor, case: HeldOutCase) -> LabelExample:
    """Predicted and true classes of a case on its own grid, where steps on labels work."""
    labels = predictor.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
    return LabelExample(
        class_indices(labels.values, labels.table),
        class_indices(case.truth.values, case.truth.table),
        case.truth.grid.spacing_mm,
    )


def held_out_example(predictor: Predictor, case: HeldOutCase) -> Example:
    """Probabilities, image and truth of a case on the grid the network sees."""
    recorder = _Recorder()
    recording = replace(predictor, postprocessing=Postprocessing((recorder,)))
    recording.predict_prepared(case.image_CIJK, case.truth.grid, case.box)
    classes = class_indices(prepare_labels(case.truth, predictor.plan, case.box), case.truth.table)
    return Example(recorder.probabilities_LIJK, recorder.image_CIJK, classes, recorder.spacing_mm)


@dataclass
class _Recorder:
    """A step that changes nothing and keeps what it was given."""

    probabilities_LIJK: Tensor = field(init=False)  # noqa: N815 - axes in the name, as everywhere
    image_CIJK: Tensor = field(init=False)  # noqa: N815
    spacing_mm: Three = field(init=False)

    def __call__(
        self, probabilities_LIJK: Tensor, image_CIJK: Tensor, *, spacing_mm: Three
    ) -> Tensor:
        self.probabilities_LIJK = probabilities_LIJK.clone()
        self.image_CIJK, self.spacing_mm = image_CIJK.clone(), spacing_mm
        return probabilities_LIJK
