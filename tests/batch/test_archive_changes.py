"""After any changes of an archive, its index knows what a search without one finds."""

from __future__ import annotations

import random
import shutil

import msgspec
import pytest

from dicom_phantom import Series, random_stored
from medseg_pipelines.batch.archive.search import search


def series(seed=0, slices=4):
    return Series(random_stored((slices, 5, 6), seed))


@pytest.fixture
def archive(tmp_path):
    root = tmp_path / "root"
    for n in range(2):
        series(n).write(root / f"s{n}")
        series(9 + n).write(root / "flat", prefix=str(n))
    shutil.make_archive(str(root / "z"), "zip", root / "s0")
    (root / "words.txt").write_text("nothing")
    return root, tmp_path / "index"


def _without_folder(one):
    """As it is but for the folder, which the first study of a patient names."""
    return msgspec.structs.replace(one, folder="")


def _add_series(root, draw):
    series(draw.randrange(999), slices=draw.randrange(1, 5)).write(
        root / f"n{draw.randrange(4)}", prefix=f"{draw.randrange(99)}-"
    )


def _pick(root, draw):
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".gz")
    return draw.choice(files)


def _remove(root, draw):
    _pick(root, draw).unlink()


def _move(root, draw):
    path = _pick(root, draw)
    target = root / f"n{draw.randrange(4)}" / f"m{draw.randrange(99)}"
    target.parent.mkdir(exist_ok=True)
    path.rename(target)


def _copy(root, draw):
    path = _pick(root, draw)
    shutil.copy2(path, path.with_name(f"c{draw.randrange(99)}"))


def _spoil(root, draw):
    path = _pick(root, draw)
    content = path.read_bytes()
    path.write_bytes(draw.choice([b"", content[:200], content[: len(content) // 2], b"words" * 99]))


def _hide(root, draw):
    path = _pick(root, draw)
    path.rename(path.with_name("." + path.name))


def _zip(root, draw):
    path = _pick(root, draw)
    shutil.make_archive(str(root / f"z{draw.randrange(3)}"), "zip", path.parent)


def _drop_folder(root, draw):
    shutil.rmtree(_pick(root, draw).parent)
    root.mkdir(exist_ok=True)
    series(draw.randrange(999)).write(root / "base")


CHANGES = [_add_series, _remove, _move, _copy, _spoil, _hide, _zip, _drop_folder]


@pytest.mark.parametrize("seed", range(4))
def test_after_any_changes_the_index_knows_what_a_fresh_search_finds(archive, seed):
    root, index = archive
    draw = random.Random(seed)
    for _ in range(15):
        for _ in range(draw.randrange(1, 4)):
            draw.choice(CHANGES)(root, draw)
        known = [_without_folder(one) for one in search(root, index)]
        assert known == [_without_folder(one) for one in search(root, None)]
