"""A look at all cases of a dataset: what they hold, what is wrong, what a training will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from medseg.planning import read_plan
from medseg.runtime.progress import Progress
from medseg.training import TrainingOptions, open_dataset
from medseg.training.case_facts import CaseFacts
from medseg.training.case_folder import Status
from medseg.training.dataset import Dataset
from medseg.training.dataset_check import DatasetReport, Look, look_at
from medseg.training.findings import NAMED, SEVERITIES, Finding
from medseg.training.training_estimate import TrainingEstimate, estimate_training
from medseg_pipelines.console import Console, duration

_LISTED_LABELS = 3
_STYLES = {"error": "red", "warning": "yellow", "note": None}


def check_cases(
    folder: Path,
    *,
    fold: int | None = 0,
    splits: Path | None = None,
    labels: Path | None = None,
    modality: str | None = None,
    status: Status = "reviewed",
    plan: Path | None = None,
    steps: int | None = None,
    device: str = "auto",
    as_json: bool = False,
    console: Console,
) -> bool:
    """Show what a look at every case of a dataset gives.

    Parameters
    ----------
    folder : Path
        Of the dataset.
    fold : int or None, default 0
        Held out; None where every case is trained on.
    splits, labels : Path, optional
    modality : str, optional
    status : {"raw", "draft", "reviewed"}, default "reviewed"
        Each as :func:`medseg_pipelines.train.train_model` takes it.
    plan : Path, optional
        JSON file of a plan, in place of the one that a training would make.
    steps : int, optional
        Of the training that is estimated.
    device : str, default "auto"
        On which a step is measured.
    as_json : bool, default False
        Whether to print JSON in place of tables.
    console : Console

    Returns
    -------
    bool
        Whether nothing was found that would stop a training.

    Raises
    ------
    InputError
        When the folder is no dataset, or files do not pair up.
    """
    data = open_dataset(folder, splits=splits, labels=labels, modality=modality, status=status)
    given = read_plan(plan) if plan else None
    with console.progress("looking at the cases") as shown:
        progress = _unseen(console) if as_json else shown
        look = look_at(data, fold=fold, plan=given, progress=progress)
    options = TrainingOptions(fold=fold, steps=steps, device=device)
    estimate = estimate_training(data, look, options, plan=given) if _can_estimate(look) else None
    if as_json:
        console.print(_document(look.report, estimate))
    else:
        _show(data, look.report, estimate, console)
    return look.report.trainable


def _unseen(console: Console) -> Progress:
    """Progress that only Ctrl-C meets: nothing but JSON is printed."""

    def progress(done: int, total: int, message: str, /) -> None:
        del done, total, message
        console.check()

    return progress


def _can_estimate(look: Look) -> bool:
    return look.report.trainable and len(look.report.cases) > 1


def _document(report: DatasetReport, estimate: TrainingEstimate | None) -> str:
    """The report, whether it can be trained on, and the estimate, as JSON."""
    whole = {
        **msgspec.structs.asdict(report),
        "trainable": report.trainable,
        "estimate": estimate,
    }
    return msgspec.json.format(msgspec.json.encode(whole)).decode()


def _show(
    data: Dataset, report: DatasetReport, estimate: TrainingEstimate | None, console: Console
) -> None:
    console.show(_table(data, report))
    for severity in SEVERITIES:
        for line in _lines(report.of(severity)):
            console.print(line, style=_STYLES[severity])
    if estimate is not None:
        for sentence in _sentences(estimate):
            console.print(sentence)
    counts = Counter(finding.severity for finding in report.findings)
    numbers = ", ".join(f"{counts[severity]} {severity}(s)" for severity in SEVERITIES)
    verdict = "can be trained on" if report.trainable else "cannot be trained on as it is"
    console.print(f"{data.name}, {len(report.cases)} case(s), {verdict}: {numbers}.")


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The first findings of each kind, and how many more there are."""
    by_code: dict[str, list[Finding]] = {}
    for finding in findings:
        by_code.setdefault(finding.code, []).append(finding)
    for code, alike in by_code.items():
        severity, message = alike[0].severity, _message_of_all(alike)
        if message:
            yield f"{severity}: {len(alike)} cases: {message} [{code}]"
            continue
        for finding in alike[:NAMED]:
            yield f"{severity}: {finding.message} [{code}]"
        if len(alike) > NAMED:
            yield f"{severity}: {len(alike) - NAMED} more [{code}], all of them in --json"


