"""Rules: which scans are wanted, why the others are not, and what is no rule."""

from __future__ import annotations

import time
from contextlib import suppress

import msgspec
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import InputError, ReadError
from medseg_pipelines.batch.archive.conditions import conditions_of
from medseg_pipelines.batch.archive.rules import choose, explain, select
from medseg_pipelines.batch.archive.rules_file import make_rules
from medseg_pipelines.batch.archive.search import search
from medseg_pipelines.batch.messages import Fault, ScanRecord

CT = {
    "Modality": "CT",
    "SliceThickness": 5,
    "BodyPartExamined": "CHEST",
    "slices": 40,
    "plane": "axial",
    "PixelSpacing": [0.7, 0.4],
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "spacing_mm": [0.4, 0.7, 2.5],
    "StudyYear": 2021,
    "tilt_degrees": 0.0,
}


def scan(**facts):
    known = {key: value for key, value in {**CT, **facts}.items() if value is not None}
    return ScanRecord(key="k", lineage="l", path="/p", folder="f", signature="s", facts=known)


def verdict(where, **facts):
    """The rule's message, or empty when it takes the scan."""
    fault = select(scan(**facts), make_rules(where=[where]))
    return fault.message if fault else ""


@pytest.mark.parametrize(
    "where",
    [
        'Modality == "CT" and SliceThickness <= 5',
        'Modality in ["CT", "MR"]',
        'Modality in ("CT", "PT")',
        '"CHEST" in BodyPartExamined',
        '"AXIAL" in ImageType',
        '"LOCALIZER" not in ImageType',
        "1 < SliceThickness < 6",
        "spacing_mm[2] * slices >= 100",
        "max(PixelSpacing) < 1",
        "min(PixelSpacing) == 0.4",
        'lower(Modality) == "ct"',
        "len(ImageType) == 3",
        "not tilt_degrees",
        "KVP is None",
        "KVP == None",
        'Modality is not None and Modality != "MR"',
        "StudyYear >= 2020 or slices > 100",
        "abs(-SliceThickness) == 5",
        "slices / 2 == 20",
        "SliceThickness - 1 + 2 == 6",
        'upper("ct") == Modality',
        "KVP is None or KVP > 100",
    ],
)
def test_what_holds(where):
    assert verdict(where) == ""


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("SliceThickness <= 3", "SliceThickness <= 3: it is 5"),
        ('Modality == "CT" and SliceThickness <= 3', "SliceThickness <= 3: it is 5"),
        ('Modality == "MR" and SliceThickness <= 3', 'Modality == "MR": it is "CT"'),
        ('"LUNG" in BodyPartExamined', '"LUNG" in BodyPartExamined: it is "CHEST"'),
        ("max(PixelSpacing) < 0.5", "max(PixelSpacing) < 0.5: it is [0.7, 0.4]"),
        (
            "slices > 50 or tilt_degrees > 0",
            "slices > 50 or tilt_degrees > 0: slices is 40, tilt_degrees is 0",
        ),
        ("KVP > 100", "KVP > 100: it is not known"),
        (
            "slices < Modality",
            'slices < Modality: slices is 40, Modality is "CT", which cannot be evaluated',
        ),
        ("Modality + 1 == 2", 'Modality + 1 == 2: it is "CT", which cannot be evaluated'),
        ("1 == 2", "1 == 2: it never holds"),
        ("PixelSpacing[7] > 1", "PixelSpacing[7] > 1: it is [0.7, 0.4], which cannot be evaluated"),
        (
            "slices / tilt_degrees > 1",
            "slices / tilt_degrees > 1: slices is 40, tilt_degrees is 0, which cannot be evaluated",
        ),
    ],
)
def test_what_does_not_hold_is_told_with_its_value(where, message):
    assert verdict(where) == message
    fault = select(scan(), make_rules(where=[where]))
    assert fault == Fault(code="RULE", message=message)


