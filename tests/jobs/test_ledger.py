import sqlite3

import pytest

from engine.errors import Conflict, NotFound
from engine.events import StepDone
from engine.jobs.contract import JobState, Outcome
from engine.jobs.database import open_ledger
from engine.jobs.scheduler import LEASE_S
from tests.jobs.conftest import Desk

DONE = Outcome(JobState.DONE, {"save": ["sha256"]})
WORKFLOW = {"nodes": {}}


def step(node: str = "n") -> StepDone:
    return StepDone(node, "fake", "key", 0.1, "new")


def add(desk: Desk, count: int = 1, **request: object) -> list[str]:
    return [desk.ledger.enqueue(WORKFLOW, **request).id for _ in range(count)]


def order(desk: Desk) -> list[str]:
    return [job.id for job in desk.ledger.queue().jobs]


def kinds(desk: Desk, job: str | None = None) -> list[str]:
    return [event.kind for event in desk.ledger.events_since(0, job=job)]


def test_a_job_keeps_its_request(desk: Desk) -> None:
    job = desk.ledger.enqueue(
        {"nodes": {"a": {"type": "x"}}}, wanted=["a"], inputs={"a.seed": 7}, priority=3, client="tab", key="k"
    )
    assert desk.ledger.get(job.id) == job
    assert (job.workflow, job.wanted, job.inputs) == ({"nodes": {"a": {"type": "x"}}}, ("a",), {"a.seed": 7})
    assert (job.state, job.priority, job.client, job.key, job.created) == (JobState.QUEUED, 3, "tab", "k", 1000)


def test_the_same_key_is_the_same_job(desk: Desk) -> None:
    first = desk.ledger.enqueue(WORKFLOW, key="k")
    assert desk.ledger.enqueue(WORKFLOW, key="k") == first
    assert kinds(desk) == ["job_queued"]
    with pytest.raises(Conflict, match="another request"):
        desk.ledger.enqueue(WORKFLOW, key="k", priority=1)


def test_an_unknown_job_is_its_own_answer(desk: Desk) -> None:
    for ask in (desk.ledger.get, desk.ledger.cancel, desk.ledger.attempts, desk.ledger.pause, desk.ledger.forget):
        with pytest.raises(NotFound):
            ask("nobody")
    with pytest.raises(NotFound):
        desk.ledger.events_since(0, job="nobody")


def test_higher_priority_runs_first_then_the_older(desk: Desk) -> None:
    low, high = add(desk, 2), add(desk, 2, priority=5)
    assert order(desk) == high + low
    desk.ledger.prioritise(low[1], 9)
    assert [desk.leases.lease(f"w{n}").job.id for n in range(4)] == [low[1], *high, low[0]]
    assert desk.leases.lease("w4") is None


def test_moving_a_job(desk: Desk) -> None:
    a, b, c = add(desk, 3)
    (high,) = add(desk, priority=1)
    desk.ledger.move(c, before=a)
    assert order(desk) == [high, c, a, b]
    desk.ledger.move(c, after=a)
    assert order(desk) == [high, a, c, b]
    desk.ledger.move(b, before=high)
    assert order(desk) == [b, high, a, c]
    assert desk.ledger.get(b).priority == 1


def test_moves_that_make_no_sense(desk: Desk) -> None:
    a, b = add(desk, 2)
    for where in ({}, {"before": a, "after": b}, {"before": a}):
        with pytest.raises(Conflict):
            desk.ledger.move(a, **where)
    desk.leases.lease("w")
    with pytest.raises(Conflict, match="running"):
        desk.ledger.move(b, before=a)


def test_a_paused_job_lets_others_pass(desk: Desk) -> None:
    a, b = add(desk, 2)
    desk.ledger.pause(a)
    assert desk.leases.lease("w").job.id == b
    assert desk.leases.lease("v") is None
    desk.ledger.resume(a)
    assert desk.leases.lease("v").job.id == a


def test_pausing_the_queue_leaves_what_runs_alone(desk: Desk) -> None:
    add(desk, 2)
    running = desk.leases.lease("w")
    desk.ledger.pause()
    assert desk.ledger.status().paused
    assert not desk.leases.asked_to_stop(running)
    assert desk.leases.lease("v") is None
    desk.ledger.resume()
    assert desk.leases.lease("v")


def test_pausing_a_running_job_puts_it_back(desk: Desk) -> None:
    (job,) = add(desk)
    attempt = desk.leases.lease("w")
    desk.ledger.pause(job)
    assert desk.leases.asked_to_stop(attempt)
    assert desk.ledger.get(job).stopping
    assert desk.leases.finish(attempt, Outcome(JobState.CANCELLED))
    assert desk.ledger.get(job).state is JobState.QUEUED
    assert desk.leases.lease("w") is None


