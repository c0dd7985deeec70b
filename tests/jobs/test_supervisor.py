"""Real worker processes under a supervisor: what people see when things are stopped, killed or broken."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import Conflict, NotFound, SfumatoError, Unavailable
from engine.jobs import link
from engine.jobs.contract import ENDED, Frame, Job, JobState, WorkerOptions
from engine.jobs.database import open_ledger
from engine.jobs.embedded import Supervisor
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from engine.jobs.processes import is_alive, kill

WAIT_S = 60  # generous: the machine may be busy


class House:
    """A data folder with its ledger, a supervisor and what it told its subscriber."""

    def __init__(self, folder: Path, executor: str, devices: tuple[str, ...], cancel_s: float) -> None:
        self.database = open_ledger(folder)
        self.ledger = Ledger(self.database)
        self.frames: list[Frame] = []
        self.supervisor = Supervisor(
            self.ledger,
            Leases(self.database),
            [
                WorkerOptions(folder, device, f"tests.jobs.executors:{executor}", {"colour": "blue"})
                for device in devices
            ],
            cancel_s=cancel_s,
        )
        self.supervisor.subscribe(self.frames.append)

    def run(self, *steps: str) -> str:
        job = self.ledger.enqueue({"steps": steps}).id
        self.supervisor.wake()
        return job

    def ended(self, job: str) -> Job:
        until(lambda: self.ledger.get(job).state in {*ENDED, JobState.PARKED})
        return self.ledger.get(job)

    def heads(self, kind: str) -> list[dict]:
        return [frame.head for frame in self.frames if frame.head["kind"] == kind]

    def running(self, job: str) -> int:
        """Wait until a step of this job runs; return its worker's number."""
        until(lambda: any(head["job"] == job for head in self.heads("step_started")))
        return next(worker.pid for worker in self.supervisor.workers() if worker.job == job)


def until(true: Callable[[], object], within: float = WAIT_S) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextmanager
def house(
    folder: Path, executor: str = "make", devices: tuple[str, ...] = ("cpu",), cancel_s: float = 10
) -> Iterator[House]:
    house = House(folder, executor, devices, cancel_s)
    with house.supervisor:
        yield house
    house.database.close()


