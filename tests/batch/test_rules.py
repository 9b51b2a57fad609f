"""Rules: which scans are wanted, why the others are not, and what is no rule."""

from __future__ import annotations

import msgspec
import pytest

from dicom_phantom import Series, random_stored
from medseg.errors import InputError, ReadError
from medseg_pipelines.batch.archive.rules import (
    Rule,
    Rules,
    RuleText,
    decide,
    make_rules,
    select,
)
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


def rule_of(text):
    """The rule with this table of conditions."""
    return Rules(rules=(Rule.of(msgspec.toml.decode(f"[where]\n{text}", type=RuleText)),))


@pytest.mark.parametrize(
    "where",
    [
        "Modality=CT",
        "Modality == CT",
        'Modality == "CT"',
        "Modality!=MR",
        "SliceThickness<=5",
        "SliceThickness >= 4.5",
        "SliceThickness=5.0",
        "BodyPartExamined~chest",
        "BodyPartExamined ~ *EST",
        "Modality~/^(CT|MR)$/",
        "Modality!~/MR|PT/",
        "ImageType=AXIAL",
        "ImageType!=LOCALIZER",
        "ImageType!~*LOC*",
        "PixelSpacing<=0.7",
        "PixelSpacing=0.4",
        "spacing_mm>=0.4",
        "StudyYear>=2020",
        "tilt_degrees=0",
        "plane=axial",
        "slices>=40",
        "KVP!=120",
        "Laterality!~*L*",
    ],
)
def test_what_holds(where):
    assert verdict(where) == ""


@pytest.mark.parametrize(
    "text",
    [
        'Modality = "CT"',
        'Modality = { one_of = ["MR", "CT"] }',
        'Modality = { none_of = ["MR", "PT"], pattern = "C?" }',
        "SliceThickness = { min = 1, max = 6 }",
        "SliceThickness = 5",
        "KVP = { known = false }",
        "Modality = { known = true }",
        'BodyPartExamined = { pattern = ["*lung*", "chest"] }',
        'ImageType = { not_pattern = "/LOCALIZER|SCOUT/" }',
        'StudyYear = { none_of = [2020], min = 2021 }\nplane = { equals = "axial" }',
        "",
    ],
)
def test_tables_that_hold(text):
    assert select(scan(), rule_of(text)) is None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("SliceThickness<=3", "SliceThickness <= 3: it is 5"),
        ("Modality=MR", 'Modality = MR: it is "CT"'),
        ("Modality!=CT", 'Modality != CT: it is "CT"'),
        ("BodyPartExamined~*lung*", 'BodyPartExamined like *lung*: it is "CHEST"'),
        ("BodyPartExamined!~*est", 'BodyPartExamined not like *est: it is "CHEST"'),
        ("PixelSpacing<=0.5", "PixelSpacing <= 0.5: it is [0.7, 0.4]"),
        ("ImageType!=AXIAL", 'ImageType != AXIAL: it is ["ORIGINAL", "PRIMARY", "AXIAL"]'),
        ("KVP>=100", "KVP >= 100: it is not known"),
        ("KVP=100", "KVP = 100: it is not known"),
        ("Laterality~*L*", "Laterality like *L*: it is not known"),
        ("Modality>=3", 'Modality >= 3: it is "CT"'),
        ("slices=CT", "slices = CT: it is 40"),
    ],
)
def test_what_does_not_hold_is_told_with_its_value(where, message):
    assert verdict(where) == message
    fault = select(scan(), make_rules(where=[where]))
    assert fault == Fault(code="RULE", message=message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Modality = { one_of = ["MR", "PT"] }', '1: Modality = MR or PT: it is "CT"'),
        ("SliceThickness = { min = 1, max = 3 }", "1: SliceThickness <= 3: it is 5"),
        ("KVP = { known = true }", "1: KVP is known: it is not known"),
        ("slices = { known = false }", "1: slices is not known: it is 40"),
    ],
)
def test_tables_that_do_not_hold_are_told(tmp_path, text, message):
    path = tmp_path / "rules.toml"
    path.write_text(f"[[rule]]\n[rule.where]\n{text}\n")
    assert select(scan(), make_rules(rules_file=path)).message == message


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("SliceThicknes<=3", "'SliceThicknes' is no fact .*did you mean SliceThickness"),
        ("modality=CT", "did you mean Modality"),
        ("slice>=3", "did you mean slices"),
        ("Xyzzy=1", "known are Modality, .*PatientAge"),
        ('Modality == "CT" and slices >= 3', "is not understood; write one comparison"),
        ("Modality=CT or Modality=MR", "is not understood"),
        ("slices > 3", "is not understood.*SliceThickness<=3"),
        ("1 < slices", "is not understood"),
        ("Modality=", "is not understood"),
        ("Modality", "is not understood"),
        ("", "is not understood"),
        ("max(PixelSpacing)<=1", "is not understood"),
        ("__import__('os').system('x')", "is not understood"),
        ("slices>=many", "'many' is no number"),
        ("slices>=" + "1=" * 600, "is not understood"),
        ("SeriesDescription~/(/", "no regular expression"),
        ("SeriesDescription~" + "x" * 300, "has 300 characters"),
    ],
)
def test_what_is_no_rule_is_told_before_anything_runs(where, words):
    with pytest.raises(InputError, match=words) as caught:
        make_rules(where=[where])
    assert caught.value.code == "RULE_SYNTAX"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_all_options_must_hold():
    rules = make_rules(where=["slices>=3", "KVP!=80"], orientation=["axial"])
    assert select(scan(), rules) is None
    assert select(scan(slices=2), rules).message == "slices >= 3: it is 2"
    assert select(scan(slices=None), rules).message == "slices >= 3: it is not known"
    assert select(scan(plane="coronal"), rules).message == 'plane = axial: it is "coronal"'
    assert select(scan(plane=None), rules).message == "plane = axial: it is not known"
    assert select(scan(), make_rules()) is None


