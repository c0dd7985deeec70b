"""The executor of a worker process whose jobs are kinds of bad input, by name; the empty name is a good model."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from engine.jobs.contract import Emit, Job, JobState, JsonObject, Outcome, WorkerOptions
from tests.diffusion_models.test_bad_input import KINDS, Home


class BadInputs:
    """Each job in a home of its own, all in this process."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.numbers = itertools.count()
        self.requests = {"open_files": self.open_files}

    def open_files(self, payload: JsonObject) -> JsonObject:
        maps = Path("/proc/self/maps").read_text().splitlines()
        return {"open": len(os.listdir("/proc/self/fd")), "maps": sum("bad.safetensors" in line for line in maps)}

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        folder = self.options.data_dir / f"home{next(self.numbers)}"
        home = Home(folder, Path(self.options.settings["good"]))
        if job.workflow["kind"]:
            KINDS[job.workflow["kind"]][1](home)()
        with home.models.use(home.good().model) as network:
            return Outcome(JobState.DONE, {"out": {"channels": network.channels}})


make = BadInputs