def test_a_job_runs_and_tells_of_it(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        job = it.ended(it.run("a", "sleep:0.2"))
        assert (job.state, job.outputs) == (JobState.DONE, {"out": {"job": job.id}})
        until(lambda: it.supervisor.workers()[0].state == "ready")
        until(lambda: it.heads("committed") and it.heads("committed")[-1]["seq"] == it.ledger.last_seq())
    assert [head["node"] for head in it.heads("step_started")] == ["n0", "n1"]
    assert {(head["job"], head["attempt"]) for head in it.heads("step_progress")} == {(job.id, 1)}
    assert {frame.blob for frame in it.frames if frame.head["kind"] == "step_preview"} == {b"\x00\x01picture"}
    assert [head["state"] for head in it.heads("worker")][:4] == ["starting", "ready", "busy", "ready"]


def test_errors_of_nodes_and_bugs_in_them(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        bad, bug, after = it.run("bad"), it.run("raise"), it.run("a")
        assert it.ended(bad).problems == (
            {"code": "bad_input", "message": "No such model. Choose another.", "node": "n0", "field": "model"},
        )
        (problem,) = it.ended(bug).problems
        assert problem["code"] == "node_failed"
        assert "ZeroDivisionError: a bug in a node" in problem["message"]
        assert it.ended(after).state is JobState.DONE
        assert {worker["pid"] for worker in it.heads("worker")} == {it.supervisor.workers()[0].pid}
    assert "Traceback" in (tmp_path / "logs" / "worker-cpu.log").read_text()


def test_cancel_and_pause_stop_between_sampler_steps(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        job = it.run("sleep:60")
        it.running(job)
        it.ledger.cancel(job)
        assert it.ended(job).state is JobState.CANCELLED
        job = it.run("sleep:60")
        it.running(job)
        it.ledger.pause(job)
        until(lambda: it.ledger.get(job).state is JobState.QUEUED)
        assert it.ended(it.run("a")).state is JobState.DONE
        assert it.ledger.get(job).attempt == 1


def test_a_job_that_will_not_stop_loses_its_worker(tmp_path: Path) -> None:
    with house(tmp_path, cancel_s=0.5) as it:
        job = it.run("spin:60")
        pid = it.running(job)
        it.ledger.cancel(job)
        assert it.ended(job).state is JobState.CANCELLED
        assert it.ended(it.run("a")).state is JobState.DONE
        assert it.supervisor.workers()[0].pid != pid
        assert it.ledger.attempts(job)[0].evidence["why"] == "it did not stop when asked"


def test_a_killed_worker_costs_no_job(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        job = it.run("a", "sleep:0.5")
        os.kill(it.running(job), signal.SIGKILL)
        done = it.ended(job)
        assert (done.state, done.attempt) == (JobState.DONE, 2)
        assert it.ledger.attempts(job)[0].evidence["exit"] == -signal.SIGKILL


def test_a_poison_job_is_parked_and_the_queue_moves_on(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        poison, good = it.run("a", "kill"), it.run("a")
        assert it.ended(good).state is JobState.DONE
        parked = it.ended(poison)
        assert (parked.state, parked.attempt) == (JobState.PARKED, 2)
        evidence = parked.problems[0]["evidence"]
        assert (evidence["node"], evidence["exit"]) == ("n1", -signal.SIGKILL)


def test_a_stopped_worker_is_replaced_when_its_lease_runs_out(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        job = it.run("sleep:0.5")
        os.kill(it.running(job), signal.SIGSTOP)
        with it.database.write() as db:
            db.execute("UPDATE jobs SET lease_until = 0")
        done = it.ended(job)
        assert (done.state, done.attempt) == (JobState.DONE, 2)
        assert it.ledger.attempts(job)[0].evidence["why"] == "it gave no sign of life"


def test_two_workers_never_share_a_job(tmp_path: Path) -> None:
    with house(tmp_path, devices=("cuda:0", "cuda:1")) as it:
        jobs = [it.run("sleep:0.05") for _ in range(20)]
        assert {(job.state, job.attempt) for job in map(it.ended, jobs)} == {(JobState.DONE, 1)}
        owners = {it.ledger.attempts(job)[0].owner.split("/")[0] for job in jobs}
    assert owners == {"cuda:0", "cuda:1"}


def test_closing_gives_the_job_back_without_blame(tmp_path: Path) -> None:
    for attempt in (1, 2, 3):
        with house(tmp_path) as it:
            job = it.ledger.queue().jobs[0].id if attempt > 1 else it.run("spin:60")
            it.running(job)
        assert [past.end for past in Ledger(open_ledger(tmp_path)).attempts(job)] == ["released"] * attempt


def test_requests_that_are_no_jobs(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answer = it.supervisor.request("echo", {"x": 1}).result(WAIT_S)
        assert (answer["x"], answer["settings"]) == (1, {"colour": "blue"})
        with pytest.raises(SfumatoError, match=r"That cannot be\.") as failed:
            it.supervisor.request("fail").result(WAIT_S)
        assert (failed.value.code, failed.value.status, failed.value.problems[0].field) == ("bad_input", 400, "x")
        with pytest.raises(SfumatoError, match="answers no 'nothing'") as failed:
            it.supervisor.request("nothing").result(WAIT_S)
        assert failed.value.status == NotFound.status
        job = it.run("sleep:60")
        it.running(job)
        assert it.supervisor.request("echo").result(WAIT_S)["pid"] == it.supervisor.workers()[0].pid
        it.supervisor.request("echo").cancel()
        with pytest.raises(Unavailable, match="SIGKILL"):
            it.supervisor.request("die").result(WAIT_S)
        assert it.supervisor.request("echo").result(WAIT_S)


def test_a_worker_is_told_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SFUMATO_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SFUMATO_BUDGET", "1GiB")
    with house(tmp_path) as it:
        env = it.supervisor.request("echo").result(WAIT_S)["env"]
    assert "SFUMATO_BUDGET" in env
    assert not {"SFUMATO_TOKEN", "AWS_SECRET_ACCESS_KEY", "my_password"} & set(env)


def test_a_worker_that_cannot_start_says_why_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BACKOFF_S", (0.0, 0.1))
    with house(tmp_path, "broken") as it:
        until(lambda: [head["state"] for head in it.heads("worker")].count("down") > 1)
        assert {head["why"] for head in it.heads("worker") if head["state"] == "down"} == {
            "it ended with exit code 1: RuntimeError: no such device"
        }


def test_a_worker_that_cannot_even_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").write_text("a file where the folder of logs should be")
    monkeypatch.setattr(link, "BACKOFF_S", (0.0, 0.1))
    with house(tmp_path) as it:
        waiting = it.supervisor.request("echo")
        until(lambda: any("logs" in head["why"] for head in it.heads("worker")))
        (tmp_path / "logs").unlink()
        assert waiting.result(WAIT_S)
        it.supervisor.subscribe(it.frames.append)()  # one that leaves hears no more
        before = len(it.frames)
        assert it.ended(it.run("a")).state is JobState.DONE
        assert len({id(frame) for frame in it.frames[before:]}) == len(it.frames) - before


def test_a_server_that_closes_leaves_no_request_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").touch()
    with house(tmp_path) as it:
        waiting = it.supervisor.request("echo")
    with pytest.raises(Unavailable, match="stops"):
        waiting.result(0)


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    with house(tmp_path), pytest.raises(Conflict, match="Another server"), house(tmp_path):
        pass


def test_without_workers_requests_are_refused(tmp_path: Path) -> None:
    with house(tmp_path, devices=()) as it, pytest.raises(Unavailable):
        it.supervisor.request("echo")


SERVER = """
import sys
from pathlib import Path
from tests.jobs.test_supervisor import house
with house(Path(sys.argv[1])) as it:
    job = it.run("sleep:60")
    print(it.running(job), job, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_server_that_is_killed_takes_its_worker_along(tmp_path: Path, stopped: bool) -> None:
    """The worker gives its job back; one that cannot (it is stopped) is ended by the next server."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)], stdin=-1, stdout=-1)
    pid, job = server.stdout.readline().decode().split()
    if stopped:
        os.kill(int(pid), signal.SIGSTOP)
    server.kill()
    server.communicate()
    try:
        with house(tmp_path) as it:
            until(lambda: it.ledger.get(job).attempt == 2)
            first = it.ledger.attempts(job)[0]
            assert first.end == ("lost" if stopped else "released")
            until(lambda: not is_alive(first.owner))
            it.running(job)
    finally:
        kill(int(pid))  # if the test fails, nothing must stay behind
