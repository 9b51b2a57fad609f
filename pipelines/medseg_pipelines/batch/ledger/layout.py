"""Where a batch keeps things below its output folder; nothing is written anywhere else."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medseg.errors import InputError
from medseg_pipelines.batch.result_files import BESIDE, CASE_FILE, FILES, THUMBNAIL, own_name

_NAMES = (*FILES.values(), THUMBNAIL, CASE_FILE)


@dataclass(frozen=True)
class Places:
    """The folders and files of one output."""

    output: Path

    @property
    def own(self) -> Path:
        """Folder of what is not for people."""
        return self.output / ".medseg"

    @property
    def ledger(self) -> Path:
        """What became of each case."""
        return self.own / "ledger.sqlite"

    @property
    def index(self) -> Path:
        """What the search remembers of the archive."""
        return self.own / "index.sqlite"

    @property
    def staging(self) -> Path:
        """Folder of results that are not yet whole."""
        return self.own / "staging"

    @property
    def scratch(self) -> Path:
        """Folder of the workers' temporary files, by share of the archive."""
        return self.own / "scratch"

    def has_results(self, folder: str, *names: str) -> bool:
        """Whether results are in a final place, and these files among them."""
        return all(self.file(folder, name).is_file() for name in (CASE_FILE, *names))

    def staged(self, token: str) -> Path:
        """Where the results of a lease are made."""
        return self.staging / token

    def final(self, folder: str) -> Path:
        """Where results are for all to see; `folder` is relative, with ``/``.

        Raises `InputError` when it leads out of the output, or into what is not for people.
        """
        parts = PurePosixPath(folder).parts
        bad = {"..", ".", "/", self.own.name}
        if not parts or bad & set(parts) or any("\\" in part or ":" in part for part in parts):
            raise InputError(f"'{folder}' is no folder for results", code="UNSAFE_NAME")
        return self.output.joinpath(*parts)

    def file(self, folder: str, name: str) -> Path:
        """Where a file of results is for all to see."""
        final = self.final(folder)
        if not folder.endswith(BESIDE):
            return final / name
        return final.with_name(own_name(name, final.name.removesuffix(BESIDE)))

    def files(self, folder: str) -> dict[str, Path]:
        """The files of results that are there, by name; ``case.json`` comes last."""
        if not folder.endswith(BESIDE):
            final = self.final(folder)
            there = sorted(final.iterdir()) if final.is_dir() else []
            return {path.name: path for path in there}
        paths = {name: self.file(folder, name) for name in _NAMES}
        return {name: path for name, path in paths.items() if path.exists()}

    def place_of(self, path: Path) -> str:
        """The place of results that a file or folder of theirs is in; empty for other paths."""
        path = path.absolute()
        if self.output not in path.parents:
            return ""
        within = path.relative_to(self.output)
        if not path.is_file():
            return within.as_posix()
        ends = {own_name(name, "") for name in _NAMES}
        beside = (str(within).removesuffix(end) + BESIDE for end in ends if path.name.endswith(end))
        return next(filter(self.has_results, beside), within.parent.as_posix())

    def former(self, folder: str, case: str) -> str:
        """A free place beside that of results, for those that others take the place of."""
        end = BESIDE if folder.endswith(BESIDE) else ""
        name = f"{folder.removesuffix(end)}.superseded-{case[:8]}"
        folders = (f"{name}{f'-{number}' * (number > 1)}{end}" for number in itertools.count(1))
        return next(folder for folder in folders if not self._is_taken(folder))

    def _is_taken(self, folder: str) -> bool:
        return self.final(folder).exists() or bool(self.files(folder))
