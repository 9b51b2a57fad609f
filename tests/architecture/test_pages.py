"""The pages say what is true: links lead somewhere, examples are Python, commands exist."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.house import PIPELINES, ROOT, files

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^medseg ([a-z].*(?:\n {4,}.*)*)", re.MULTILINE)
PAGES = [
    path
    for path in files()
    if path.suffix == ".md" and (path.parent == ROOT or path.is_relative_to(ROOT / "docs"))
]


def text_of(page):
    return page.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    targets = [target for target in LINK.findall(text_of(page)) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_are_python(page):
    for block in PYTHON.findall(text_of(page)):
        ast.parse(block)


def leaves(command):
    """A command, or all of a group's; a group that runs by itself has the hidden command "run"."""
    below = getattr(command, "commands", None)
    return [leaf for one in below.values() for leaf in leaves(one)] if below else [command]


def options_of(*commands):
    every = (parameter for command in commands for parameter in command.params)
    return {option for one in every for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.skipif(not (PIPELINES / "cli.py").exists(), reason="there is no command line yet")
def test_every_command_and_option_that_is_written_about_exists():
    from medseg_pipelines.cli import medseg

    wrong = []
    for page in PAGES:
        for text in COMMAND.findall("\n".join(SHELL.findall(text_of(page)))):
            command, words = medseg, text.split("#")[0].split()
            while words and words[0] in getattr(command, "commands", {}):
                command = command.commands[words.pop(0)]
            command = getattr(command, "commands", {}).get("run", command)
            if hasattr(command, "commands"):
                wrong.append(f"{page.name}: medseg {text.splitlines()[0]}")
                continue
            asked = set(re.findall(r"(--[a-z-]+)", " ".join(words)))
            wrong += [
                f"{page.name}: medseg {text[:40]} {one}" for one in asked - options_of(command)
            ]
    assert not wrong


@pytest.mark.skipif(not (PIPELINES / "cli.py").exists(), reason="there is no command line yet")
def test_every_command_is_written_about():
    from medseg_pipelines.cli import medseg

    page = text_of(ROOT / "docs" / "reference" / "cli.md")
    assert not [name for name in medseg.commands if f"## medseg {name}" not in page]
    options = {one for one in options_of(*leaves(medseg)) if one.startswith("--")}
    assert not [option for option in sorted(options) if option not in page]
