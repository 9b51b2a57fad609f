"""Every layout in which people keep scans and label maps, and what no layout may decide alone."""

import json
import warnings

import pytest

from medseg.discovery.label_places import is_label_map
from medseg.discovery.layouts import find_dataset
from medseg.discovery.mask_files import Masks
from medseg.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def found(root):
    """Files of each case below the root, and its patient."""
    top = root.parent if root.is_file() else root

    def below(path):
        return path.relative_to(top).as_posix()

    rows = {}
    for case in find_dataset(root).cases:
        label = case.label
        labels = (
            {name: below(path) for name, path in label.files}
            if isinstance(label, Masks)
            else below(label)
        )
        rows[case.name] = ([below(path) for path in case.images], labels, case.patient)
    return rows


WAYS = {
    "a scan and its label": ("image.nii.gz", "label.nii.gz"),
    "capitals": ("CT.NII.GZ", "Segmentation.nii"),
    "mask": ("scan.nrrd", "mask.nrrd"),
    "the word last": ("p_t1.mha", "p_t1_seg.mha"),
    "ground truth": ("p.nii", "p-ground-truth.nii"),
    "the word first": ("volume-7.nii", "segmentation-7.nii"),
    "a word between": ("img.nii", "tumor_mask.nii"),
    "slicer": ("p.nrrd", "p.seg.nrrd"),
    "pictures": ("photo.jpg", "mask.png"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_for_each_patient(tmp_path, way):
    scan, label = WAYS[way]
    touch(tmp_path, *(f"{p}/{name}" for p in ("p1", "p2") for name in (scan, label)))
    touch(tmp_path, "README.txt", ".git/seg.nii", "p1/.DS_Store", "p1/notes.txt")
    right = {p: ([f"{p}/{scan}"], f"{p}/{label}", p) for p in ("p1", "p2")}
    assert found(tmp_path) == right


def test_frames_of_a_patient_are_cases_of_one_patient(tmp_path):
    for patient in ("patient001", "patient002"):
        names = [f"{patient}_frame{n}{end}.nii.gz" for n in ("01", "12") for end in ("", "_gt")]
        touch(tmp_path / patient, *names, f"{patient}_4d.nii.gz", "Info.cfg")
    with pytest.warns(UserWarning, match=r"left out, without a label map .*patient001_4d"):
        cases = found(tmp_path)
    assert len(cases) == 4
    assert cases["patient001_frame12"] == (
        ["patient001/patient001_frame12.nii.gz"],
        "patient001/patient001_frame12_gt.nii.gz",
        "patient001",
    )


@pytest.mark.parametrize(("mark", "first"), [("_", "BraTS_00"), ("-", "BraTS-GLI-0000")])
def test_channels_are_named_by_their_files(tmp_path, mark, first):
    for patient in (f"{first}1", f"{first}2"):
        parts = ("t1", "t1ce", "flair", "seg")
        touch(tmp_path / patient, *(f"{patient}{mark}{part}.nii.gz" for part in parts))
    dataset = find_dataset(tmp_path)
    assert dataset.channels == ("flair", "t1", "t1ce")
    names = [path.name for path in dataset.cases[0].images]
    assert names == [f"{first}1{mark}{part}.nii.gz" for part in dataset.channels]
    about = {"channel_names": {"0": "T1CE", "1": "FLAIR"}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    dataset = find_dataset(tmp_path)
    assert dataset.channels == ("T1CE", "FLAIR")
    assert [path.name for path in dataset.cases[1].images] == [
        f"{first}2{mark}{part}.nii.gz" for part in ("t1ce", "flair")
    ]
    (tmp_path / f"{first}2" / f"{first}2{mark}flair.nii.gz").unlink()
    with pytest.raises(InputError, match=rf"case '{first}2' .* no flair") as error:
        find_dataset(tmp_path)
    assert error.value.code == "CHANNELS"


def test_sessions_are_cases_of_one_patient(tmp_path):
    touch(tmp_path, *(f"p1/{day}/{name}.nii" for day in ("d0", "d9") for name in ("ct", "seg")))
    assert found(tmp_path)["p1_d9"] == (["p1/d9/ct.nii"], "p1/d9/seg.nii", "p1")


def test_masks_of_structures_beside_the_scan(tmp_path):
    for patient in ("s0", "s1"):
        parts = (f"segmentations/{part}.nii.gz" for part in ("spleen", "liver"))
        touch(tmp_path / patient, "ct.nii.gz", *parts)
    masks = {part: f"s1/segmentations/{part}.nii.gz" for part in ("liver", "spleen")}
    assert found(tmp_path)["s1"] == (["s1/ct.nii.gz"], masks, "s1")


@pytest.mark.parametrize("form", ["labels/{}/{}.nii.gz", "labels/{}_{}.nii.gz"])
def test_masks_of_structures_in_a_folder_of_labels(tmp_path, form):
    parts = [form.format(case, part) for case in ("c1", "c1_b") for part in ("liver", "spleen")]
    touch(tmp_path, "images/c1.nii.gz", "images/c1_b.nii.gz", *parts)
    cases = found(tmp_path)
    assert cases["c1"][1] == {part: form.format("c1", part) for part in ("liver", "spleen")}
    assert cases["c1_b"][1] == {part: form.format("c1_b", part) for part in ("liver", "spleen")}
    (tmp_path / form.format("c1_b", "spleen")).unlink()
    with pytest.raises(InputError, match=r"case 'c1_b' has masks of liver .* spleen too") as error:
        find_dataset(tmp_path)
    assert error.value.code == "MASK_MISSING"


def test_a_word_after_the_name_is_no_structure(tmp_path):
    touch(tmp_path, *(f"images/{c}.nii" for c in "ab"), *(f"labels/{c}_seg.nii" for c in "ab"))
    assert found(tmp_path)["a"] == (["images/a.nii"], "labels/a_seg.nii", "")


def test_the_folder_of_label_maps_may_be_called_masks(tmp_path):
    touch(tmp_path, *(f"images/{c}.png" for c in "ab"), *(f"masks/{c}_mask.png" for c in "ab"))
    assert found(tmp_path)["b"] == (["images/b.png"], "masks/b_mask.png", "")


def test_scans_and_label_maps_in_one_folder(tmp_path):
    touch(tmp_path, *(f"{case}{end}.nii.gz" for case in ("a", "b1") for end in ("", "_mask")))
    assert found(tmp_path) == {
        "a": (["a.nii.gz"], "a_mask.nii.gz", ""),
        "b1": (["b1.nii.gz"], "b1_mask.nii.gz", ""),
    }


def bids(root, *, sessions=("",), suffixes=("T1w",), label="space-T1w_desc-manual_dseg"):
    for subject in ("sub-01", "sub-02"):
        for session in sessions:
            folder = "/".join(filter(None, (subject, session, "anat")))
            stem = "_".join(filter(None, (subject, session)))
            touch(root, *(f"{folder}/{stem}_{suffix}.nii.gz" for suffix in suffixes))
            touch(root, f"{folder}/{stem}_T1w.json")
            touch(root, f"derivatives/manual/{folder}/{stem}_{label}.nii.gz")
    touch(root, "participants.tsv", "dataset_description.json")
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t20\n")
    return root


@pytest.mark.parametrize("label", ["dseg", "T1w_dseg", "desc-manual_dseg", "space-T1w_dseg"])
def test_bids(tmp_path, label):
    folder = "derivatives/manual/sub-02/anat"
    right = (["sub-02/anat/sub-02_T1w.nii.gz"], f"{folder}/sub-02_{label}.nii.gz", "sub-02")
    assert found(bids(tmp_path, label=label))["sub-02"] == right


def test_bids_sessions_of_a_subject_are_one_patient(tmp_path):
    cases = found(bids(tmp_path, sessions=("ses-1", "ses-2")))
    assert sorted(cases) == [f"sub-0{s}_ses-{n}" for s in (1, 2) for n in (1, 2)]
    assert {row[2] for row in cases.values()} == {"sub-01", "sub-02"}


def test_bids_names_of_values(tmp_path):
    table = bids(tmp_path) / "derivatives" / "manual" / "desc-manual_dseg.tsv"
    table.write_text(
        "index\tname\tcolor\n0\tbackground\t#000\n1\tgrey matter\t#f00\n2\tCSF\t#0f0\n"
    )
    assert find_dataset(tmp_path).names == {1: "grey matter", 2: "CSF"}
    own = tmp_path / "derivatives/manual/sub-02/anat/sub-02_space-T1w_desc-manual_dseg.tsv"
    own.write_text("index\tname\n1\tCSF\n")
    with pytest.raises(InputError, match="other names") as error:
        find_dataset(tmp_path)
    assert error.value.code == "NAMES_DIFFER"


def test_bids_with_several_images_needs_a_word(tmp_path):
    bids(tmp_path, suffixes=("T1w", "FLAIR"), label="dseg")
    with pytest.raises(InputError, match=r"sub-01_FLAIR.*channel_names") as error:
        find_dataset(tmp_path)
    assert error.value.code == "AMBIGUOUS"
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "T1w", "1": "FLAIR"}}')
    dataset = find_dataset(tmp_path)
    assert dataset.channels == ("T1w", "FLAIR")
    names = [path.name for path in dataset.cases[0].images]
    assert names == ["sub-01_T1w.nii.gz", "sub-01_FLAIR.nii.gz"]


def test_bids_with_two_segmentations_takes_the_derivative_that_is_named(tmp_path):
    folder = "derivatives/other/sub-01/anat"
    touch(bids(tmp_path), f"{folder}/sub-01_desc-auto_dseg.nii.gz")
    with pytest.raises(InputError, match="both segmentations of sub-01") as error:
        find_dataset(tmp_path)
    assert error.value.code == "TWO_FILES"
    cases = find_dataset(tmp_path / "derivatives" / "manual").cases
    assert [case.name for case in cases] == ["sub-01", "sub-02"]


def test_bids_lesions_and_a_subject_without(tmp_path):
    touch(bids(tmp_path, label="label-lesion_mask"), "sub-03/anat/sub-03_T1w.nii.gz")
    with pytest.warns(UserWarning, match="sub-03"):
        cases = find_dataset(tmp_path).cases
    assert [case.label.names for case in cases] == [("lesion",), ("lesion",)]


TABLES = {
    "comma": "image,label\n{0}/i.nii,{0}/l.nii\n{1}/i.nii,{1}/l.nii\n",
    "semicolon": "\ufeffImage;Label;note\n{0}/i.nii;{0}/l.nii;x\n\n{1}/i.nii;{1}/l.nii;\n",
    "windows": "image,label\r\n{0}\\i.nii,{0}\\l.nii\r\n{1}\\i.nii,{1}\\l.nii\r\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table(tmp_path, kind):
    touch(tmp_path, *(f"{case}/{name}.nii" for case in ("a", "b") for name in "il"))
    path = tmp_path / "cases.csv"
    path.write_text(TABLES[kind].format("a", "b"), encoding="utf-8", newline="")
    right = {"a_l": (["a/i.nii"], "a/l.nii", ""), "b_l": (["b/i.nii"], "b/l.nii", "")}
    assert found(path) == right
    for case in "ab":
        (tmp_path / case / "i.nii").rename(tmp_path / case / "x.nii")
    path.write_text(path.read_text().replace("i.nii", "x.nii"))
    assert {case.name for case in find_dataset(path).cases} == {"a_l", "b_l"}


def test_a_table_says_channels_patients_and_folds(tmp_path):
    touch(tmp_path, *(f"{name}{n}.nii" for name in ("ct", "pet", "l") for n in range(3)))
    rows = [f"ct{n}.nii\tpet{n}.nii\tl{n}.nii\tp{n // 2}\t{n}" for n in range(3)]
    path = tmp_path / "cases.tsv"
    path.write_text("\n".join(["image_0000\timage_0001\tlabel\tpatient\tfold", *rows]))
    cases = find_dataset(path).cases
    assert [[path.name for path in case.images] for case in cases] == [
        [f"ct{n}.nii", f"pet{n}.nii"] for n in range(3)
    ]
    assert [(case.patient, case.fold) for case in cases] == [("p0", 0), ("p0", 1), ("p1", 2)]


def test_a_table_of_masks(tmp_path):
    touch(tmp_path, "i.nii", "liver.nii", "cyst.nii")
    (tmp_path / "x.csv").write_text("case,image,label_liver,label_cyst\nz,i.nii,liver.nii,cyst.nii")
    masks = {"liver": "liver.nii", "cyst": "cyst.nii"}
    assert found(tmp_path / "x.csv") == {"z": (["i.nii"], masks, "")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\na.nii,\n", r"line 2 of .* lacks an image or a label"),
        ("image,label\na.nii,zz.nii\n", r"line 2 of .* names 'zz\.nii'"),
        ("image,label\na.nii,l.nii\nb.nii,l.nii\n", r"line 2 and line 3 .* the case 'l'"),
        ("image,image2,label\na.nii,b.nii,l.nii\na.nii,,m.nii\n", r"line 3"),
        ("image,label,fold\na.nii,l.nii,x\n", r"fold 'x'"),
        ("image,label\n", "holds no case"),
        ("scan,seg\na.nii,l.nii\n", "no list of cases"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path, text, words):
    touch(tmp_path, "a.nii", "b.nii", "l.nii", "m.nii")
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        find_dataset(tmp_path / "cases.csv")


def test_a_datalist(tmp_path):
    touch(tmp_path, *(f"{kind}/{case}.nii" for kind in "xy" for case in "abc"))
    entries = [
        {"image": f"./x/{c}.nii", "label": f"y/{c}.nii", "fold": n} for n, c in enumerate("ab")
    ]
    content = {"training": entries, "labels": {"1": "liver"}, "test": ["x/c.nii"]}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    for root in (path, tmp_path):
        dataset = find_dataset(root)
        assert [(case.name, case.fold) for case in dataset.cases] == [("a", 0), ("b", 1)]
        assert dataset.about["labels"] == {"1": "liver"}
    content["validation"] = [{"image": ["x/c.nii"], "label": "y/c.nii"}]
    path.write_text(json.dumps(content))
    assert [case.fold for case in find_dataset(path).cases] == [0, 1, 0]


def test_decathlons_own_list_is_no_second_way(tmp_path):
    touch(tmp_path, "imagesTr/a.nii", "labelsTr/a.nii")
    entry = {"image": "./imagesTr/a.nii", "label": "./labelsTr/a.nii"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry]}))
    assert list(found(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("names", "ways"),
    [
        (
            ("imagesTr/a.nii", "labelsTr/a.nii", "images/a.nii", "labels/a.nii"),
            ("imagesTr", "images/"),
        ),
        (("images/a.nii", "labels/a.nii", "masks/a.nii"), ("images/ and labels/", "masks/")),
        (("images/a.nii", "labels/a.nii", "cases.csv"), ("images/ and labels/", "cases.csv")),
        (("one.csv", "two.csv"), ("one.csv", "two.csv")),
        (("images/a.nii", "labels/a.nii", "b.nrrd", "b.seg.nrrd"), ("images/", "NAME.seg.nrrd")),
        (("a.nii", "a_seg.nii", "p/i.nii", "p/seg.nii"), ("'a'", "'p'")),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, names, ways):
    touch(tmp_path, *names)
    for path in tmp_path.glob("*.csv"):
        path.write_text("image,label\na.nii,b.nii\n")
    with pytest.raises(InputError) as error:
        find_dataset(tmp_path)
    assert error.value.code == "AMBIGUOUS"
    assert all(way in str(error.value) for way in ways)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("p1/i.nii", "p1/seg.nii", "p2/i.nii"), r"p2' holds no label map beside its scan"),
        (("p1/i.nii", "p1/label.nii", "p1/mask.nii"), "'label.nii' and 'mask.nii'"),
        (("p1/a.nii", "p1/a_seg.nii", "p1/b_seg.nii"), r"b_seg\.nii' is called as a label map"),
        (("p1/a.nii", "p1/a.nrrd", "p1/seg.nii"), r"'a\.nii' and 'a\.nrrd'"),
        (("p1/a.nii", "p1/seg.nii", "p1/masks/liver.nii"), "labels of one case"),
        (("p/a_ct.nii", "p/a_seg_mr.nii", "p/a_seg.nii"), r"a_seg_mr\.nii' may be a channel"),
        (("a.nii", "b.nii"), "it was looked for imagesTr/"),
    ],
)
def test_what_does_not_pair_up_is_named(tmp_path, names, words):
    with pytest.raises(InputError, match=words):
        find_dataset(touch(tmp_path, *names))


def test_label_maps_are_no_scans(tmp_path):
    scans = [
        "p1/t1.nii",
        "q/p_t1.nii",
        "s/ct.nii",
        "v/t2.nii",
        "sub-1/anat/sub-1_T1w.nii",
        "lone/my_mask.nii",
    ]
    labels = [
        "p1/seg.nii",
        "q/p_t1_gt.nii",
        "s/masks/liver.nii",
        "v/t2_seg-manual_labeled.nii",
        "d/sub-1_space-T1w_dseg.nii",
    ]
    touch(tmp_path, *scans, *labels)
    assert not any(is_label_map(tmp_path / name) for name in scans)
    assert all(is_label_map(tmp_path / name) for name in labels)


def test_nothing_is_told_where_nothing_is_left_out(tmp_path):
    touch(tmp_path, "p1/i.nii", "p1/seg.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_dataset(tmp_path)