def _message_of_all(findings: Sequence[Finding]) -> str:
    """What more findings than are named say of their cases, in the same words; else empty."""
    messages = {finding.message.removeprefix(f"{finding.case}: ") for finding in findings}
    return messages.pop() if len(findings) > NAMED and len(messages) == 1 else ""


def _table(data: Dataset, report: DatasetReport) -> Table:
    table = Table(title="Cases")
    for title in ("case", "use", "voxels", "spacing (mm)", "axes grow to", "intensities"):
        table.add_column(title)
    table.add_column("labels")
    table.add_column("findings")
    held_out = data.folds[report.fold].validation if report.fold is not None else frozenset()
    trained = data.folds[report.fold].train if report.fold is not None else None
    for facts in report.cases:
        use = "held out" if facts.name in held_out else "training"
        if trained is not None and facts.name not in trained | held_out:
            use = "none"
        table.add_row(facts.name, use, *_row(facts))
    return table


def _row(facts: CaseFacts) -> list[str]:
    """What the table says of a case, after its name and use."""
    codes = " ".join(dict.fromkeys(f.code for f in facts.findings if f.severity != "note"))
    if not facts.readable:
        return ["-", "-", "-", "-", "-", codes]
    spacing = " x ".join(f"{mm:.3g}" for mm in facts.grid.spacing_mm)
    return [
        " x ".join(str(count) for count in facts.shape),
        spacing if facts.has_physical_size else "not known",
        facts.orientation if facts.has_physical_size else "-",
        ", ".join(f"{c.low:.4g}..{c.high:.4g}" for c in facts.channels),
        _sizes(facts),
        codes,
    ]


def _sizes(facts: CaseFacts) -> str:
    """The sizes of the labels in ml, or in pixels where their size is not known."""
    present = {name: ml for name, ml in facts.volumes_ml.items() if ml > 0}
    if len(facts.volumes_ml) > _LISTED_LABELS:
        whole = _amount(sum(present.values()), facts)
        return f"{len(present)} of {len(facts.volumes_ml)} labels, {whole}"
    return ", ".join(f"{name} {_amount(ml, facts)}" for name, ml in present.items()) or "none"


def _amount(ml: float, facts: CaseFacts) -> str:
    return f"{ml:.3g} ml" if facts.has_physical_size else f"{ml * 1000:.0f} pixels"


def _sentences(estimate: TrainingEstimate) -> Iterator[str]:
    """The estimate, and how each number came about."""
    patch = " x ".join(str(voxels) for voxels in estimate.patch)
    yield (
        f"A training takes about {duration(estimate.training_minutes * 60)}: {estimate.steps} steps"
        f" of {estimate.batch} patches of {patch} voxels at {estimate.step_s:.2g} s, measured on"
        f" {estimate.device}."
    )
    yield (
        f"Measuring held-out cases adds about {duration(estimate.measuring_minutes * 60)}: their"
        " tiles at the time of one."
    )
    yield (
        f"A step takes {_size(estimate.memory_bytes)} of memory, by its tensors; the prepared"
        f" cases take {_size(estimate.cache_bytes)} on disk."
    )


def _size(size_bytes: int) -> str:
    mb = size_bytes / 1e6
    if mb >= 1000:
        return f"{mb / 1000:.1f} GB"
    return f"{mb:.0f} MB" if mb >= 10 else f"{mb:.1f} MB"
