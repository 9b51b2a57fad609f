"""Rules as people write them: options of the command line, or a file of a department.

::

    [[rule]]
    name = "chest"
    where = ['Modality == "CT"', "SliceThickness <= 3"]
    description = ["*lung*", "*thorax*"]
    exclude = ["*scout*"]
    orientation = ["axial"]
    min_slices = 30
    model = "lung-lobes"

The first rule that takes a scan decides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from medseg.errors import InputError, ReadError
from medseg_pipelines.batch.archive.rules import Plane, Rule, Rules, RuleText

_MOST_FILE = 1 << 20


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of rules."""

    rule: tuple[RuleText, ...]


def make_rules(
    *,
    where: Iterable[str] = (),
    description: Iterable[str] = (),
    exclude: Iterable[str] = (),
    orientation: Iterable[Plane] = (),
    min_slices: int = 0,
    file: Path | None = None,
) -> Rules:
    """Check rules before anything runs.

    Parameters
    ----------
    where, description, exclude : iterable of str
        What every scan must fulfil; see :class:`medseg_pipelines.batch.archive.rules.RuleText`.
    orientation : iterable of str
    min_slices : int
    file : Path or None
        A TOML file of rules, of which one must take the scan, too.

    Raises
    ------
    ReadError
        When the file cannot be read.
    InputError
        Code ``RULE_SYNTAX``: what is wrong, and where.
    """
    text = RuleText(
        where=tuple(where),
        description=tuple(description),
        exclude=tuple(exclude),
        orientation=tuple(orientation),
        min_slices=min_slices,
    )
    always = () if text == RuleText() else (Rule.of(text),)
    return Rules(always, read_rules(file) if file is not None else ())


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read a file of rules.

    Parameters
    ----------
    path : Path
        TOML, with one ``[[rule]]`` or more.

    Returns
    -------
    tuple of Rule
        In their order; those without a name are called by their number.

    Raises
    ------
    ReadError
        When the file cannot be read.
    InputError
        Code ``RULE_SYNTAX``: what is wrong, and where.
    """
    try:
        with path.open("rb") as file:
            stored = file.read(_MOST_FILE)
        texts = msgspec.convert(tomllib.loads(stored.decode()), _File).rule
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise ReadError(f"the rules '{path}' cannot be opened: {reason}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise InputError(f"the rules '{path.name}': {error}", code="RULE_SYNTAX") from error
    return tuple(_checked(text, number, path) for number, text in enumerate(texts, start=1))


def _checked(text: RuleText, number: int, path: Path) -> Rule:
    named = msgspec.structs.replace(text, name=text.name or str(number))
    try:
        return Rule.of(named)
    except InputError as error:
        raise InputError(f"{path.name}, rule {named.name}: {error}", code=error.code) from error
