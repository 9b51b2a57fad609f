"""Rows about runs: resumed, planned, limited; and about data that is looked at before them."""

from __future__ import annotations

import json
import re
import time

from ml_rows.lab import (
    Lab,
    counts,
    ends_well,
    known_options,
    label_names,
    manifest,
    must,
    no_step,
    plain,
    refuses,
    shell,
    steps,
)

BOX_AND_CORE = {1: 784, 2: 216}
"""Voxels of every box: 10 x 10 x 10 with a core of 6 x 6 x 6."""


def m01(lab: Lab) -> str:
    cases, run = lab.cases("resume_cases"), lab.output("m01")
    given = ("--labels", cases / "names.json", "--splits", cases / "splits.json")
    must(lab.train_and_stop(cases / "unnamed", run, *given).code == 130, "was not stopped")
    answer = lab.medseg("train", cases / "unnamed", "--output", run, "--resume")
    if answer.code == 2:
        return refuses(answer, "labels", "fold")
    ends_well(answer)
    seen = f"{label_names(run)}, trained on {manifest(run)['provenance']['cases']} cases"
    must(seen == "['liver', 'spleen'], trained on 2 cases" and steps(run) == 20, seen)
    return seen


def m03(lab: Lab) -> str:
    cases, run = lab.cases("resume_cases"), lab.output("m03")
    must(lab.train_and_stop(cases / "first", run).code == 130, "was not stopped")
    answer = lab.medseg("train", cases / "second", "--output", run, "--resume")
    must(not (run / "model").exists(), "a model was made")
    return refuses(answer, "dataset", "c0")


def m04(lab: Lab) -> str:
    cases, run = lab.cases("resume_cases", fresh="-m04"), lab.output("m04")
    must(lab.train_and_stop(cases / "first", run).code == 130, "was not stopped")
    lab.cases("resume_cases", "--correct", fresh="-m04")
    answer = lab.medseg("train", cases / "first", "--output", run, "--resume")
    if answer.code == 2:
        return refuses(answer, "c0", "changed")
    ends_well(answer)
    seen = [counts(run, f"c{n}") for n in range(4)]
    must(seen == [{1: 27, 2: 125}] * 4 and answer.has("c0", "changed"), seen)
    return f"prepared anew: {seen[0]} voxels"


def m06(lab: Lab) -> str:
    dataset, run = lab.cases("resume_cases") / "first", lab.output("m06")
    ends_well(lab.train(dataset, run, "--steps", 3))
    more = ("--resume", "--steps", 6, "--seed", 5, "--loss", "tversky")
    seen = refuses(
        lab.train(dataset, run, *more), "finished", "seed", "tversky", "longer", "--steps"
    )
    ends_well(lab.medseg("train", "--output", run, "--resume", "--steps", 6))
    must(manifest(run)["provenance"]["steps"] == "6", f"{manifest(run)['provenance']}")
    return seen


def m08(lab: Lab) -> str:
    dataset, run = lab.cases("plan_cases") / "small", lab.output("m08")
    wrong = lab.train(dataset, run, "--set", "features=[4,8]", plan=False)
    must(wrong.code == 2, f"code {wrong.code}: {wrong.last}")
    resume = ("--resume",) if run.exists() else ()
    must(not (resume and "--resume" not in wrong.text), "a folder is left, and no word of it")
    ends_well(lab.train(dataset, run, "--steps", 2, *resume))
    if not resume:
        again = lab.medseg("train", dataset, "--output", run, "--resume")
        must("features" not in again.text, again.last)
    return "the folder is gone; the corrected command begins" if not resume else "begins anew"


def m09(lab: Lab) -> str:
    cases, run = lab.cases("plan_cases"), lab.output("m09")
    by = ("--plan", cases / "not_normalised.json", "--steps", 3)
    answer = lab.train(cases / "extreme", run, *by, plan=False)
    seen = refuses(answer)
    must(answer.has("--learning-rate") or answer.has("intensit", "scal"), f"no advice: {seen}")
    must(not known_options(answer.last), f"names {known_options(answer.last)}: {seen}")
    if answer.has("--learning-rate"):
        lower = lab.output("m09-lower") if run.exists() else run
        followed = lab.train(cases / "extreme", lower, *by, "--learning-rate", 1e-5, plan=False)
        must(followed.code == 0 or followed.refused(), f"followed: {followed.last}")
    return seen


def m10(lab: Lab) -> str:
    dataset, run = lab.cases("plan_cases") / "many", lab.output("m10")
    start = time.monotonic()
    words = ("--minutes", 0.5, "--set", "features=[4,8,8,8,8]")
    ends_well(lab.train(dataset, run, *words, plan=False))
    whole = time.monotonic() - start
    seen = f"{whole:.0f} s from the command to the model, {steps(run)} steps"
    must(steps(run) > 0 and 20 < whole < 55, seen)
    return seen


