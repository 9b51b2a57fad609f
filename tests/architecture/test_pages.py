"""The pages say what is true: links lead somewhere, examples are Python, commands exist."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.house import PIPELINES, ROOT, files

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```(?:bash)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^medseg ((?:models )?[a-z]+)\b(.*(?:\n {4,}.*)*)", re.MULTILINE)
PAGES = [
    path for path in files()
    if path.suffix == ".md" and (path.parent == ROOT or path.is_relative_to(ROOT / "docs"))
]  # fmt: skip


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


@pytest.mark.skipif(not (PIPELINES / "cli.py").exists(), reason="there is no command line yet")
def test_every_command_and_option_that_is_written_about_exists():
    from medseg_pipelines.cli import medseg

    wrong = []
    for page in PAGES:
        for name, rest in COMMAND.findall("\n".join(SHELL.findall(text_of(page)))):
            command = medseg
            for word in name.split():
                command = getattr(command, "commands", {}).get(word)
            if command is None:
                wrong.append(f"{page.name}: medseg {name}")
                continue
            known = {option for parameter in command.params for option in parameter.opts}
            known |= {option for parameter in command.params for option in parameter.secondary_opts}
            asked = set(re.findall(r"(--[a-z-]+)", rest.split("#")[0]))
            wrong += [f"{page.name}: medseg {name} {option}" for option in asked - known]
    assert not wrong


@pytest.mark.skipif(not (PIPELINES / "cli.py").exists(), reason="there is no command line yet")
def test_every_command_is_written_about():
    from medseg_pipelines.cli import medseg

    page = text_of(ROOT / "docs" / "reference" / "cli.md")
    assert not [name for name in medseg.commands if f"## medseg {name}" not in page]
    options = {
        option for command in medseg.commands.values() for parameter in command.params
        for option in parameter.opts if option.startswith("--")
    }  # fmt: skip
    assert not [option for option in sorted(options) if option not in page]
