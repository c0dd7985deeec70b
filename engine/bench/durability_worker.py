"""The executor of the durability bench: the real engine over small nodes that leave a mark whenever they are called."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from engine import graph, workflow
from engine.call import Services
from engine.disk import Disk
from engine.jobs.contract import Emit, Handler, Job, JobState, JsonObject, Outcome, WorkerOptions
from engine.node import node
from engine.registry import Registry
from engine.run import Run
from engine.store import Store
from engine.trace import Traces

STEPS = 6
STEP_S = (0.005, 0.025)  # by turns: quick steps share a commit, slow ones are committed at once
MARKS = "marks.log"
RAM = 1 << 24
DISK = 1 << 30


@node(category="bench")
def leave_mark(log: str, name: str, before: str = "") -> str:
    """Write name and time to a log, work a little, and return what came before with this step's part."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{name} {time.time()}\n".encode())
    os.close(file)
    time.sleep(STEP_S[int(name.rpartition(":")[2]) % 2])
    return before + part(name)


def part(name: str) -> str:
    """What a step adds: enough for the later values to become files of the store, the earlier ones rows."""
    return name.ljust(1000, ".")


def chain(data_dir: Path, name: str) -> JsonObject:
    """Return a workflow of `STEPS` steps in a row that shares no step with one of another name."""
    steps: JsonObject = {}
    for index in range(STEPS):
        inputs: JsonObject = {"log": str(data_dir / MARKS), "name": f"{name}:{index}"}
        if index:
            inputs["before"] = [f"s{index - 1}", "string"]
        steps[f"s{index}"] = {"type": "leave_mark", "inputs": inputs}
    return {"nodes": steps}


def expected(name: str) -> str:
    """Return what the last step of `chain` gives."""
    return "".join(part(f"{name}:{index}") for index in range(STEPS))


class MarkExecutor:
    """Runs workflows of `leave_mark` nodes on the real loop, store and traces."""

    requests: Mapping[str, Handler] = {}

    def __init__(self, data_dir: Path) -> None:
        registry = Registry()
        registry.add(leave_mark)
        disk = Disk(data_dir / "store", DISK)
        self._services = Services(registry.functions, registry.specs, Store(RAM, disk), Traces(disk))

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        """Run a job."""
        built = graph.build(workflow.parse(job.workflow), self._services.specs)
        result = Run(built, self._services, emit=emit, cancelled=cancelled, job=job.id).execute()
        return Outcome(JobState(result.state), result.outputs, tuple(p.to_json() for p in result.problems))


def make(options: WorkerOptions) -> MarkExecutor:
    """Make the executor."""
    return MarkExecutor(options.data_dir)
