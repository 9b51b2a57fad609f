"""Sessions on phantoms: what a prompt may change, undo and redo, and going on later."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from medseg.editing import Edit
from medseg.errors import Cancelled, GeometryError, InputError, LabelError
from medseg.interactive import METHODS, Prompt, RobotUser, Session, SessionState
from medseg.volume import Grid, LabelMap, LabelTable, Scan

SHAPE = (30, 28, 16)
AFFINE = np.array([[0.0, -1, 0, 40], [0.9, 0, 0, -10], [0, 0, 2, 0], [0, 0, 0, 1]])
GRID = Grid(SHAPE, AFFINE)
TABLE = LabelTable.of({1: "liver", 2: "spleen", 3: "kidney"})


def ball(centre, radius_mm):
    steps = [
        (np.arange(n) - c) * mm for n, c, mm in zip(SHAPE, centre, GRID.spacing_mm, strict=True)
    ]
    i, j, k = np.meshgrid(*steps, indexing="ij", sparse=True)
    return np.asarray(i**2 + j**2 + k**2 <= radius_mm**2)


LIVER = ball((10, 14, 8), 7)
KIDNEY = ball((23, 14, 8), 5)


@pytest.fixture(scope="module")
def scan():
    image = 40 + 60 * LIVER + 90 * KIDNEY + np.random.default_rng(0).normal(0, 8, SHAPE)
    return Scan(image[None].astype(np.float32), GRID, "CT")


def session_on(scan, values=None, **options):
    values = np.zeros(SHAPE, np.uint8) if values is None else values
    return Session(scan, LabelMap(values.astype(np.uint8), GRID, TABLE), **options)


def at(*voxel):
    return GRID.to_world(voxel)


def dice(mask, truth):
    return 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum())


def random_prompt(random, box=tuple(slice(0, n) for n in SHAPE)):
    points = random.uniform([s.start for s in box], [s.stop - 1 for s in box], (3, 3))
    label, positive = int(random.integers(1, 4)), bool(random.integers(2))
    kind = random.choice(["click", "click", "scribble", "box"])
    if kind == "click":
        return Prompt.click(at(*points[0]), label, positive=positive)
    if kind == "box":
        return Prompt.box(at(*points[0]), at(*points[1]), label, positive=positive)
    return Prompt.scribble([at(*point) for point in points], label, positive=positive)


@pytest.mark.parametrize("method", METHODS)
def test_a_click_finds_a_ball_and_clicks_after_it_only_improve_on_it(scan, method):
    session = session_on(scan, method=method)
    session.add(Prompt.click(at(10, 14, 8), 1))
    assert dice(session.values == 1, LIVER) > 0.8
    robot = RobotUser(LIVER, GRID, 1)
    for _ in range(4):
        prompt = robot.click(session.values == 1)
        if prompt is not None:
            session.add(prompt)
    assert dice(session.values == 1, LIVER) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_leak_is_taken_back_by_one_click_and_the_rest_stays(scan, method):
    leaked = LIVER | ball((16, 20, 8), 4)
    session = session_on(scan, leaked, method=method)
    session.add(Prompt.click(at(17, 21, 8), 1, positive=False))
    assert dice(session.values == 1, LIVER) > dice(leaked, LIVER)
    assert not (session.values[~leaked]).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_a_prompt_moves_voxels_to_its_side_only_and_locked_labels_not_at_all(scan, method, seed):
    random = np.random.default_rng(seed)
    values = random.integers(0, 4, SHAPE).astype(np.uint8) * (LIVER | KIDNEY)
    session = session_on(scan, values, method=method, locked=[3])
    for _ in range(6):
        prompt = random_prompt(random)
        before = session.values.copy()
        try:
            edit = session.add(prompt)
        except LabelError:
            assert np.array_equal(session.values, before)
            continue
        after = session.values
        assert np.array_equal(after == 3, before == 3)
        outside = np.ones(SHAPE, bool)
        outside[edit.where] = False
        assert np.array_equal(after[outside], before[outside])
        was, now = before == prompt.label, after == prompt.label
        assert not (was & ~now if prompt.positive else now & ~was).any()
        assert np.array_equal((after != before) & ~(was ^ now), np.zeros(SHAPE, bool))
        if prompt.kind == "click":
            voxel = tuple(np.rint(GRID.to_index(prompt.points_mm[0])).astype(int))
            assert now[voxel] == prompt.positive


def test_the_voxels_next_to_a_click_are_on_its_side_too(scan):
    session = session_on(scan)
    session.add(Prompt.click(at(2, 3, 2), 1))
    assert session.values[1:4, 3, 2].tolist() == [1, 1, 1]
    session.add(Prompt.click(at(10, 14, 8), 1))
    session.add(Prompt.click(at(10, 14, 8), 1, positive=False))
    assert session.values[9:12, 14, 8].tolist() == [0, 0, 0]


def test_a_hundred_prompts_and_a_hundred_undos_return_to_the_start(scan):
    random = np.random.default_rng(5)
    box = (slice(6, 26), slice(8, 20), slice(4, 12))
    small = Scan(scan.voxels[(slice(None), *box)], GRID.cropped(box))
    values = (1 * LIVER + 3 * KIDNEY)[box].astype(np.uint8)
    session = Session(small, LabelMap(values, small.grid, TABLE), method="grow_cut")
    states = [session.values.copy()]
    for _ in range(100):
        session.add(random_prompt(random, box))
        states.append(session.values.copy())
    assert len(session.prompts) == 100
    assert (states[-1] != states[0]).any()
    for state in reversed(states[:-1]):
        session.undo()
        assert np.array_equal(session.values, state)
    assert session.undo() is None
    assert session.prompts == ()
    for state in states[1:]:
        session.redo()
        assert np.array_equal(session.values, state)
    assert session.redo() is None


def test_a_session_that_was_saved_goes_on_bit_for_bit(scan):
    random = np.random.default_rng(6)
    prompts = [random_prompt(random) for _ in range(8)]
    session = session_on(scan, 1 * LIVER, locked=[2], over_labels=False)
    prompts = [prompt for prompt in prompts if prompt.label != 2]
    for prompt in prompts[:-1]:
        session.add(prompt)
    hand = (slice(0, 3), slice(0, 3), slice(0, 2))
    session.edit(Edit(hand, np.full((3, 3, 2), 3, np.uint8)))
    session.add(prompts[-1])
    session.undo()
    content = msgspec.json.encode(session.state())
    state = msgspec.json.decode(content, type=SessionState)
    again = Session.restore(scan, session.labels(), state)
    assert again.state() == session.state()
    for either in (session, again):
        either.redo()
        either.add(Prompt.click(at(23, 14, 8), 3))
    assert np.array_equal(again.values, session.values)
    while session.can_undo:
        session.undo()
        again.undo()
        assert np.array_equal(again.values, session.values)
    assert np.array_equal(session.values, 1 * LIVER)
    with pytest.raises(InputError, match="not those that were saved"):
        Session.restore(scan, again.labels(), state)


def test_a_change_by_hand_is_a_step_and_what_later_prompts_start_from(scan):
    session = session_on(scan)
    session.add(Prompt.click(at(10, 14, 8), 1))
    by_prompt = session.values.copy()
    session.edit(Edit((slice(20, 26), slice(10, 18), slice(6, 10)), np.ones((6, 8, 4), np.uint8)))
    session.undo()
    assert np.array_equal(session.values, by_prompt)
    session.redo()
    session.add(Prompt.click(at(22, 13, 7), 1, positive=False))
    assert not session.values[22, 13, 7]


def test_prompts_stay_off_other_labels_when_they_shall(scan):
    values = np.where(ball((14, 14, 8), 4), 2, 0)
    session = session_on(scan, values, over_labels=False)
    session.add(Prompt.click(at(7, 14, 8), 1))
    assert np.array_equal(session.values == 2, values == 2)
    session.add(Prompt.click(at(14, 14, 8), 1))
    assert session.values[14, 14, 8] == 1
    assert np.count_nonzero((values == 2) & (session.values != 2)) == 1


def test_a_probability_tells_more_than_the_image(scan):
    flat = Scan(np.zeros((1, *SHAPE), np.float32), GRID)
    probability = np.where(LIVER, 0.9, 0.05).astype(np.float32)
    plain = session_on(flat)
    informed = session_on(flat, probabilities={1: probability})
    for session in (plain, informed):
        session.add(Prompt.click(at(10, 14, 8), 1))
    assert dice(informed.values == 1, LIVER) > max(0.8, dice(plain.values == 1, LIVER))


def test_a_label_above_255_is_drawn_with_its_own_value(scan):
    table = LabelTable.of({1: "liver", 300: "kidney"})
    labels = LabelMap((1 * LIVER).astype(np.uint8), GRID, table)
    for given in (labels, table):
        session = Session(scan, given)
        session.add(Prompt.click(at(23, 14, 8), 300))
        assert session.labels().values[23, 14, 8] == 300


def test_a_box_draws_within_itself_only(scan):
    session = session_on(scan)
    session.add(Prompt.box(at(3, 7, 4), at(17, 21, 12), 1))
    outside = np.ones(SHAPE, bool)
    outside[3:18, 7:22, 4:13] = False
    assert not session.values[outside].any()
    assert dice(session.values == 1, LIVER) > 0.85


def test_a_plane_and_values_that_are_not_finite_are_worked_on():
    grid = Grid((24, 24, 1), np.diag([1.0, 1, 1, 1]))
    image = np.zeros((2, 24, 24, 1), np.float32)
    image[:, 6:15, 6:15] = 9
    image[:, 0, :4] = np.nan
    session = Session(Scan(image, grid), TABLE)
    session.add(Prompt.click((10, 10, 0), 1))
    truth = np.zeros((24, 24, 1), bool)
    truth[6:15, 6:15] = True
    assert dice(session.values == 1, truth) > 0.95


def test_bad_prompts_are_one_sentence_and_change_nothing(scan):
    session = session_on(scan, 1 * LIVER + 3 * KIDNEY, locked=[3])
    before = session.values.copy()
    refused = {
        "kidney .label 3., which is locked": Prompt.click(at(23, 14, 8), 1),
        "kidney .label 3. is locked": Prompt.click(at(2, 2, 2), 3),
        "no label 9; the labels are 1 liver": Prompt.click(at(2, 2, 2), 9),
        "outside the scan": Prompt.click((900, 0, 0), 1),
    }
    for sentence, prompt in refused.items():
        with pytest.raises((InputError, LabelError), match=sentence):
            session.add(prompt)
    assert np.array_equal(session.values, before)
    assert not session.can_undo


def test_the_opposite_on_one_voxel_and_a_prompt_without_effect_are_told(scan):
    lines = []

    class Listener:
        def __call__(self, done, total, message, /): ...
        def tell(self, sentence, /):
            lines.append(sentence)

    session = session_on(scan)
    session.add(Prompt.click(at(10, 14, 8), 1), progress=Listener())
    assert not lines
    session.add(Prompt.click(at(10, 14, 8), 1, positive=False), progress=Listener())
    assert "opposite of an earlier prompt at 1 voxel" in lines[0]
    session.add(Prompt.click(at(25, 25, 14), 2, positive=False), progress=Listener())
    assert "changes nothing" in lines[1]


def test_cancelled_or_closed_while_it_computes_leaves_everything_as_it_was(scan):
    session = session_on(scan, 1 * LIVER)
    before = session.state()
    for step in range(4):

        def stop(done, total, message, /, step=step):
            if done == step:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            session.add(Prompt.click(at(2, 2, 2), 1), progress=stop)
    assert session.state() == before
    proposal = session.propose(Prompt.click(at(2, 2, 2), 1))
    assert session.state() == before

    def close(done, total, message, /):
        session.close()

    with pytest.raises(Cancelled, match="closed"):
        session.add(Prompt.click(at(2, 2, 2), 1), progress=close)
    with pytest.raises(Cancelled, match="closed"):
        session.accept(proposal)
    assert session.state() == before


def test_a_proposal_is_shown_accepted_and_refused_when_it_is_old(scan):
    session = session_on(scan)
    proposal = session.propose(Prompt.click(at(10, 14, 8), 1))
    assert not session.values.any()
    assert session.accept(proposal) is proposal.edit
    assert np.array_equal(session.values[proposal.edit.where], proposal.edit.values)
    with pytest.raises(InputError, match="changed since"):
        session.accept(proposal)


def test_what_does_not_fit_the_scan_is_refused(scan):
    other = Grid(SHAPE, np.diag([1.0, 1, 1, 1]))
    with pytest.raises(GeometryError, match="do not lie on the scan"):
        Session(scan, LabelMap(np.zeros(SHAPE, np.uint8), other, TABLE))
    with pytest.raises(GeometryError, match="probability of label 1"):
        Session(scan, TABLE, probabilities={1: np.zeros((2, 2, 2))})
    with pytest.raises(InputError, match="graph_cut, grow_cut, random_walker"):
        Session(scan, TABLE, method="magic")


def test_what_is_too_large_to_be_worked_on_at_once_is_refused(monkeypatch, scan):
    monkeypatch.setattr("medseg.interactive.proposal.CLICK_VOXELS", 2000)
    monkeypatch.setattr("medseg.interactive.proposal.MOST_VOXELS", 3000)
    session = session_on(scan)
    assert session.add(Prompt.click(at(10, 14, 8), 1)).values.size < 2000
    with pytest.raises(InputError, match=r"box with what lies around it holds [\d,]+ voxels"):
        session.add(Prompt.box(at(0, 0, 0), at(29, 27, 15), 1))
