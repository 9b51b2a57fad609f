"""An archive as the command line asks for it, with what people see of it at the end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from medseg.errors import InputError
from medseg.model_package import find_package
from medseg.runtime.progress import Progress
from medseg_pipelines.batch.archive.rules import make_rules
from medseg_pipelines.batch.events import Events
from medseg_pipelines.batch.ledger.enqueue import Verdict, planned
from medseg_pipelines.batch.messages import Settings
from medseg_pipelines.batch.options import BatchOptions
from medseg_pipelines.batch.reports.console import View, plan_line, view_of
from medseg_pipelines.batch.reports.live_tables import Tables
from medseg_pipelines.batch.run import plan_batch, run_batch
from medseg_pipelines.batch.workers.protocol import WorkerPool
from medseg_pipelines.console import Console

_WILL_RUN = ("new", "again", "left")
_RULES = ("where", "description", "exclude", "orientation", "rules_file")
_OPTIONS = ("min_slices", "device", "workers", "attempts", "shard", "dry_run", "anonymous_names")


@dataclass(frozen=True, kw_only=True)
class Display:
    """What is shown of a run."""

    view: View = "auto"
    paths: bool = False  # whether a dry run tells where scans lie
    command: tuple[str, ...] = ()  # what followed ``medseg``, to be told when asked how to go on


def options_of(arguments: Mapping[str, Any]) -> BatchOptions:
    """What the command line's options mean; raises `InputError` when a rule or cluster is wrong."""
    settings = {name: arguments[name] for name in Settings.__struct_fields__}
    formats = (*settings["formats"], *["probabilities"] * arguments["probabilities"])
    settings["formats"] = tuple(dict.fromkeys(formats))
    return BatchOptions(
        settings=Settings(**settings),
        rules=make_rules(**{name: arguments[name] for name in _RULES}),
        only="new" if arguments["resume"] else "all",
        pool=_pool(arguments["cluster"]),
        **{name: arguments[name] for name in _OPTIONS},
    )


def output_of_each(models: Sequence[str], output: Path) -> dict[str, Path]:
    """Where the results of each model go: into the output, or of several each into its folder.

    The folder is called after the model; raises `InputError` when two would have the same.
    """
    if len(models) == 1:
        return {models[0]: output}
    names = [re.sub(r"[^\w-]+", "_", find_package(model).manifest.name) for model in models]
    twice = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
    if twice:
        raise InputError(
            f"two of the models are called '{twice[0]}', and their results would share a folder;"
            " give each an --output of its own",
            code="TWO_MODELS",
        )
    return {model: output / name for model, name in zip(models, names, strict=True)}


def segment_archive(
    root: Path,
    *,
    model: str | Path,
    output: Path,
    options: BatchOptions,
    display: Display | None = None,
    console: Console,
) -> bool:
    """Segment every scan below a folder, and write tables and a report about them.

    Returns whether nothing failed; a refusal is no failure. Raises as
    :func:`medseg_pipelines.batch.run.run_batch`.
    """
    display = display or Display()
    if options.dry_run:
        with console.progress("searching") as progress:
            events = _SearchProgress(progress)
            verdicts = plan_batch(root, model=model, output=output, options=options, events=events)
        _show_plan(verdicts, display, console)
        return True
    tables = Tables(output, display.command)
    with view_of(display.view, console, tables) as view:
        try:
            tally = run_batch(root, model=model, output=output, options=options, events=view)
        finally:
            if trouble := tables.write():
                view.on_message(trouble)
    if display.view == "auto":
        console.print(f"Results are in '{output}'; report.html and summary.csv tell of them all.")
    return not (tally.failed or tally.planned.failed)


def plan_table(verdicts: Sequence[Verdict], *, paths: bool = False) -> Table:
    """What would run, and why the rest not."""
    table = Table(title="Plan")
    for title in ("case", "runs", "scan", "why", *(["path"] if paths else [])):
        table.add_column(title, overflow="fold")
    for verdict in verdicts:
        facts, fault = verdict.scan.facts, verdict.fault
        slices = f"{facts['slices']} slices" if facts.get("slices") else None
        scan = [str(part) for part in (facts.get("Modality"), facts.get("plane"), slices) if part]
        runs = "yes" if verdict.action in _WILL_RUN else "no"
        why = f"{fault.code}: {fault.message}" if fault else verdict.action
        path = [verdict.scan.path] if paths else []
        table.add_row(verdict.case[:12], runs, ", ".join(scan), why, *path)
    return table


def _show_plan(verdicts: Sequence[Verdict], display: Display, console: Console) -> None:
    if display.view == "json-lines":
        for verdict in verdicts:
            console.print(msgspec.json.encode(_as_json(verdict, paths=display.paths)).decode())
        return
    if display.view == "auto":
        console.show(plan_table(verdicts, paths=display.paths))
    console.print(plan_line(planned(verdicts)))


def _as_json(verdict: Verdict, *, paths: bool) -> dict[str, object]:
    """A scan of a plan, for programs."""
    scan, fault = verdict.scan, verdict.fault
    return {
        "event": "scan",
        "case": verdict.case,
        "runs": verdict.action in _WILL_RUN,
        "action": verdict.action,
        **({"code": fault.code, "message": fault.message} if fault else {}),
        "facts": scan.facts,
        **({"path": scan.path, "series": scan.series} if paths else {}),
    }


def _pool(cluster: str | None) -> Callable[[], WorkerPool] | None:
    """Makes the workers elsewhere that are asked for."""
    if cluster is None:
        return None
    from medseg_pipelines.cluster import pool_of

    return pool_of(cluster)


class _SearchProgress(Events):
    """The search alone, as a bar or lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def searching(self, done: int, total: int) -> None:
        """The archive is searched."""
        self._progress(done, total, "")
