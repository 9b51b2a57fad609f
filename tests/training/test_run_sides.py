"""What a training does about left and right is told in Python and by the status of a run."""

from __future__ import annotations

import pytest
from msgspec import structs

from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.run_status import run_status
from toy_dataset import TOY_PLAN, write_toy

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("mirrored", [True, False])
def test_sides_are_told_once_and_stay_in_the_run(tmp_path, mirrored):
    folder = write_toy(tmp_path / "toy")
    names = {label.value: f"Niere links {label.value}" for label in open_dataset(folder).labels}
    dataset = open_dataset(folder, labels=names)
    plan = structs.replace(TOY_PLAN, mirror_axes=(0, 1, 2) if mirrored else (1, 2))
    texts = []
    train(
        dataset,
        tmp_path / "run",
        options=TrainingOptions(steps=1, device="cpu"),
        plan=plan,
        progress=lambda _done, _total, text: texts.append(text),
    )
    (sentence,) = [text for text in texts if text.startswith("Patches are")]
    assert "Niere links" in sentence
    assert ("not mirrored" in sentence) != mirrored
    assert run_status(tmp_path / "run").sides == sentence
