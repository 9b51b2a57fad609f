"""Rows about what lies in people's folders, and about scores and predictions of it."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
from ml_rows.lab import (
    ROOT,
    Answer,
    Lab,
    counts,
    ends_well,
    label_names,
    must,
    no_step,
    plain,
    prepared,
    refuses,
)
from ml_rows.runs import BOX_AND_CORE
from PIL import Image

from medseg import Predictor, read_labels, read_scan
from medseg_pipelines.batch.ledger.ledger import AllCases
from medseg_pipelines.batch.reports.label_maps import label_maps

FIVE = {f"c{n}" for n in range(5)}


def trained_on(lab: Lab, dataset: Path, run: Path, *, cases: set[str] | None = None) -> str:
    """Train for a step by the plan beside the dataset; all cases and both names must be there."""
    ends_well(
        lab.train(dataset, run, "--steps", 1, plan=(dataset.parent / "mini_plan.json").exists())
    )
    must(prepared(run) == (cases or FIVE), f"cases {sorted(prepared(run))}")
    must(label_names(run) == ["box", "core"], label_names(run))
    return f"{len(prepared(run))} cases, labels {', '.join(label_names(run))}"


def m27(lab: Lab) -> str:
    run = lab.output("m27")
    answer = lab.train(lab.cases("channel_cases") / "one_missing", run, plan=False)
    return refuses(answer, "'c2'", "c2_0001 is missing")


def m28(lab: Lab) -> str:
    run = lab.output("m28")
    answer = lab.train(lab.cases("channel_cases") / "wrong_number", run, plan=False)
    return refuses(answer, "'c2'", "c2_0001", "c2_0000")


def m30(lab: Lab) -> str:
    dataset, run = lab.cases("nnunet_names") / "first_version", lab.output("m30")
    seen = trained_on(lab, dataset, run)
    channels = plain(run / "plan.json")["channels"]
    must(channels == ["T1", "T2"], f"channels {channels}")
    return f"{seen}, channels {', '.join(channels)}"


def m31(lab: Lab) -> str:
    dataset = lab.cases("nnunet_names") / "no_channel_number"
    answer = lab.train(dataset, lab.output("m31"), plan=False)
    seen = refuses(answer, "_0000", "c0.nii.gz")
    must("''" not in answer.text, seen)
    return seen


def m32(lab: Lab) -> str:
    run = lab.output("m32")
    seen = trained_on(lab, lab.cases("folder_cases") / "seg_nrrd", run)
    must(counts(run, "c1") == BOX_AND_CORE, counts(run, "c1"))
    return seen


def m33(lab: Lab) -> str:
    run = lab.output("m33")
    answer = lab.train(lab.cases("folder_cases") / "segments_swapped", run, "--steps", 1)
    if answer.code == 2:
        no_step(run)
        return refuses(answer, "c2", "box", "core")
    ends_well(answer)
    found = counts(run, "c1"), counts(run, "c2")
    must(label_names(run) == ["box", "core"], label_names(run))
    must(found == (BOX_AND_CORE, BOX_AND_CORE), f"c1 {found[0]}, c2 {found[1]}")
    return f"c2 {found[1]}"


def m34(lab: Lab) -> str:
    return trained_on(lab, lab.cases("folder_cases") / "capitals", lab.output("m34"))


def m35(lab: Lab) -> str:
    return trained_on(lab, lab.cases("folder_cases") / "jupyter", lab.output("m35"))


def m36(lab: Lab) -> str:
    return trained_on(lab, lab.cases("folder_cases") / "byte_order_mark", lab.output("m36"))


def m38(lab: Lab) -> str:
    cases, output = lab.cases("evaluate_cases"), lab.output("m38.json")
    words = ("--labels", cases / "foreground.json", "--output", output)
    answer = lab.medseg("evaluate", cases / "moved", cases / "truth", *words)
    ends_well(answer)
    scores = plain(output)
    rows = [(case["case"], case["labels"]) for case in scores["cases"]]
    must(all({"foreground", "core"} == set(labels) for _, labels in rows), rows)
    mean = scores["mean"]
    own = [round(mean[name]["dice"], 3) for name in ("foreground", "core")]
    others = {**scores, **{k: v for k, v in mean.items() if k not in ("foreground", "core")}}
    whole = [v["dice"] for k, v in others.items() if isinstance(v, dict) and "dice" in v]
    seen = f"foreground {own[0]}, core {own[1]}, mean {[round(one, 3) for one in whole]}"
    must(own == [0.827, 0.833] and whole and all(abs(m - 0.830) < 0.001 for m in whole), seen)
    must(re.search(r"foreground\D+0\.827", answer.text), "not in the table: " + answer.last)
    return seen


def m39(lab: Lab) -> str:
    run = lab.output("m39")
    ends_well(lab.train(lab.cases("channel_cases") / "pet_ct", run, "--steps", 1, plan=False))
    plan = plain(run / "plan.json")
    ct, pet = plan["normalisation"]
    seen = f"{plan['channels']}: {ct['scheme']}, {pet['scheme']}"
    must(seen == "['CT', 'PET']: clip_zscore, zscore" and ct["low"] < ct["high"], seen)
    must(ct["high"] < 0, f"{ct}")
    return seen


def m41(lab: Lab) -> str:
    dataset, run = lab.cases("dicom_labels"), lab.output("m41")
    answer = lab.train(dataset, run, "--steps", 1, plan=False)
    if answer.code == 2:
        return refuses(answer, "p0.dcm", "DICOM SEG", "convert")
    ends_well(answer)
    must(label_names(run) == ["liver", "spleen"], label_names(run))
    found = [
        counts(run, case)
        for case in sorted(prepared(run))
        if (run / "cache" / f"{case}.labels.npy").exists()
    ]
    must(found and all(one == {1: 1000, 2: 384} for one in found), found)
    return f"{len(prepared(run))} cases, {found[0]} voxels"


def m50(lab: Lab) -> str:
    dataset, run = lab.cases("picture_cases") / "palette_masks", lab.output("m50")
    ends_well(lab.train(dataset, run, "--steps", 1, plan=False))
    must(counts(run, "p0") == {1: 312, 2: 48}, counts(run, "p0"))
    return f"{counts(run, 'p0')} pixels"


def m51(lab: Lab) -> str:
    dataset, run = lab.cases("picture_cases") / "rgb_masks", lab.output("m51")
    answer = lab.train(dataset, run, "--steps", 1, plan=False)
    if answer.code == 2:
        must(not answer.has("probabilit"), answer.last)
        return refuses(answer, "colour")
    ends_well(answer)
    must(counts(run, "p0") == {1: 360}, counts(run, "p0"))
    return f"{counts(run, 'p0')} pixels"


def m52(lab: Lab) -> str:
    folder = lab.cases("picture_cases") / "turned_by_exif"
    means = []
    for n in range(5):
        scan = read_scan(folder / "images" / f"p{n}.jpg")
        mask = read_labels(folder / "labels" / f"p{n}.png")
        must(scan.grid.same_as(mask.grid), "picture and mask lie on different grids")
        means.append(float(scan.voxels[0][mask.values > 0].mean()))
    seen = f"mean brightness in the masks {', '.join(f'{mean:.0f}' for mean in means)}"
    must(all(135 < mean < 142 for mean in means), seen)
    return seen


def m54(lab: Lab) -> str:
    cases, output = lab.cases("picture_cases"), lab.output("m54.json")
    truth = cases / "plain" / "labels"
    ends_well(lab.medseg("evaluate", cases / "predictions", truth, "--output", output))
    rows = plain(output)["cases"]
    must([row["case"] for row in rows] == [f"p{n}" for n in range(5)], rows)
    for row in rows:
        pair = [
            np.array(Image.open(at / f"{row['case']}.png")) for at in (cases / "predictions", truth)
        ]
        for value, scores in enumerate(row["labels"].values(), start=1):
            both = sum(np.sum(one == value) for one in pair)
            dice = 2 * np.sum((pair[0] == value) & (pair[1] == value)) / both
            must(abs(scores["dice"] - dice) < 1e-9, f"{row['case']}: {scores['dice']} for {dice}")
    return f"{len(rows)} cases, each Dice as counted by hand"


def m60(lab: Lab) -> str:
    cases, output = lab.cases("evaluate_cases"), lab.output("m60.json")
    answer = lab.medseg("evaluate", cases / "named_same", cases / "named_truth", "--output", output)
    if answer.code == 2:
        return refuses(answer, "box", "core")
    ends_well(answer)
    dice = {name: plain(output)["mean"][name]["dice"] for name in ("box", "core")}
    must(dice == {"box": 1.0, "core": 1.0}, dice)
    return f"{dice}"


def m61(lab: Lab) -> str:
    cases, output = lab.cases("evaluate_cases"), lab.output("m61.json")
    answer = lab.medseg("evaluate", cases / "twice", cases / "truth", "--output", output)
    must(not output.exists(), "scores were written")
    return refuses(answer, "c0.nii.gz", "c0.nrrd")


def m70(lab: Lab) -> str:
    dataset, run = lab.cases("channel_cases") / "two_files", lab.output("m70")
    ends_well(lab.train(dataset, run, "--steps", 30, "--learning-rate", 5e-3, plan=False))
    model, files = run / "model", [dataset / "imagesTr" / f"c0_{c:04d}.nii.gz" for c in (0, 1)]
    output, on_cpu = lab.output("m70.nii.gz"), ("--model", model, "--device", "cpu")
    ends_well(lab.medseg("segment", *files, *on_cpu, "--output", output))
    stacked = lab.output("m70-stacked.nii.gz")
    pair = [nib.load(file) for file in files]
    nib.save(nib.funcs.concat_images(pair), stacked)
    expected = Predictor.load(model, device="cpu").predict(read_scan(stacked)).values
    labels = read_labels(output).values
    must(np.array_equal(labels, expected), "not what both channels in their order give")
    one = lab.medseg("segment", files[0], *on_cpu, "--output", lab.output("m70-one.nii.gz"))
    refuses(one, "T1", "T2")
    batch = lab.output("m70-batch")
    ends_well(lab.medseg("batch", dataset / "imagesTr", *on_cpu, "--output", batch))
    maps = label_maps(batch)
    must(set(maps) == FIVE, f"the batch has {sorted(maps)}")
    must(np.array_equal(read_labels(maps["c0"]).values, expected), "c0 is not what segment gives")
    return f"two files as stacked ({(labels > 0).sum()} voxels); a batch of 5 cases"


def m71(lab: Lab) -> str:
    dataset, batch = lab.cases("scan_cases") / "dataset", lab.output("m71")
    words = ("--model", "hippocampus-mr", "--output", batch, "--device", "cpu")
    answer: Answer = lab.medseg("batch", dataset, *words)
    must("Traceback" not in answer.text, answer.last)
    done = sorted(
        Path(row.scan.path).parts[-2:] for _, row in AllCases(batch) if row.state == "done"
    )
    must(done == [("images", f"c{n}.nii.gz") for n in range(5)], f"segmented: {done}")
    must(answer.has("LABEL_MAP") or not answer.has("refused"), f"not told: {answer.last}")
    return f"5 label maps; {answer.last}"


def m74(_: Lab) -> str:
    page = (ROOT / "docs" / "how-to" / "train.md").read_text("utf-8")
    start = page.find("tensorboard --logdir")
    near = page[max(0, start - 300) : start + 300]
    must(start >= 0 and "pip install tensorboard" in near, near)
    return "pip install tensorboard"