def m12(lab: Lab) -> str:
    dataset, run = lab.cases("plan_cases") / "large", lab.output("m12")
    words = f"--output {run} --steps 1 --device cpu"
    plan = f"--plan {dataset.parent / 'mini_plan.json'}"
    answer = shell(f"ulimit -f 500; medseg train {dataset} {words} {plan}")
    seen = refuses(answer, "medseg: error:")
    left = [path.name for path in run.rglob("*") if path.name.endswith((".tmp", ".part"))]
    must(not left, f"half-written: {left}")
    if run.exists():
        ends_well(lab.medseg("train", "--output", run, "--resume"))
    else:
        ends_well(lab.train(dataset, run, "--steps", 1))
    return seen


def m14(lab: Lab) -> str:
    cases, run = lab.cases("plan_cases"), lab.output("m14")
    by = ("--plan", cases / "bad_orientation.json", "--steps", 1)
    answer = lab.train(cases / "small", run, *by, plan=False)
    return refuses(answer, "orientation", "XYZ")


def m16(lab: Lab) -> str:
    dataset, run = lab.cases("plan_cases") / "small", lab.output("m16")
    asked = ("--network", "fcn", "--loss", "tversky", "--plane", "axial", "--steps", 1)
    answer = lab.train(dataset, run, *asked)
    if answer.code == 2:
        return refuses(answer, "network", "loss", "plane", "fcn", "tversky", "axial")
    ends_well(answer)
    plan, options = plain(run / "plan.json"), plain(run / "options.json")
    used = [plan["network"]["name"], plan["loss"]["name"], plan["plane"]]
    told = [options["network"], options["loss"], options["plane"]]
    must(used == told == ["fcn", "tversky", "axial"], f"used {used}, told {told}")
    return f"the options win: {used}"


def m20(lab: Lab) -> str:
    run = lab.output("m20")
    answer = lab.train(lab.cases("heldout_cases") / "truncated", run, "--steps", 3)
    no_step(run)
    must(not list(run.glob("cache/*")), "found after cases were prepared")
    return refuses(answer, "c4")


def m21(lab: Lab) -> str:
    seen = []
    for name in ("shifted", "last_bits"):
        run = lab.output(f"m21-{name}")
        answer = lab.train(lab.cases("heldout_cases") / name, run, "--steps", 3)
        if answer.code == 2:
            no_step(run)
            seen.append(refuses(answer, "c4" if name == "shifted" else "c0"))
        else:
            ends_well(answer)
            must({"box", "core"} <= set(manifest(run)["scores"]), manifest(run)["scores"])
            evaluated = lab.output(f"m21-{name}.json")
            labels = lab.cases("heldout_cases") / name / "labels"
            truth = lab.cases("label_cases") / "almost_whole" / "labels"
            ends_well(lab.medseg("evaluate", labels, truth, "--output", evaluated))
            seen.append(f"{name} trained, measured and evaluated")
    return "; ".join(seen)


def m22(lab: Lab) -> str:
    run = lab.output("m22")
    answer = lab.train(lab.cases("label_cases") / "no_affine", run, "--steps", 1)
    no_step(run)
    seen = refuses(answer, "spacing", "1.2 x 1.2 x 1.2")
    must(re.search(r"\b1 x 1 x 1 mm", answer.text), seen)
    return seen


def m23(lab: Lab) -> str:
    run = lab.output("m23")
    ends_well(lab.train(lab.cases("label_cases") / "almost_whole", run, "--steps", 1))
    must(counts(run, "c0") == BOX_AND_CORE, counts(run, "c0"))
    return f"{counts(run, 'c0')} voxels"


def m24(lab: Lab) -> str:
    run = lab.output("m24")
    answer = lab.train(lab.cases("label_cases") / "nothing_drawn", run, "--steps", 1)
    no_step(run)
    return refuses(answer, "no label map holds a label")


def m26(lab: Lab) -> str:
    scan, output = lab.cases("scan_cases") / "constant.nii.gz", lab.output("m26.nii.gz")
    words = ("--model", "hippocampus-mr", "--output", output, "--device", "cpu")
    answer = lab.medseg("segment", scan, *words)
    if answer.code == 0:
        must(answer.has("warning", "every voxel") or answer.has("warning", "constant"), answer.last)
        return answer.last
    must(not output.exists(), "refused, and written")
    return refuses(answer, "every voxel")


def m43(lab: Lab) -> str:
    cases = lab.cases("side_names")
    names = json.loads((cases / "german" / "labels.json").read_text("utf-8"))
    must(names == {"1": "Niere links", "2": "Niere rechts"}, names)
    mirrored = []
    for dataset in sorted(cases.iterdir()):
        run = lab.output(f"m43-{dataset.name}")
        answer = lab.train(dataset, run, "--steps", 1, plan=False)
        ends_well(answer)
        told = answer.has("mirrored", "left") or answer.has("exchanged", "left")
        if 0 in plain(run / "plan.json")["mirror_axes"] or not told:
            mirrored.append(dataset.name)
    must(not mirrored, f"mirrored, or not told: {', '.join(mirrored)}")
    return "axis 0 is not mirrored in any of seven, and each tells it"