@pytest.mark.parametrize(
    "where",
    [
        "KVP < 100",
        "KVP > 100",
        "KVP == 100",
        "KVP != 100",
        "KVP <= 100",
        "KVP >= 100",
        "100 > KVP",
        'KVP in ["a"]',
        'KVP not in ["a"]',
        '"a" in Laterality',
        '"a" not in Laterality',
        "KVP + 1 > 0",
        "abs(KVP) >= 0",
        "KVP is not None",
        "KVP != None",
        "EchoTime < KVP",
        "Laterality[0] == 'L'",
        "len(Laterality) >= 0",
    ],
)
def test_a_comparison_with_a_missing_field_is_false(where):
    assert "not known" in verdict(where) or "cannot be evaluated" in verdict(where)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("SliceThicknes <= 3", "asks for SliceThicknes, .*did you mean SliceThickness"),
        ('modality == "CT"', "did you mean Modality"),
        ("slice > 3", "did you mean slices"),
        ("Xyzzy == 1", "known are Modality, .*PatientAge"),
        ('Modality = "CT"', "from '= \"CT\"' on; write == to compare"),
        ('Modality == "CT', "is not understood from"),
        ("Modality ==", "ends too early"),
        ("", "has 0 characters"),
        ("   ", "has 0 characters"),
        ("slices > " + "1" * 600, "has 609 characters"),
        ("(" * 300 + "1" + ")" * 300, "characters|not understood"),
        ("Modality.lower() == 'ct'", "calls something else than abs, len"),
        ("__import__('os').system('x')", "calls something else"),
        ("open('/etc/passwd')", "calls something else"),
        ("len(Modality, key=1)", "calls something else"),
        ("Modality.__class__", "holds 'Modality.__class__'"),
        ("[x for x in Modality]", "more than a comparison"),
        ("(lambda: 1)()", "calls something else"),
        ("9 ** 9 ** 9", "holds '?9 ?\\*\\*|Pow"),
        ("1 if slices else 2", "more than a comparison"),
        ("f'{Modality}'", "more than a comparison"),
        ("(slices := 3)", "more than a comparison"),
        ("{1: 2}", "more than a comparison"),
        ("slices > 1; slices", "is not understood"),
        ("import os", "is not understood"),
        ("slices\0 > 1", "is not understood"),
    ],
)
def test_what_is_no_rule_is_told_before_anything_runs(where, words):
    with pytest.raises(InputError, match=words) as caught:
        make_rules(where=[where])
    assert caught.value.code == "RULE_SYNTAX"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ['"a" * 999999 == "a"', "[1] * 999999 == 1", "slices << 9 == 1"])
def test_nothing_grows(where):
    started = time.process_time()
    with suppress(InputError):
        assert verdict(where)
    assert time.process_time() - started < 0.5


def test_parts_joined_by_and_are_conditions_of_their_own():
    parts = conditions_of('Modality == "CT"  and (slices>3 and KVP > 1)')
    assert [part.text for part in parts] == ['Modality == "CT"', "slices>3 and KVP > 1"]


def test_all_options_must_hold():
    rules = make_rules(where=["slices > 3", "KVP is None"], orientation=["axial"], min_slices=40)
    assert select(scan(), rules) is None
    assert select(scan(slices=39), rules).message == "at least 40 slices: it has 39"
    assert select(scan(slices=None), rules).message == "slices > 3: it is not known"
    assert select(scan(plane="coronal"), rules).message == "orientation axial: it is coronal"
    assert select(scan(plane=None), rules).message == "orientation axial: it is not known"
    assert select(scan(), make_rules()) is None