FILE = """
[[rule]]
name = "chest"
where = { Modality = "CT", SliceThickness = { max = 3 } }
orientation = ["axial"]
min_slices = 30
model = "lungs"

[[rule]]
name = "thick"
model = "body"
[rule.where]
Modality = "CT"

[[rule]]
where.Modality = "MR"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(FILE)
    return path


def test_the_first_rule_that_takes_a_scan_decides(file):
    rules = make_rules(rules_file=file)
    assert rules.models == ("lungs", "body")
    thin = decide(scan(SliceThickness=2), rules)
    assert (thin.rule, thin.model, thin.fault) == ("chest", "lungs", None)
    assert decide(scan(), rules).model == "body"
    other = decide(scan(Modality="MR"), rules)
    assert (other.rule, other.model, other.fault) == ("3", "", None)


def test_when_no_rule_takes_a_scan_each_says_why(file):
    fault = select(scan(Modality="PT"), make_rules(rules_file=file))
    assert fault.code == "RULE"
    assert fault.message == (
        'chest: Modality = CT: it is "PT"; thick: Modality = CT: it is "PT";'
        ' 3: Modality = MR: it is "PT"'
    )


def test_many_rules_are_told_in_short(tmp_path):
    path = tmp_path / "many.toml"
    path.write_text("\n".join(f"[[rule]]\nmin_slices = {n}" for n in range(41, 51)))
    assert select(scan(), make_rules(rules_file=path)).message.endswith(
        "3: slices >= 43: it is 40; and 7 more"
    )


def test_only_the_scans_of_one_model_are_wanted(file):
    rules = make_rules(rules_file=file).only("lungs")
    assert select(scan(SliceThickness=2), rules) is None
    assert select(scan(), rules).message == "rule thick gives it to the model body"
    assert select(scan(Modality="MR"), rules) is None  # that rule leaves the model to who runs


def test_options_and_file_must_both_hold(file):
    rules = make_rules(where=["slices>=50"], rules_file=file)
    assert select(scan(), rules).message == "slices >= 50: it is 40"
    assert select(scan(slices=60), rules) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[rule]\n", "line 1"),
        ("[[rule]]\nwher = []", "wher"),
        ("[[rule]]\nname = 3", "name|str"),
        ("[[rule]]\norientation = ['axail']", "axail"),
        ("", "rule"),
        ("[[rule]]\nname = 'x'\nwhere.Modalty = 1", "rules.toml, rule x: .*Modality"),
        ("[[rule]]\nwhere = ['Modality == 1']", "array"),
        ("[[rule]]\nwhere.slices = { above = 3 }", "above"),
        ("[[rule]]\nwhere.slices = { min = 'three' }", "min"),
        ("[[rule]]\nwhere.Modality = { one_of = [] }", "one_of"),
        ("[[rule]]\nwhere.Modality = true", "bool"),
        ("[[rule]]\ndescription = ['/(/']", "rule 1: .*no regular expression"),
        ("[[rule]]\ndescription = ['']", "rule 1: .*0 characters"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, content, words):
    path = tmp_path / "rules.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        make_rules(rules_file=path)
    assert caught.value.code == "RULE_SYNTAX"


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened"):
        make_rules(rules_file=tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"binary\.toml"):
        make_rules(rules_file=tmp_path / "binary.toml")


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
    return "".join(one.path[-1] for one in found if not select(one, rules))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"description": ["*lung*"]}, "a"),
        ({"description": ["*lung*", "ABDOMEN*"]}, "ab"),
        ({"description": ["lung"]}, ""),
        ({"description": ["/lung|scout/"]}, "ab"),
        ({"exclude": ["*scout*"]}, "ac"),
        ({"description": ["*"], "exclude": ["/^$/"]}, "ab"),
        ({"where": ["SeriesDescription~*LUNG*"]}, "a"),
        ({"where": ["SeriesDescription=Abdomen scout"]}, "b"),
        ({"where": ["Modality=CT", "SeriesDescription!~*scout*"]}, "ac"),
        ({"where": ["PatientAge>=18"]}, ""),
        ({"where": ["PatientAge<=18"]}, "abc"),
        ({"where": ["InstitutionName!~*"]}, "abc"),
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
    rules = make_rules(description=["*lung*"], where=["SeriesDescription!~*scout*"])
    found = search(root, index, rules=rules)
    told = msgspec.json.encode([found, [decide(one, rules) for one in found]])
    kept = b"".join(path.read_bytes() for path in index.parent.glob("index*"))
    for text in (b"Thorax", b"1.0 Br", b"Abdomen", b"017Y"):
        assert text not in told
        assert text not in kept
    assert {fault.message for one in found if (fault := select(one, rules))} == {
        "SeriesDescription not like *scout*: it is",
        "SeriesDescription like *lung*: it is something else",
    }


def test_a_scan_that_was_never_asked_is_not_taken():
    rules = make_rules(exclude=["*scout*"])
    assert select(scan(), rules).message == "SeriesDescription not like *scout*: it is not known"