def test_cancel(desk: Desk) -> None:
    running, waiting, other = add(desk, 3)
    attempt = desk.leases.lease("w")
    assert desk.ledger.cancel(waiting).state is JobState.CANCELLED
    assert desk.ledger.cancel(running).stopping
    assert desk.leases.asked_to_stop(attempt)
    desk.ledger.cancel(running)  # a second time changes nothing
    desk.leases.finish(attempt, Outcome(JobState.CANCELLED))
    assert desk.ledger.get(running).state is JobState.CANCELLED
    assert desk.ledger.cancel(running).state is JobState.CANCELLED
    assert desk.ledger.cancel_all() == 1
    assert desk.ledger.get(other).state is JobState.CANCELLED
    assert kinds(desk, running) == ["job_queued", "job_started", "job_stopping", "job_cancelled"]


def test_a_cancelled_job_is_not_tried_again_whatever_comes_of_it(desk: Desk) -> None:
    a, b, c = add(desk, 3)
    for owner, end in (
        ("w1", lambda attempt: desk.leases.lost("w1", {})),
        ("w2", lambda attempt: desk.leases.release(attempt, "stop")),
        (
            "w3",
            lambda attempt: desk.leases.finish(attempt, Outcome(JobState.FAILED, problems=({"code": "unavailable"},))),
        ),
    ):
        attempt = desk.leases.lease(owner)
        desk.ledger.cancel(attempt.job.id)
        end(attempt)
    assert [desk.ledger.get(job).state for job in (a, b, c)] == ["cancelled", "cancelled", "failed"]


def test_a_zombie_is_fenced_out(desk: Desk) -> None:
    (job,) = add(desk)
    zombie = desk.leases.lease("w")
    desk.wait(LEASE_S)
    heir = desk.leases.lease("w")  # the same process may even have the same name
    assert (heir.job.id, heir.number) == (job, 2)
    assert not desk.leases.heartbeat(zombie)
    assert not desk.leases.append(zombie, [step()])
    assert not desk.leases.finish(zombie, DONE, [step()])
    assert not desk.leases.release(zombie, "")
    assert desk.leases.asked_to_stop(zombie)
    assert desk.leases.finish(heir, DONE)
    assert not desk.leases.finish(heir, DONE)
    assert kinds(desk, job) == ["job_queued", "job_started", "job_requeued", "job_started", "job_done"]
    assert [(past.number, past.end) for past in desk.ledger.attempts(job)] == [(1, "lost"), (2, "done")]


def test_heartbeats_keep_a_lease(desk: Desk) -> None:
    add(desk)
    attempt = desk.leases.lease("w")
    for _ in range(5):
        desk.wait(LEASE_S - 1)
        assert desk.leases.heartbeat(attempt)
        assert desk.leases.lease("v") is None


def test_a_restart_of_the_machine_ends_its_leases(desk: Desk) -> None:
    (job,) = add(desk)
    desk.leases.lease("w")
    desk.ticks.now = 1  # the monotonic clock starts anew
    assert desk.leases.lease("v").job.id == job


def test_a_job_that_ends_its_worker_twice_is_parked_with_the_evidence(desk: Desk) -> None:
    poison, good = add(desk, 2)
    evidence = {"why": "SIGSEGV", "node": "n7"}
    for _ in range(2):
        assert desk.leases.lease("w").job.id == poison
        assert desk.leases.lost("w", evidence) == poison
    parked = desk.ledger.get(poison)
    assert parked.state is JobState.PARKED
    assert parked.problems[0]["evidence"] == evidence
    assert [past.evidence for past in desk.ledger.attempts(poison)] == [evidence, evidence]
    assert desk.leases.lease("w").job.id == good
    assert desk.ledger.retry(poison).state is JobState.QUEUED
    assert desk.leases.lost("nobody", {}) is None


def test_a_finished_step_clears_the_strikes_but_the_same_step_again_does_not(desk: Desk) -> None:
    (job,) = add(desk)
    for node in ("a", "b"):
        desk.leases.append(desk.leases.lease("w"), [step(node)])
        desk.leases.lost("w", {})
        assert desk.ledger.get(job).state is JobState.QUEUED
    desk.leases.append(desk.leases.lease("w"), [step("b")])
    desk.leases.lost("w", {})
    assert desk.ledger.get(job).state is JobState.PARKED


