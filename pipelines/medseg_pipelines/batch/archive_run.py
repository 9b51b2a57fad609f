"""Journey: an archive as the command line asks for it, with what people see of it at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.table import Table

from medseg.planning import Component
from medseg.runtime.progress import Progress
from medseg_pipelines.batch.archive.rules import Plane
from medseg_pipelines.batch.archive.rules_file import make_rules
from medseg_pipelines.batch.events import NullEvents
from medseg_pipelines.batch.ledger.enqueue import Verdict, planned
from medseg_pipelines.batch.messages import ScanRecord, Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.reports.console import View, plan_words, watching
from medseg_pipelines.batch.reports.live_tables import Tables
from medseg_pipelines.batch.run import plan_batch, run_batch
from medseg_pipelines.batch.workers.protocol import WorkerPool
from medseg_pipelines.console import Console

_WILL_RUN = ("new", "again", "left")


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What a person asks for on the command line.

    Parameters
    ----------
    formats : tuple of str
    encoding : str or None
    where, description, exclude : tuple of str
        Conditions, and patterns of series descriptions.
    rules_file : Path or None
    orientation : tuple of str
    min_slices : int
    dry_run : bool
        Whether only to show what would run.
    paths : bool
        Whether a dry run tells where scans lie.
    workers, attempts : int
        Processes, and how often a case may fail.
    cluster : str or None
    shard : (int, int) or None
        Which share of the archive, of how many.
    resume : bool
        Whether finished cases are left alone.
    deidentify : bool
        Whether the patient is taken out of DICOM results.
    postprocessing : tuple of Component or None
    tta : bool
        Whether the network takes the mean over mirror images.
    irregular, missing : str
    device : str
    view : {"auto", "quiet", "json-lines"}
    command : tuple of str
        What followed ``medseg``, to be told when asked how to go on.
    """

    formats: tuple[str, ...] = ("nifti",)
    encoding: str | None = None
    where: tuple[str, ...] = ()
    rules_file: Path | None = None
    description: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    orientation: tuple[Plane, ...] = ()
    min_slices: int = 4
    dry_run: bool = False
    paths: bool = False
    workers: int = 1
    cluster: str | None = None
    shard: tuple[int, int] | None = None
    attempts: int = 3
    resume: bool = True
    deidentify: bool = False
    postprocessing: tuple[Component, ...] | None = None
    tta: bool = False
    irregular: str = "refuse"
    missing: str = "refuse"
    device: str = "auto"
    view: View = "auto"
    command: tuple[str, ...] = ()

    def options(self) -> BatchOptions:
        """The same for the run.

        Raises
        ------
        InputError
            When a rule or the cluster cannot be understood.
        """
        settings = Settings(
            formats=tuple(dict.fromkeys(self.formats)),
            encoding=self.encoding,
            irregular=self.irregular,
            missing=self.missing,
            postprocessing=self.postprocessing,
            tta=self.tta,
            deidentify=self.deidentify,
        )
        rules = make_rules(
            where=self.where,
            description=self.description,
            exclude=self.exclude,
            orientation=self.orientation,
            file=self.rules_file,
        )
        return BatchOptions(
            settings=settings,
            rules=rules,
            min_slices=self.min_slices,
            device=self.device,
            workers=self.workers,
            attempts=self.attempts,
            shard=self.shard,
            dry_run=self.dry_run,
            only="new" if self.resume else "all",
            crew=_crew(self.cluster),
        )


def segment_archive(
    root: Path, *, model: str | Path, output: Path, wishes: BatchRequest, console: Console
) -> bool:
    """Segment every scan below a folder, and write tables and a report about them.

    Parameters
    ----------
    root : Path
        Files, DICOM folders and zip archives of DICOM, at any depth.
    model : str or Path
        Name of a shipped model, or its folder.
    output : Path
    wishes : BatchRequest
        What, how, and what is shown of it.
    console : Console

    Returns
    -------
    bool
        Whether nothing failed; a refusal is no failure.

    Raises
    ------
    MedsegError
        As :func:`medseg_pipelines.batch.run.run_batch`.
    """
    options = wishes.options()
    if wishes.dry_run:
        verdicts = _plan(root, model, output, options, console)
        _show_plan(verdicts, wishes, console)
        return True
    with watching(wishes.view, console) as shown:
        tables = Tables(shown, output, wishes.command)
        try:
            tally = run_batch(root, model=model, output=output, options=options, events=tables)
        finally:
            tables.write()
    if wishes.view == "auto":
        console.print(f"Results are in '{output}'; report.html and summary.csv tell of them all.")
    return not (tally.failed or tally.planned.failed)


def plan_table(verdicts: Sequence[Verdict], *, paths: bool = False) -> Table:
    """What would run, and why the rest not.

    Parameters
    ----------
    verdicts : sequence of Verdict
    paths : bool, default False
        Whether to tell where scans lie.
    """
    table = Table(title="Plan")
    for title in ("case", "runs", "scan", "why"):
        table.add_column(title, overflow="fold")
    if paths:
        table.add_column("path", overflow="fold")
    for one in verdicts:
        runs = "yes" if one.action in _WILL_RUN else "no"
        why = f"{one.fault.code}: {one.fault.message}" if one.fault else one.action
        cells = [one.case[:12], runs, _scan_words(one.found), why]
        table.add_row(*cells, *([one.found.path] if paths else []))
    return table


def _plan(
    root: Path, model: str | Path, output: Path, options: BatchOptions, console: Console
) -> list[Verdict]:
    """What a run would do; only a person who looks at tables is told how far the search is."""
    with console.progress("searching") as progress:
        events = _Searching(progress)
        return plan_batch(root, model=model, output=output, options=options, events=events)


def _show_plan(verdicts: Sequence[Verdict], wishes: BatchRequest, console: Console) -> None:
    if wishes.view == "json-lines":
        for one in verdicts:
            console.print(msgspec.json.encode(_planned(one, paths=wishes.paths)).decode())
        return
    if wishes.view == "auto":
        console.show(plan_table(verdicts, paths=wishes.paths))
    console.print(plan_words(planned(verdicts)))


def _planned(one: Verdict, *, paths: bool) -> dict[str, object]:
    """A scan of a plan, for programs."""
    where = {"path": one.found.path, "series": one.found.series} if paths else {}
    fault = {"code": one.fault.code, "message": one.fault.message} if one.fault else {}
    will = one.action in _WILL_RUN
    return {
        "event": "scan",
        "case": one.case,
        "runs": will,
        "action": one.action,
        **fault,
        "facts": one.found.facts,
        **where,
    }


def _scan_words(found: ScanRecord) -> str:
    """A scan in a few words, as far as headers tell."""
    facts = found.facts
    slices = facts.get("slices")
    parts = [facts.get("Modality"), facts.get("plane"), f"{slices} slices" if slices else None]
    return ", ".join(str(part) for part in parts if part)


def _crew(cluster: str | None) -> Callable[[], WorkerPool] | None:
    """Makes the workers elsewhere that are asked for."""
    if cluster is None:
        return None
    from medseg_pipelines.cluster import crew_of

    return crew_of(cluster)


class _Searching(NullEvents):
    """The search alone, as a bar or lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        self._progress(done, total, "")
