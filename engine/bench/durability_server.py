"""The server of the durability bench: ledger and supervisor without HTTP, so that it is up again in no time.

Requests are lines of JSON on stdin, `{"key": ..., "workflow": ...}`; an answer repeats the key once the job is durable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine.jobs.contract import WorkerOptions
from engine.jobs.database import open_ledger
from engine.jobs.embedded import Supervisor
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger

EXECUTOR = "engine.bench.durability_worker:make"


def main() -> None:
    """Serve until stdin ends."""
    data_dir = Path(sys.argv[1])
    database = open_ledger(data_dir)
    ledger = Ledger(database)
    with Supervisor(ledger, Leases(database), [WorkerOptions(data_dir, executor=EXECUTOR)]) as runner:
        for line in sys.stdin:
            request = json.loads(line)
            ledger.enqueue(request["workflow"], key=request["key"])
            runner.wake()
            sys.stdout.write(json.dumps(request["key"]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