def test_what_time_can_heal_is_tried_three_times_more(desk: Desk) -> None:
    (job,) = add(desk)
    busy = Outcome(JobState.FAILED, problems=({"code": "unavailable", "message": "busy"},))
    for delay in (1, 4, 16):
        desk.leases.finish(desk.leases.lease("w"), busy)
        desk.wait(delay - 0.5)
        assert desk.leases.lease("w") is None
        desk.wait(0.5)
    desk.leases.finish(desk.leases.lease("w"), busy)
    assert desk.ledger.get(job).state is JobState.FAILED
    assert desk.ledger.get(job).problems == busy.problems
    desk.ledger.retry(job)
    desk.leases.finish(desk.leases.lease("w"), busy)
    assert desk.ledger.get(job).state is JobState.QUEUED


def test_the_result_and_its_events_are_visible_together(desk: Desk) -> None:
    (job,) = add(desk)
    attempt = desk.leases.lease("w")
    desk.leases.append(attempt, [step("a")])
    desk.leases.finish(attempt, DONE, [step("b")])
    assert kinds(desk, job) == ["job_queued", "job_started", "step_done", "step_done", "job_done"]
    assert desk.ledger.get(job).outputs == DONE.outputs
    event = desk.ledger.events_since(2, limit=1)[0]
    assert (event.seq, event.attempt, event.data["node"]) == (3, 1, "a")


def test_a_reader_that_pages_through_the_events_misses_nothing(desk: Desk) -> None:
    add(desk, 7)
    seen: list[int] = []
    while page := desk.ledger.events_since(seen[-1] if seen else 0, limit=2):
        seen += [event.seq for event in page]
    assert seen == list(range(1, 8))
    assert desk.ledger.last_seq() == 7


def test_the_queue_in_pages(desk: Desk) -> None:
    jobs = add(desk, 4) + add(desk, 1, priority=-2)
    desk.leases.lease("w")
    for _ in range(2):
        assert desk.leases.lease("v").job.id == jobs[1]
        desk.leases.lost("v", {})
    seen, cursor = [], None
    while True:
        page = desk.ledger.queue(limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        if not (cursor := page.cursor):
            break
    assert seen == [jobs[0], jobs[2], jobs[3], jobs[4], jobs[1]]  # running, waiting, parked


def test_the_history_in_pages_newest_first(desk: Desk) -> None:
    jobs = add(desk, 5, client="me")
    for job in (jobs[3], jobs[0], jobs[4]):
        desk.ledger.cancel(job)
    first = desk.ledger.history(limit=2, client="me")
    rest = desk.ledger.history(limit=2, cursor=first.cursor)
    assert [job.id for job in first.jobs + rest.jobs] == [jobs[4], jobs[0], jobs[3]]
    assert rest.cursor is None
    assert desk.ledger.history(client="you").jobs == ()
    for cursor in ("", "x", "1_2", "9" * 30):
        if cursor:
            with pytest.raises(NotFound):
                desk.ledger.history(cursor=cursor)


def test_forgetting_needs_an_end_and_takes_no_number_back(desk: Desk) -> None:
    (job,) = add(desk)
    with pytest.raises(Conflict, match="queued"):
        desk.ledger.forget(job)
    desk.ledger.cancel(job)
    desk.ledger.forget(job)
    with pytest.raises(NotFound):
        desk.ledger.get(job)
    assert desk.ledger.events_since(0) == ()
    add(desk)
    assert desk.ledger.last_seq() == 3


def test_all_of_it_outlives_a_restart(desk: Desk) -> None:
    a, b = add(desk, 2)
    desk.ledger.move(b, before=a)
    desk.ledger.pause()
    before = desk.ledger.queue(), desk.ledger.status(), desk.ledger.events_since(0)
    desk.database.close()
    desk.open()
    assert (desk.ledger.queue(), desk.ledger.status(), desk.ledger.events_since(0)) == before


def test_a_ledger_of_the_future_is_left_alone(desk: Desk) -> None:
    with sqlite3.connect(desk.folder / "ledger.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(Conflict, match="newer"):
        open_ledger(desk.folder)


def test_a_long_queue_is_read_by_its_index(desk: Desk) -> None:
    """Leasing must not sort or scan: 10,000 jobs wait and one lease takes milliseconds."""
    with desk.database.read() as db:
        plan = db.execute(
            "EXPLAIN QUERY PLAN SELECT id, paused, not_before FROM jobs WHERE state = 'queued'"
            " ORDER BY priority DESC, position"
        ).fetchall()
    assert "jobs_order" in plan[0]["detail"]
    assert not any("TEMP B-TREE" in row["detail"] for row in plan)
