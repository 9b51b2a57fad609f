"""A run that starts from a model: its weights, its labels, its licence, both scores."""

from __future__ import annotations

import json

import pytest
import torch
from msgspec import structs
from safetensors.torch import load_file

from medseg.errors import Cancelled, InputError, LabelError, PlanError
from medseg.model_package import find_package
from medseg.networks import build_network
from medseg.training import TrainingOptions, open_dataset, train
from medseg.training.fine_tuning import score_before
from medseg.training.history import read_history
from medseg.training.run_status import is_locked, run_status, stop_run
from medseg.training.weight_transfer import channel_sources, transfer_of, transferred
from medseg_pipelines.cli import medseg
from toy_dataset import TOY_PLAN, write_toy, write_toy_regions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("data") / "toy", cases=4)


@pytest.fixture(scope="module")
def model(root, tmp_path_factory):
    """A model that has learnt the toy, with a licence."""
    run = tmp_path_factory.mktemp("runs") / "first"
    options = TrainingOptions(steps=80, validations=0, device="cpu", learning_rate=1e-2)
    folder = train(open_dataset(root), run, options=options, plan=TOY_PLAN)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["card"] |= {"licence": "CC BY 4.0", "attribution": "Somebody", "modality": "MR"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def options(model, **more):
    return TrainingOptions(
        **{"start": str(model), "validations": 0, "device": "cpu", "steps": 1} | more
    )


def test_it_starts_where_the_model_stands_and_tells_both_scores(root, model, tmp_path):
    folder = train(open_dataset(root), tmp_path / "run", options=options(model, learning_rate=1e-9))
    before = load_file(model / "weights.safetensors")
    for name, value in load_file(folder / "weights.safetensors").items():
        torch.testing.assert_close(value, before[name], rtol=2e-3, atol=1e-4)
    old, new = find_package(model).manifest, find_package(folder).manifest
    assert new.plan == old.plan
    assert score_before(tmp_path / "run") == pytest.approx(old.scores, abs=2e-2)
    assert old.scores["mean_over_labels"] > 0.4
    assert new.scores == pytest.approx(old.scores, abs=2e-2)
    card = new.card
    assert (card.licence, card.attribution, card.modality) == ("CC BY 4.0", "Somebody", "MR")
    assert new.provenance["started from"] == "toy 1"
    assert float(new.provenance["its mean Dice on the same cases"]) == pytest.approx(
        old.scores["mean_over_labels"], abs=2e-2
    )
    assert options(model).peak_rate < TrainingOptions().peak_rate


def test_labels_are_learnt_in_the_models_order(root, model, tmp_path):
    """A dataset that numbers the structures the other way round continues just as well."""
    import nibabel as nib
    import numpy as np

    other = write_toy(tmp_path / "swapped", cases=4)
    (other / "labels.json").write_text('{"1": "core", "2": "box"}')
    for path in (other / "labels").iterdir():
        image = nib.load(path)
        values = np.array([0, 2, 1], np.uint8)[np.asarray(image.dataobj)]
        nib.save(nib.Nifti1Image(values, image.affine), path)
    run = tmp_path / "run"
    folder = train(open_dataset(other), run, options=options(model, learning_rate=1e-9))
    assert score_before(run) == pytest.approx(score_before_of(root, model, tmp_path), abs=1e-6)
    assert find_package(folder).manifest.labels.names == ("box", "core")


def score_before_of(root, model, tmp_path):
    train(open_dataset(root), tmp_path / "same", options=options(model))
    return score_before(tmp_path / "same")


def test_what_does_not_fit_is_refused_before_anything_is_made(root, model, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(LabelError, match="has regions and the model"):
        train(open_dataset(write_toy_regions(tmp_path / "regions")), run, options=options(model))
    manifest = json.loads((model / "manifest.json").read_text())
    ct = tmp_path / "ct"
    ct.mkdir()
    manifest["card"]["modality"] = "CT"
    (ct / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PlanError, match=r"made for CT .* holds MR"):
        train(open_dataset(root, modality="MR"), run, options=options(ct))
    manifest["card"]["modality"] = ""
    manifest["plan"]["channels"] *= 2
    manifest["plan"]["normalisation"] *= 2
    (ct / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PlanError, match=r"expects 2 channel.* have 1"):
        train(open_dataset(root), run, options=options(ct))
    with pytest.raises(InputError, match="takes its plan from it"):
        train(
            open_dataset(root), run, options=options(model), plan=find_package(model).manifest.plan
        )
    with pytest.raises(InputError, match="not from both"):
        TrainingOptions(start="a", pretrained="b")
    assert not run.exists()


def test_a_run_can_be_watched_stopped_and_taken_up(root, model, tmp_path):
    run = tmp_path / "run"
    seen = []

    def look(done, total, message):
        if message.startswith("training"):
            seen.append(run_status(run))
            raise Cancelled("enough")

    assert run_status(run).phase == "absent"
    with pytest.raises(InputError, match="nothing to stop"):
        stop_run(run)
    with pytest.raises(Cancelled):
        train(open_dataset(root), run, options=options(model, steps=3), progress=look)
    assert (seen[0].phase, seen[0].step) == ("running", 1)
    stopped = run_status(run)
    assert (stopped.phase, stopped.step, stopped.total_steps) == ("stopped", 1, 3)
    assert not is_locked(run)
    assert stopped.source.path == str(root.resolve())
    assert [step for step, _ in stopped.dice] == [0]
    train(open_dataset(root), run, options=TrainingOptions(), resume=True)
    done = run_status(run)
    assert (done.phase, done.step) == ("finished", 3)
    assert [record["step"] for record in read_history(run) if "loss" in record] == [1, 2, 3]


def test_other_labels_keep_what_has_the_same_name(root, model, tmp_path):
    data = open_dataset(root, labels={1: "box", 2: "kernel"})
    folder = train(data, tmp_path / "run", options=options(model, learning_rate=1e-9))
    manifest = find_package(folder).manifest
    assert manifest.labels.names == ("box", "kernel")
    told = {k: v for k, v in manifest.provenance.items() if k.startswith("labels ")}
    assert told == {"labels kept": "box", "labels new": "kernel", "labels dropped": "core"}
    assert "kernel" not in score_before(tmp_path / "run")


def test_other_labels_and_weights_are_told_before_the_first_step(root, model, tmp_path):
    data = open_dataset(root, labels={1: "box", 2: "kernel"})
    told = []

    def listen(done, total, message):
        told.append(message)

    chosen = options(model, class_weights={"kernel": 3.0}, batch=1)
    train(data, tmp_path / "run", options=chosen, progress=listen)
    first = next(n for n, message in enumerate(told) if message.startswith("training"))
    before = told[:first]
    assert "Labels of the model: kept box; new kernel; dropped core." in before
    assert "Class weights in the cross-entropy: background 1, box 1, kernel 3." in before
    assert "Batch: 1 patches in a step, as asked for." in before


def test_other_labels_from_the_command_line(root, model, tmp_path, capsys):
    names = tmp_path / "names.json"
    names.write_text('{"1": "box", "2": "kernel"}')
    run = tmp_path / "run"
    words = f"train {root} --output {run} --labels {names} --from {model} --steps 1 --device cpu"
    medseg([*words.split(), "--class-weights", "auto"], standalone_mode=False)
    printed = capsys.readouterr()
    assert "Labels of the model: kept box; new kernel; dropped core." in printed.err
    assert "Class weights in the cross-entropy: background 1." in printed.err
    assert "Held-out cases" in printed.out
    assert find_package(run).manifest.labels.names == ("box", "kernel")


def test_weights_follow_the_channels(model):
    """A network whose new channel is anything does what the model does."""
    manifest = find_package(model).manifest
    plan, labels = manifest.plan, manifest.labels
    more = structs.replace(plan, channels=("PET", "MR"), normalisation=plan.normalisation * 2)
    sources = channel_sources(more.channels, 2, plan.channels)
    assert sources == (None, 0)
    transfer = transfer_of(labels, more.channels, sources, labels, plan)
    assert transfer.sentences == ["Channels of the model: kept MR; new PET; dropped none."]
    classes = plan.outputs(labels)
    old, new = build_network(plan, classes=classes), build_network(more, classes=classes)
    weights = load_file(model / "weights.safetensors")
    weights = {name: value.float() for name, value in weights.items()}
    old.load_state_dict(weights)
    new.load_state_dict(transferred(new, weights, transfer, plan=plan, model=labels, labels=labels))
    image = torch.randn((1, 2, *plan.patch), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(new.eval()(image), old.eval()(image[:, 1:]))
