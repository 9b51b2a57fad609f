"""Whether labels tell left from right, by their names: then no patch may exchange the two.

A network that sees mirrored patients cannot learn which kidney is the left one, and one that does
not only learns a little slower; so whatever is in doubt is not mirrored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator

from medseg.volume.label_table import LabelTable

_ANYWHERE = (
    "left right лев прав лів ляв десн αριστερ δεξι 左 右 왼 오른 좌 우 يسار يمين ايسر ايمن يسرى"
    " يمنى چپ راست שמאל ימין ימני ימנית बाएं बायां बायीं दाएं दायां दायीं ซ้าย ขวา"
)
_BEGINNINGS = (
    "left right link recht gauche droit izquierd derech esquerd direit esquerr dret sinist destr"
    " dext venstre højre høyre vänster höger vasen vasem vasak oikea parem praw prav lijev desn ľav"
    " stâng dreapt drept jobb kiri kanan trái phải kair dešin"
)
_WORDS = (
    "l r lt rt lft rgt lh rh lk rk lul lml lll rul rml rll li re sin dex dx sx izq izdo izda der"
    " dcho dcha esq dir gch levy levá levé levi leva levo lewy lewa lewe lewo bal sol sağ"
)
_LETTERS = (("l", "r"), ("g", "d"), ("i", "d"), ("e", "d"), ("s", "d"), ("h", "v"))
"""Pairs that stand for left and right where both occur: G and D are gauche and droite."""
_COUNTED = (("1", "2", "3"), ("a", "b", "c"))
"""First and second of a pair of structures, where there is no third."""
_SCRIPTS = "LATIN GREEK CYRILLIC CJK HIRAGANA KATAKANA HANGUL ARABIC HEBREW DEVANAGARI THAI"
_BRIGHT = re.compile(r"(?<![^\W_])bright")
"""A word with a side in it that says none; in ``ribright`` it begins no word."""
_UNNAMED = re.compile(
    r"(label|class|klasse|value|segment|structure|object|region|roi|mask)?[\W_]*\d+[\W_]*"
)


def side_doubt(labels: LabelTable) -> str:
    """Why left and right have to be kept apart; empty when no name tells or hides a side.

    Parameters
    ----------
    labels : LabelTable
        What will be learnt.

    Returns
    -------
    str
        The part of a sentence, such as "'Niere links' seems to say left or right".
    """
    names = labels.names
    for name in names:
        if reason := _reason(name):
            return f"'{name}' {reason}"
    tokens = {_tokens(name): name for name in names}
    for own, name in tokens.items():
        for other in (*_opposites(own), *_seconds(own, tokens)):
            if other in tokens:
                return f"'{name}' and '{tokens[other]}' look like left and right of one structure"
    return ""


def side_sentence(*, exchanged: bool, doubt: str) -> str:
    """What a person is told of left and right before training; empty when there is nothing to say.

    Parameters
    ----------
    exchanged : bool
        Whether training mirrors patches from left to right.
    doubt : str
        As `side_doubt` gives it.
    """
    if exchanged and doubt:
        return f"Patches are mirrored left to right as the plan says, although {doubt}."
    if exchanged:
        return "Patches are mirrored left to right: no label's name tells the sides apart."
    return f"Patches are not mirrored left to right: {doubt}." if doubt else ""


def _reason(name: str) -> str:
    """What one name says of a side, or leaves open."""
    plain = _plain(name)
    sought = _BRIGHT.sub(" ", plain)
    said = any(word in _SHORT or word.startswith(_STEMS) for word in _tokens(name))
    if said or any(side in sought for side in _INSIDE):
        return "seems to say left or right"
    if _UNNAMED.fullmatch(plain):
        return "does not say what it is"
    scripts = (re.split("[ -]", unicodedata.name(c, "?"))[0] for c in plain if c.isalpha())
    unknown = next((script for script in scripts if script not in _SCRIPTS), "")
    return f"is in {unknown.title()} letters, whose words for sides are not known" * bool(unknown)


def _plain(text: str) -> str:
    """Small letters without accents, however they were encoded."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _tokens(name: str) -> tuple[str, ...]:
    """Words of a name: ``ParotidL`` and ``LParotid`` have two, ``LUL`` is one."""
    spaced, padded = "", f" {name} "
    for before, letter, after in zip(padded, padded[1:], padded[2:], strict=False):
        if letter.isupper() and (before.islower() or (before.isupper() and after.islower())):
            spaced += " "
        spaced += letter
    return tuple(re.findall(r"[^\W_]+", _plain(spaced)))


def _opposites(tokens: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What the words become when one of them changes sides by a letter."""
    for n, word in enumerate(tokens):
        for pair in _LETTERS if len(word) == 1 else _LETTERS[:1]:
            for before, after in (pair, pair[::-1]):
                changes = {re.sub(at, after, word) for at in (f"^{before}", f"{before}$")}
                for changed in changes - {word}:
                    yield (*tokens[:n], changed, *tokens[n + 1 :])


def _seconds(
    tokens: tuple[str, ...], names: Container[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """The words of the other one of two structures that are counted: ``kidney 1``, ``kidney 2``."""
    for n, word in enumerate(tokens):
        for first, second, third in _COUNTED:
            if word == first and (*tokens[:n], third, *tokens[n + 1 :]) not in names:
                yield (*tokens[:n], second, *tokens[n + 1 :])


_INSIDE = tuple(_plain(_ANYWHERE).split())
_STEMS = tuple(_plain(_BEGINNINGS).split())
_SHORT = frozenset(_plain(_WORDS).split())
