"""Scans and label maps find each other by name, or one sentence says which do not."""

import pytest

from medseg.discovery.cases import find_cases, folder_pairs, label_files
from medseg.discovery.label_places import is_label_map
from medseg.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root, **options):
    """Names of the files of each case."""
    cases = find_cases(*next(iter(folder_pairs(root)), (root, root)), **options)
    return {case.name: ([path.name for path in case.images], case.label.name) for case in cases}


@pytest.fixture
def two_channels(tmp_path):
    images = [f"imagesTr/c{case}_{channel:04d}.nii.gz" for case in range(3) for channel in (0, 1)]
    return touch(tmp_path, *images, *(f"labelsTr/c{case}.nii.gz" for case in range(3)))


def test_capitals_of_an_ending_do_not_matter(tmp_path):
    touch(tmp_path, "images/a.NII.GZ", "images/b.nii.gz", "labels/a.nii.gz", "labels/b.Nii")
    assert found(tmp_path) == {"a": (["a.NII.GZ"], "a.nii.gz"), "b": (["b.nii.gz"], "b.Nii")}


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    for part in ("images", "labels"):
        touch(tmp_path, f"{part}/.ipynb_checkpoints/a.nii.gz", f"{part}/._a.nii.gz")
    assert list(found(tmp_path)) == ["a"]


def test_segments_lie_in_the_folder_of_labels_or_beside_the_scan(tmp_path):
    touch(tmp_path / "apart", "images/a.nrrd", "labels/a.seg.nrrd")
    touch(tmp_path / "beside", "a.nrrd", "a.seg.nrrd", "b.nii.gz", "b.SEG.nrrd")
    assert found(tmp_path / "apart") == {"a": (["a.nrrd"], "a.seg.nrrd")}
    assert found(tmp_path / "beside") == {
        "a": (["a.nrrd"], "a.seg.nrrd"),
        "b": (["b.nii.gz"], "b.SEG.nrrd"),
    }


def test_a_folder_of_slices_and_its_dicom_labels(tmp_path):
    touch(tmp_path, "images/a/1.dcm", "images/b/1.dcm", "images/.cache/1.dcm")
    touch(tmp_path, "labels/a.dcm", "labels/a.rtstruct.dcm", "labels/a.sr.dcm")
    touch(tmp_path, "labels/b.rtstruct.dcm")
    assert found(tmp_path) == {"a": (["a"], "a.dcm"), "b": (["b"], "b.rtstruct.dcm")}


def test_channels_are_found_where_labels_are_called_without_them(two_channels):
    both = {f"c{n}": ([f"c{n}_0000.nii.gz", f"c{n}_0001.nii.gz"], f"c{n}.nii.gz") for n in range(3)}
    assert found(two_channels) == found(two_channels, numbered=True, channels=2) == both


def test_a_number_that_labels_have_too_is_no_channel(tmp_path):
    touch(tmp_path, "imagesTr/h_0001.nii.gz", "labelsTr/h_0001.nii.gz")
    assert list(found(tmp_path, channels=1)) == ["h_0001"]


@pytest.mark.parametrize("options", [{}, {"numbered": True, "channels": 2}])
def test_a_missing_channel_is_named(two_channels, options):
    (two_channels / "imagesTr" / "c2_0001.nii.gz").unlink()
    with pytest.raises(InputError, match=r"case 'c2' .*: c2_0001 is missing") as error:
        found(two_channels, **options)
    assert error.value.code == "CHANNELS"


def test_a_wrong_channel_is_named(tmp_path):
    touch(
        tmp_path, *(f"{part}Tr/a{end}.nii" for part, end in (("images", "_0000"), ("labels", "")))
    )
    touch(tmp_path, "imagesTr/b_0001.nii", "labelsTr/b.nii")
    with pytest.raises(InputError, match=r"'b' .* has b_0001 where b_0000 is needed"):
        found(tmp_path, numbered=True, channels=1)


def test_a_channel_too_many_is_named(two_channels):
    with pytest.raises(InputError, match=r"'c0' .* has c0_0000, c0_0001 where c0_0000 is needed"):
        found(two_channels, numbered=True, channels=1)


def test_an_image_without_the_number_of_its_channel_is_shown(tmp_path):
    touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=r"'a\.nii\.gz' .* as 'a_0000\.nii\.gz'"):
        found(tmp_path, numbered=True, channels=1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("labels/a.nii.gz", "labels/a.nrrd"),
        ("labels/a.nii.gz", "labels/a.seg.nrrd"),
        ("images/a.nii.gz", "images/a.NII.GZ"),
        ("images/a.mha", "images/a/1.dcm"),
    ],
)
def test_two_files_of_one_case_are_both_named(tmp_path, first, second):
    touch(tmp_path, first, second)
    touch(tmp_path, "images/b.nii.gz", "labels/b.nii.gz")
    with pytest.raises(InputError, match="would be one case") as error:
        found(tmp_path)
    assert all(f"'{name.split('/')[1]}'" in str(error.value) for name in (first, second))


def test_both_sides_that_lack_the_other_are_named(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "images/scan7.nii.gz", "labels/a.nii.gz", "labels/mask7.nii")
    with pytest.raises(
        InputError, match=r"images' have no label map, .*'scan7'.*have no image.*"
    ) as e:
        found(tmp_path)
    assert "'mask7'" in str(e.value)


def test_pictures_are_label_maps_where_nothing_else_is(tmp_path):
    touch(tmp_path, "a.png", "b.PNG")
    assert list(label_files(tmp_path)) == ["a", "b"]
    touch(tmp_path, "a.nii.gz")
    assert list(label_files(tmp_path)) == ["a"]


def test_label_maps_are_known_by_name_and_place(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz", "other/labels/a.nii.gz", "a.seg.nrrd")
    known = [
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*.n*")
        if is_label_map(path)
    ]
    assert sorted(known) == ["a.seg.nrrd", "labels/a.nii.gz"]
