"""Where a batch keeps things below its output folder; nothing is written anywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medseg.errors import InputError

CASE_FILE = "case.json"


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

    def has_results(self, folder: str) -> bool:
        """Whether results are in a final place."""
        return (self.final(folder) / CASE_FILE).is_file()

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

    def former(self, folder: str, case: str) -> Path:
        """A free name beside the results' folder, for those that others take the place of."""
        final = self.final(folder)
        name = f"{final.name}.superseded-{case[:8]}"
        former, number = final.with_name(name), 1
        while former.exists():
            number += 1
            former = final.with_name(f"{name}-{number}")
        return former
