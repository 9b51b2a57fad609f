"""Files stay readable, belong to no machine, and have names of their own."""

from __future__ import annotations

import re
from collections import Counter

from architecture.house import ROOT, files, place, python_files

MOST_LINES = 400
FOLDERS = ("work", "home", "root", "Users", "mnt", "opt", "farm", "tmp/bash_jobs")
HOSTS = ("pypi", "pythonhosted", "anaconda", "download.pytorch", "registry.npmjs", "ghcr")
MACHINE_PATH = re.compile(rf"(?<![\w.}})~$/-])/(?:{'|'.join(FOLDERS)})/\w")
REGISTRY = re.compile(rf"https?://[\w.-]*(?:{'|'.join(HOSTS)})\.\w+", re.IGNORECASE)


def lines():
    """Each line of each text file, with its place."""
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield place(path, number), line


def test_python_files_are_short():
    sizes = {path: len(path.read_text("utf-8").splitlines()) for path in python_files()}
    long = [place(path, size) for path, size in sizes.items() if size >= MOST_LINES]
    assert not long, f"a file of {MOST_LINES} lines or more holds two things"


def test_no_file_knows_a_machine():
    found = [
        f"{where}: {line.strip()[:80]}" for where, line in lines() if MACHINE_PATH.search(line)
    ]
    assert not found


def test_no_file_knows_a_registry():
    found = [f"{where}: {line.strip()[:80]}" for where, line in lines() if REGISTRY.search(line)]
    assert not found


def test_test_files_have_names_of_their_own():
    names = Counter(
        path.name for path in python_files(ROOT / "tests") if path.name.startswith("test_")
    )
    assert not [name for name, times in names.items() if times > 1]