FILE = """
[[rule]]
name = "chest"
where = ['Modality == "CT"', "SliceThickness <= 3"]
orientation = ["axial"]
min_slices = 30
model = "lungs"

[[rule]]
name = "thick"
where = ['Modality == "CT"']
model = "body"

[[rule]]
where = ['Modality == "MR"']
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(FILE)
    return path


def test_the_first_rule_that_takes_a_scan_decides(file):
    rules = make_rules(file=file)
    assert rules.models == ("lungs", "body")
    thin = choose(scan(SliceThickness=2), rules)
    assert (thin.rule, thin.model, thin.fault) == ("chest", "lungs", None)
    assert choose(scan(), rules).model == "body"
    other = choose(scan(Modality="MR"), rules)
    assert (other.rule, other.model, other.fault) == ("3", "", None)


def test_when_no_rule_takes_a_scan_each_says_why(file):
    fault = select(scan(Modality="PT"), make_rules(file=file))
    assert fault.code == "RULE"
    assert fault.message == (
        'chest: Modality == "CT": it is "PT"; thick: Modality == "CT": it is "PT";'
        ' 3: Modality == "MR": it is "PT"'
    )


def test_many_rules_are_told_in_short(tmp_path):
    path = tmp_path / "many.toml"
    path.write_text("\n".join(f"[[rule]]\nwhere = ['slices > {n}']" for n in range(40, 50)))
    assert select(scan(), make_rules(file=path)).message.endswith(
        "slices > 42: it is 40; and 7 more"
    )


def test_only_the_scans_of_one_model_are_wanted(file):
    rules = make_rules(file=file).only("lungs")
    assert select(scan(SliceThickness=2), rules) is None
    assert select(scan(), rules).message == "rule thick gives it to the model body"
    assert select(scan(Modality="MR"), rules) is None  # that rule leaves the model to who runs


def test_options_and_file_must_both_hold(file):
    rules = make_rules(where=["slices > 50"], file=file)
    assert select(scan(), rules).message == "slices > 50: it is 40"
    assert select(scan(slices=60), rules) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[rule]\n", "line 1"),
        ("[[rule]]\nwher = []", "wher"),
        ("[[rule]]\nname = 3", "name|str"),
        ("[[rule]]\norientation = ['axail']", "axail"),
        ("", "rule"),
        ("[[rule]]\nname = 'x'\nwhere = ['Modalty == 1']", "rules.toml, rule x: .*Modality"),
        ("[[rule]]\ndescription = ['/(/']", "rule 1: .*no regular expression"),
        ("[[rule]]\ndescription = ['']", "rule 1: .*0 characters"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, content, words):
    path = tmp_path / "rules.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        make_rules(file=path)
    assert caught.value.code == "RULE_SYNTAX"


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened"):
        make_rules(file=tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"binary\.toml"):
        make_rules(file=tmp_path / "binary.toml")


@pytest.fixture
def described(tmp_path):
    """Three series by description."""
    for name, words in (("a", "Thorax LUNG 1.0 Br"), ("b", "Abdomen scout"), ("c", None)):
        tags = {"SeriesDescription": words, "PatientAge": "017Y"}
        one = Series(random_stored((3, 4, 5)), tags=tags)
        one.write(tmp_path / "root" / name)
    return tmp_path / "root", tmp_path / "index"


def taken(described, rules, index=True):
    root, kept = described
    found = search(root, kept if index else None, rules=rules)
    return "".join(one.path[-1] for one, choice in explain(found, rules) if not choice.fault)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"description": ["*lung*"]}, "a"),
        ({"description": ["*lung*", "ABDOMEN*"]}, "ab"),
        ({"description": ["lung"]}, ""),
        ({"description": ["/lung|scout/"]}, "ab"),
        ({"exclude": ["*scout*"]}, "ac"),
        ({"description": ["*"], "exclude": ["/^$/"]}, "ab"),
        ({"where": ['"LUNG" in SeriesDescription']}, "a"),
        ({"where": ["SeriesDescription is None"]}, "c"),
        ({"where": ['Modality == "CT" and "scout" not in SeriesDescription']}, "a"),
        ({"where": ["PatientAge >= 18"]}, ""),
        ({"where": ["PatientAge < 18"]}, "abc"),
        ({"where": ["InstitutionName is None"]}, "abc"),
    ],
)
def test_descriptions_are_matched(described, options, expected):
    rules = make_rules(**options)
    assert taken(described, rules, index=False) == expected
    assert taken(described, rules) == expected
    assert taken(described, rules) == expected


def test_a_new_question_reads_one_file_of_each_series_and_an_old_one_none(described, monkeypatch):
    from medseg.discovery import stack_facts

    root, index = described
    search(root, index)
    read, asked = stack_facts.read_file, []
    monkeypatch.setattr(stack_facts, "read_file", lambda path: asked.append(path) or read(path))
    assert taken(described, make_rules(description=["*lung*"])) == "a"
    assert len({path.parent for path in asked}) == len(asked) == 3
    assert taken(described, make_rules(description=["*lung*"])) == "a"
    assert taken(described, make_rules()) == "abc"
    assert len(asked) == 3


def test_what_people_wrote_is_not_kept(described):
    root, index = described
    rules = make_rules(description=["*lung*"], where=['"scout" in SeriesDescription'])
    found = search(root, index, rules=rules)
    told = msgspec.json.encode([found, [choice for _, choice in explain(found, rules)]])
    kept = b"".join(path.read_bytes() for path in index.parent.glob("index*"))
    for text in (b"Thorax", b"1.0 Br", b"Abdomen", b"017Y"):
        assert text not in told
        assert text not in kept
    reasons = {choice.fault.message for _, choice in explain(found, rules)}
    assert reasons == {
        '"scout" in SeriesDescription: it is not so',
        "SeriesDescription like *lung*: it is something else",
    }


def test_a_scan_that_was_never_asked_is_not_taken():
    rules = make_rules(exclude=["*scout*"])
    assert select(scan(), rules) is not None
    assert select(scan(), make_rules(where=["SeriesDescription is None"])).message.endswith(
        "it is not known"
    )


def test_what_cannot_be_read_is_explained_by_its_fault():
    fault = Fault(code="MISSING_SLICE", message="one slice is missing")
    faulty = msgspec.structs.replace(scan(), fault=fault)
    ((_, choice),) = explain([faulty], make_rules())
    assert choice.fault == fault
