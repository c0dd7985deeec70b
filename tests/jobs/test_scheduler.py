import pytest

from engine.jobs.contract import JobState
from engine.jobs.scheduler import LEASE_S, Verdict, Waiting, after_failure, after_loss, is_dead, next_job


def test_the_first_job_that_may_run_is_next() -> None:
    waiting = [
        Waiting("paused", True, 0),
        Waiting("later", False, 20),
        Waiting("now", False, 10),
        Waiting("x", False, 0),
    ]
    assert next_job(waiting, 10) == "now"
    assert next_job(waiting[:2], 10) is None


def test_choosing_reads_no_further_than_needed() -> None:
    def rows():
        yield Waiting("first", False, 0)
        pytest.fail("read on")

    assert next_job(rows(), 1) == "first"


@pytest.mark.parametrize(
    ("until", "dead"), [(100, True), (100.1, False), (100 + LEASE_S, False), (100 + LEASE_S + 1, True), (99, True)]
)
def test_a_lease_is_dead_when_over_or_from_before_a_restart_of_the_machine(until: float, dead: bool) -> None:
    assert is_dead(until, 100) is dead


def test_two_deaths_without_a_step_between_park_the_job() -> None:
    first = after_loss(strikes=0, steps_before=0, steps_now=0, blame=True)
    assert first == Verdict(JobState.QUEUED, strikes=1)
    assert after_loss(strikes=1, steps_before=0, steps_now=0, blame=True).state is JobState.PARKED


def test_a_job_that_got_further_starts_afresh() -> None:
    assert after_loss(strikes=1, steps_before=2, steps_now=3, blame=True) == Verdict(JobState.QUEUED, strikes=1)


def test_a_worker_ended_on_purpose_counts_against_nobody() -> None:
    assert after_loss(strikes=1, steps_before=0, steps_now=0, blame=False) == Verdict(JobState.QUEUED, strikes=1)


def test_only_what_time_can_heal_is_tried_again() -> None:
    busy, wrong = {"code": "unavailable"}, {"code": "bad_input"}
    assert [after_failure([busy], retries=n).delay for n in range(3)] == [1, 4, 16]
    for problems, retries in (([busy], 3), ([wrong], 0), ([busy, wrong], 0), ([], 0)):
        assert after_failure(problems, retries=retries) == Verdict(JobState.FAILED)
