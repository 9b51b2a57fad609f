import hashlib

import pytest

from hospital.archive import match, write_hospital
from hospital.poisons import POISONS
from hospital.styles import STYLES
from medseg.discovery import find_scans
from medseg.errors import MedsegError
from medseg.reading import read_scan


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    root = tmp_path_factory.mktemp("hospital")
    return root, write_hospital(root, count=40, bad=0.25)


def code_of(source):
    try:
        read_scan(source.path, series=source.series_uid or None).check_finite()
    except MedsegError as error:
        return error.code
    return ""


def test_every_style_and_every_poison_is_there(hospital):
    kinds = {one.kind for one in hospital[1]}
    assert kinds == {one.name for one in (*STYLES, *POISONS)}


def test_the_reader_finds_each_series_and_refuses_the_bad_ones_by_code(hospital):
    root, expected = hospital
    sources = find_scans(root)
    found = [(one.path, one.series_uid, code_of(one)) for one in sources]
    pairs, missing, surplus = match(expected, found)
    assert not missing
    assert not surplus
    assert [(one.kind, code) for one, code in pairs if code != one.code] == []


def test_the_same_seed_makes_the_same_bytes(hospital, tmp_path):
    root, _ = hospital
    write_hospital(tmp_path, count=40, bad=0.25)
    assert digests(tmp_path) == digests(root)


def digests(root):
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
