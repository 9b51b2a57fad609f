"""How many steps and validations fit into minutes."""

import pytest

from medseg.training.budget import USED_SHARE, VALIDATION_SHARE, StepTimer, fitting


@pytest.mark.parametrize("per_validation", [0.0, 0.1, 1.0, 7.0, 30.0, 500.0])
@pytest.mark.parametrize(("left", "per_step", "final"), [(30, 0.2, 5), (600, 0.05, 40)])
def test_steps_and_validations_fit_into_what_is_left(left, per_step, final, per_validation):
    steps, validations = fitting(
        left, per_step=per_step, per_validation=per_validation, validations=9, final=final
    )
    on_the_way = validations * per_validation
    assert steps * per_step + on_the_way + final <= left * USED_SHARE
    assert (steps + 1) * per_step + on_the_way + final > left * USED_SHARE - 1e-6
    assert on_the_way <= VALIDATION_SHARE * left
    assert validations == 9 or (validations + 1) * per_validation > VALIDATION_SHARE * (
        left * USED_SHARE - final
    )


def test_one_step_is_made_where_validating_alone_takes_longer():
    assert fitting(30, per_step=1, per_validation=50, validations=9, final=100) == (1, 0)


def test_the_first_steps_are_not_in_the_speed():
    timer = StepTimer(600)
    elapsed, speeds = 0.0, []
    for step in range(1, 51):
        elapsed += 2.0 if step <= 5 else 0.1
        speeds.append(timer.seconds_per_step(step, elapsed))
    assert speeds[:-1] == [None] * 49
    assert speeds[-1] == pytest.approx(0.1)


def test_fewer_steps_must_do_where_they_are_slow():
    timer = StepTimer(30)
    assert timer.seconds_per_step(1, 8.0) is None
    assert timer.seconds_per_step(2, 10.0) == pytest.approx(2.0)
