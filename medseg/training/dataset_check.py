"""What is wrong, or worth knowing, about a dataset before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from medseg.errors import InputError
from medseg.runtime.progress import Progress, silent
from medseg.training.dataset import Case, Dataset

FEW_CASES = 5
"""Below this a fold holds out a single case."""
RARE_CASES = 2
"""Below this a structure cannot both be learnt and be measured."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing a person should know.

    Parameters
    ----------
    severity : {"error", "warning"}
        With an error the training would stop.
    message : str
    case : str
        Name of the case it is about, or ``""`` for the whole dataset.
    """

    severity: Severity
    message: str
    case: str = ""


@dataclass(frozen=True)
class CaseFacts:
    """What a case holds.

    Parameters
    ----------
    name : str
    volumes_ml : dict of str to float
        By structure; 0.0 for one that is not there.
    findings : tuple of Finding
    """

    name: str
    volumes_ml: dict[str, float]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class DatasetReport:
    """What a look at every case gave.

    Parameters
    ----------
    cases : tuple of CaseFacts
        In the order of the dataset.
    findings : tuple of Finding
        About cases and about the whole, errors first.
    """

    cases: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def trainable(self) -> bool:
        """Whether nothing was found that would stop a training."""
        return all(finding.severity != "error" for finding in self.findings)


def check_dataset(dataset: Dataset, *, progress: Progress = silent) -> DatasetReport:
    """Read every case and tell what is wrong with it.

    Parameters
    ----------
    dataset : Dataset
    progress : Progress, optional
        Called for each case; may raise `Cancelled`.
    """
    cases = []
    for done, case in enumerate(dataset.cases):
        progress(done, len(dataset.cases), "checking")
        cases.append(_facts(dataset, case))
    own = [finding for case in cases for finding in case.findings]
    findings = [*own, *_about_all(dataset, cases)]
    findings.sort(key=lambda finding: finding.severity)
    return DatasetReport(tuple(cases), tuple(findings))


def _facts(dataset: Dataset, case: Case) -> CaseFacts:
    from medseg.metrics import volumes_ml

    try:
        scan, truth = dataset.read(case)
        scan.check_finite()
    except InputError as error:
        return CaseFacts(case.name, {}, (Finding("error", f"{case.name}: {error}", case.name),))
    volumes = volumes_ml(truth)
    held = {name: volumes.get(name, 0.0) for name in dataset.labels.names}
    if any(held.values()):
        return CaseFacts(case.name, held)
    message = f"{case.name}: its label map is empty; correct it, or leave it out"
    return CaseFacts(case.name, held, (Finding("warning", message, case.name),))


def _about_all(dataset: Dataset, cases: Sequence[CaseFacts]) -> Iterator[Finding]:
    if len(cases) < RARE_CASES:
        yield Finding(
            "error", "there is one case only: with none held out nothing is measured; add another"
        )
    elif len(cases) < FEW_CASES:
        yield Finding("warning", f"{len(cases)} cases are few; scores will be rough")
    for name in dataset.labels.names:
        count = sum(case.volumes_ml.get(name, 0.0) > 0 for case in cases)
        if count < RARE_CASES:
            where = "no case" if count == 0 else "one case only"
            yield Finding("warning", f"'{name}' is in {where}, so it can hardly be learnt")
