"""A worker's executor without models: the real engine on two small nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from engine.events import RunFinished, RunStarted, StepDone, StepPreview, StepProgress
from engine.jobs.contract import Emit, Handler, Job, JobState, Outcome, WorkerOptions
from tests.web.fakes import CATALOGUE

STEPS = 4


class Steps:
    """Counts to four, with progress and a preview at each step."""

    requests: Mapping[str, Handler] = {"catalogue": lambda _: CATALOGUE, "models": lambda _: {"models": {}}}

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        emit(RunStarted(1))
        for step in range(STEPS):
            time.sleep(0.06)  # longer than progress is held back for
            emit(StepProgress("s", step + 1, STEPS))
            emit(StepPreview("s", "image/jpeg", b"\xff\xd8preview"))
        emit(StepDone("s", "show", "key", 0.3, "new"))
        emit(RunFinished("done", 0.3, 1, 0, 0))
        return Outcome(JobState.DONE, {"s": {"ui": [{"ui": "text", "text": "7", "files": []}]}})


def make(options: WorkerOptions) -> Steps:
    return Steps()
