"""What is wrong, or worth knowing, about a dataset before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from medseg.errors import InputError
from medseg.planning import Plan
from medseg.planning.fingerprint import CaseSketch
from medseg.runtime.parallel import in_parallel
from medseg.runtime.progress import Progress, silent
from medseg.training.case_facts import CaseFacts, look_at_case
from medseg.training.dataset import Case, Dataset
from medseg.training.dataset_findings import Sides, findings_about
from medseg.training.findings import SEVERITIES, Finding, Severity


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a look at every case gave; also the file ``dataset_check.json`` of a run.

    Parameters
    ----------
    schema_version : int
    dataset : str
        Its name.
    fold : int or None
        Held out; None where every case is trained on.
    cases : tuple of CaseFacts
        In the order of the dataset.
    findings : tuple of Finding
        About cases and about the whole, errors first.
    """

    schema_version: int = 1
    dataset: str
    fold: int | None
    cases: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def trainable(self) -> bool:
        """Whether nothing was found that would stop a training."""
        return not self.of("error")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def digests(self) -> dict[str, tuple[str, str]]:
        """Of the images and of the label map of each case, by its name."""
        return {facts.name: (facts.image, facts.label_map) for facts in self.cases}

    def check(self) -> None:
        """Raise `InputError` when a training would stop, or learn what is wrong."""
        errors = self.of("error")
        if not errors:
            return
        more = f" ({len(errors) - 1} more: see medseg dataset check)" if len(errors) > 1 else ""
        raise InputError(f"{errors[0].message}{more}", code=errors[0].code)


@dataclass(frozen=True)
class Look:
    """A look at every case: what a person is told, and what planning needs.

    Parameters
    ----------
    report : DatasetReport
    sketches : dict of str to CaseSketch
        By the names of the cases that can be read.
    """

    report: DatasetReport
    sketches: dict[str, CaseSketch]

    def facts_of(self, cases: Iterable[Case]) -> list[CaseFacts]:
        """What some of the cases hold."""
        names = {case.name for case in cases}
        return [facts for facts in self.report.cases if facts.name in names]


def check_dataset(
    dataset: Dataset,
    *,
    fold: int | None = 0,
    plan: Plan | None = None,
    progress: Progress = silent,
) -> DatasetReport:
    """Read every case, held-out ones too, and tell what is wrong with it; see `look_at`."""
    return look_at(dataset, fold=fold, plan=plan, progress=progress).report


def look_at(
    dataset: Dataset,
    *,
    fold: int | None = 0,
    plan: Plan | None = None,
    progress: Progress = silent,
) -> Look:
    """Read every byte of every case, in parallel, and tell what is wrong.

    Parameters
    ----------
    dataset : Dataset
    fold : int or None, default 0
        Held out; None where every case is trained on.
    plan : Plan, optional
        What the cases are to be prepared by; without it they are compared with one another.
    progress : Progress, optional
        Called after each case and in between; may raise `Cancelled`.

    Raises
    ------
    InputError
        When there is no such fold.
    """
    sides = Sides.of(dataset, fold)
    looks = in_parallel(
        lambda case: look_at_case(dataset, case),
        dataset.cases,
        message="looking at the cases",
        progress=progress,
    )
    report = report_on(dataset, tuple(facts for facts, _ in looks), sides, plan)
    return Look(report, {facts.name: sketch for facts, sketch in looks if sketch is not None})


def report_on(
    dataset: Dataset, cases: tuple[CaseFacts, ...], sides: Sides, plan: Plan | None
) -> DatasetReport:
    """What there is to say of cases that were looked at, for one fold.

    Parameters
    ----------
    dataset : Dataset
    cases : tuple of CaseFacts
        All of them, in its order.
    sides : Sides
    plan : Plan or None
    """
    findings = [finding for facts in cases for finding in facts.findings]
    findings += findings_about(dataset, cases, sides, plan)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DatasetReport(
        dataset=dataset.name, fold=sides.fold, cases=cases, findings=tuple(findings)
    )
