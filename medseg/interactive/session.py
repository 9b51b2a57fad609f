"""One scan, its labels, and prompts that change them one after the other, with undo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.editing import Edit, Rules
from medseg.errors import Cancelled, GeometryError, InputError, LabelError
from medseg.interactive.marks import Mark, mark_on, named
from medseg.interactive.methods import METHODS
from medseg.interactive.prompt import Prompt
from medseg.interactive.proposal import Labelled, propose, with_reach
from medseg.interactive.state import SessionState, Step, checksum, restored, saved
from medseg.runtime.progress import Progress, silent, tell
from medseg.volume import LabelMap, LabelTable, Scan


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a prompt would change, to be shown before it is accepted.

    Parameters
    ----------
    edit : Edit
        The smallest box that holds the change, and its labels.
    notes : tuple of str
        What is worth telling the person, one sentence each.
    mark : Mark
        The prompt on the scan's voxels, and how far it speaks.
    revision : int
        State of the session that it was made for.
    """

    edit: Edit
    notes: tuple[str, ...]
    mark: Mark
    revision: int


class Session:
    """Prompts on a scan; the same object for a script, a viewer and a robot.

    Everything is deterministic: the same scan, labels and prompts give the same labels, bit for
    bit. Work on one prompt may run in a thread; nothing changes until it is accepted.

    Parameters
    ----------
    scan : Scan
    labels : LabelMap or LabelTable
        What is to be corrected, or only the names when nothing is there yet.
    method : str, default "graph_cut"
        One of `METHODS`.
    locked : iterable of int
        Labels that neither lose nor gain a voxel.
    over_labels : bool, default True
        Whether what grows from a prompt may take voxels of other labels that are not locked; the
        background alone otherwise. What lies under a prompt is taken in either case.
    probabilities : mapping of int to ndarray, shape (I, J, K), optional
        Of labels, from a network, 0 to 1: better than its mask alone.

    Raises
    ------
    GeometryError
        When the labels or probabilities lie on another grid.
    InputError
        When there is no such method.
    """

    def __init__(
        self,
        scan: Scan,
        labels: LabelMap | LabelTable,
        *,
        method: str = "graph_cut",
        locked: Iterable[int] = (),
        over_labels: bool = True,
        probabilities: Mapping[int, npt.NDArray[Any]] | None = None,
    ) -> None:
        if isinstance(labels, LabelTable):
            labels = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid, labels)
        if not labels.grid.matches(scan.grid):
            raise GeometryError(
                f"the labels do not lie on the scan: {labels.grid.difference(scan.grid)}; bring"
                " them onto its grid first",
                code="GRIDS_DIFFER",
            )
        if method not in METHODS:
            raise InputError(f"there is no method '{method}'; choose {', '.join(METHODS)}")
        for label, probability in (probabilities or {}).items():
            if probability.shape != scan.grid.shape:
                raise GeometryError(
                    f"the probability of label {label} has the shape {probability.shape}, the scan"
                    f" {scan.grid.shape}; give one value for each voxel"
                )
        self.scan = scan
        self.method = method
        self.locked = frozenset(locked)
        self.over_labels = over_labels
        self._template = labels
        self._names = {entry.value: entry.name for entry in labels.table}
        self._probabilities = dict(probabilities or {})
        dtype = labels.values.dtype if max(self._names, default=0) < 256 else np.uint16
        self._values = labels.values.astype(dtype)
        self._origin = self._start = self._values.copy()
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._revision = 0
        self._closed = False

    @property
    def values(self) -> npt.NDArray[Any]:
        """The labels as they are, shape (I, J, K); a view that follows and cannot be written."""
        view = self._values.view()
        view.setflags(write=False)
        return view

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts that are in effect, in their order."""
        return tuple(mark.prompt for mark in self._marks)

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back and nothing was done since."""
        return bool(self._undone)

    @property
    def _marks(self) -> list[Mark]:
        return [step.mark for step in self._done if step.mark is not None]

    def labels(self) -> LabelMap:
        """A label map of the labels as they are now."""
        return LabelMap(
            self._values.copy(),
            self._template.grid,
            self._template.table,
            self._template.provenance,
            self._template.creator,
        )

    def propose(self, prompt: Prompt, *, progress: Progress = silent) -> Proposal:
        """Find what a prompt changes, and change nothing.

        Parameters
        ----------
        prompt : Prompt
        progress : Progress, optional
            May raise `Cancelled`; is told what else is worth knowing.

        Raises
        ------
        InputError
            When the prompt lies outside the scan, or is too large.
        LabelError
            When its label is locked or unknown, or it lies on a locked label.
        Cancelled
            When the session was closed meanwhile.
        """
        revision, marks = self._revision, self._marks
        self._check_open()
        self._check_label(prompt.label)
        mark = mark_on(self.scan.grid, prompt)
        self._check_unlocked(mark)
        labelled = Labelled(
            self.scan.voxels,
            self._values,
            self._start,
            self.scan.grid,
            Rules(over_labels=self.over_labels, locked=tuple(sorted(self.locked))),
            self._probabilities,
        )
        mark = with_reach(mark, labelled)

        def asked(done: int, total: int, message: str, /) -> None:
            self._check_open()
            progress(done, total, message)

        edit = propose(labelled, [*marks, mark], METHODS[self.method], asked)
        notes = _notes(marks, mark, edit)
        for note in notes:
            tell(progress, note)
        return Proposal(edit, notes, mark, revision)

    def accept(self, proposal: Proposal) -> Edit:
        """Make the change that was proposed.

        Raises
        ------
        InputError
            When the labels have changed since it was proposed.
        Cancelled
            When the session is closed.
        """
        self._check_open()
        if proposal.revision != self._revision:
            raise InputError(
                "the labels have changed since this was proposed; set the prompt again",
                code="STALE",
            )
        self._do(Step(proposal.mark, proposal.edit, self._values[proposal.edit.where].copy()))
        return proposal.edit

    def add(self, prompt: Prompt, *, progress: Progress = silent) -> Edit:
        """Propose and accept: what a prompt has changed.

        Raises
        ------
        InputError, LabelError, Cancelled
            As :meth:`propose`; nothing has changed then.
        """
        return self.accept(self.propose(prompt, progress=progress))

    def edit(self, edit: Edit) -> None:
        """Make a change by hand, as `medseg.editing` gives it: a step of undo like a prompt.

        Raises
        ------
        Cancelled
            When the session is closed.
        """
        self._check_open()
        self._do(Step(None, edit, self._values[edit.where].copy()))

    def undo(self) -> Edit | None:
        """Take the last step back; the change that does so, or None when there is none."""
        if not self._done:
            return None
        step = self._done.pop()
        self._undone.append(step)
        self._set(Edit(step.edit.where, step.before), by_hand=step.mark is None)
        return Edit(step.edit.where, step.before)

    def redo(self) -> Edit | None:
        """Do again what was last taken back, or None."""
        if not self._undone:
            return None
        step = self._undone.pop()
        self._done.append(step)
        self._set(step.edit, by_hand=step.mark is None)
        return step.edit

    def close(self) -> None:
        """End the session: work on a prompt that still runs ends with `Cancelled`."""
        self._closed = True

    def state(self) -> SessionState:
        """All that is needed, beside scan and labels, to go on later; plain data."""
        return SessionState(
            method=self.method,
            locked=tuple(sorted(self.locked)),
            over_labels=self.over_labels,
            checksum=checksum(self._values),
            done=tuple(saved(step) for step in self._done),
            undone=tuple(saved(step) for step in self._undone),
        )

    @classmethod
    def restore(
        cls,
        scan: Scan,
        labels: LabelMap,
        state: SessionState,
        *,
        probabilities: Mapping[int, npt.NDArray[Any]] | None = None,
    ) -> Session:
        """A session that goes on where another was, bit for bit.

        Parameters
        ----------
        scan : Scan
        labels : LabelMap
            As they were when the state was taken.
        state : SessionState
        probabilities : mapping of int to ndarray, optional
            The same as before.

        Raises
        ------
        InputError
            When the labels are not those of the state.
        """
        session = cls(
            scan,
            labels,
            method=state.method,
            locked=state.locked,
            over_labels=state.over_labels,
            probabilities=probabilities,
        )
        if checksum(session._values) != state.checksum:
            raise InputError(
                "the labels are not those that were saved with the prompts; begin a new session"
                " with them, or open the labels that were saved",
                code="CHECKSUM",
            )
        dtype = session._values.dtype
        session._done = [restored(step, scan.grid, dtype) for step in state.done]
        session._undone = [restored(step, scan.grid, dtype) for step in state.undone]
        for step in reversed(session._done):
            session._origin[step.edit.where] = step.before
        session._start = session._with_edits_by_hand()
        return session

    def _do(self, step: Step) -> None:
        self._done.append(step)
        self._undone.clear()
        self._set(step.edit, by_hand=step.mark is None)

    def _set(self, edit: Edit, *, by_hand: bool) -> None:
        self._values[edit.where] = edit.values
        self._revision += 1
        if by_hand:
            self._start = self._with_edits_by_hand()

    def _with_edits_by_hand(self) -> npt.NDArray[Any]:
        """The labels without the prompts."""
        start = self._origin.copy()
        for step in self._done:
            if step.mark is None:
                changed = step.edit.values != step.before
                start[step.edit.where][changed] = step.edit.values[changed]
        return start

    def _check_open(self) -> None:
        if self._closed:
            raise Cancelled("the session was closed; the labels are as they were before the prompt")

    def _check_label(self, label: int) -> None:
        if label not in self._names:
            raise LabelError(
                f"there is no label {label}; the labels are"
                f" {', '.join(f'{value} {name}' for value, name in self._names.items())}"
            )
        if label in self.locked:
            raise LabelError(
                f"{self._names[label]} (label {label}) is locked; unlock it to correct it",
                code="LOCKED",
            )

    def _check_unlocked(self, mark: Mark) -> None:
        """Raise `LabelError` when all that a prompt names belongs to locked labels."""
        if mark.prompt.kind == "box":
            under = self._values[mark.box].ravel()
        else:
            under = self._values[tuple(mark.voxels.T)]
        if np.isin(under, sorted(self.locked)).all():
            label = int(under[0])
            raise LabelError(
                f"the {mark.prompt.kind} lies on {self._names[label]} (label"
                f" {label}), which is locked; unlock it, or set the prompt elsewhere",
                code="LOCKED",
            )


def _notes(marks: Sequence[Mark], mark: Mark, edit: Edit) -> tuple[str, ...]:
    """What a person should know of a prompt that is about to be accepted."""
    notes = []
    label, kind = mark.prompt.label, mark.prompt.kind
    opposite = named(marks, label, mark.box) * named([mark], label, mark.box) < 0
    if opposite.any():
        notes.append(
            f"the {kind} says the opposite of an earlier prompt at {int(opposite.sum())} voxel(s);"
            " the later one holds"
        )
    if not edit.values.size:
        side = "in the structure" if mark.prompt.positive else "outside the structure"
        notes.append(f"the {kind} changes nothing: what it marks is {side} already, or locked")
    return tuple(notes)
