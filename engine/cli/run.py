"""`main.py run`: a workflow in this process, its progress, and what came of it."""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import workflow
from engine.cli.app import CANCELLED, FAILED
from engine.cli.parser import settings_of
from engine.cli.screen import Screen
from engine.cli.show import Show
from engine.cli.workflows import ours
from engine.errors import BadInput, NotFound
from engine.jobs.execute import Engine
from engine.node import SEED_MAX, NodeSpec
from engine.run import RunResult

CODES = {"done": 0, "failed": FAILED, "cancelled": CANCELLED}


@dataclass
class Report:
    """What all repeats came to: the object that `--json` prints."""

    state: str = "done"
    seconds: float = 0.0
    outputs: list[dict[str, Any]] = field(default_factory=list)
    ran: int = 0
    cached: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: RunResult, outputs: Sequence[dict[str, Any]]) -> None:
        """Add one run; the first that was not done gives the state."""
        self.state = result.state if self.state == "done" else self.state
        self.ran += result.ran
        self.cached += result.cached
        self.outputs += outputs
        self.problems += [p.to_json() for p in result.problems]


def main(args: argparse.Namespace) -> int:
    """Run the workflow, `--repeat` times; returns the exit code."""
    started = time.monotonic()
    plain = ours(args.file, settings_of(args))
    given = overrides(args.sets)
    parsed = workflow.parse(plain).with_inputs(given)  # before anything heavy is loaded
    screen = Screen(io.StringIO() if args.json else sys.stderr)
    report = Report()
    screen.update("", "Loading")
    with cancelling(screen) as cancelled, closing(Engine(settings_of(args))) as engine:
        seeds = first_seeds(parsed, engine.registry.specs)
        for repeat in range(args.repeat):
            if args.repeat > 1:
                screen.line(f"{repeat + 1} of {args.repeat}")
            inputs = given | {name: (seed + repeat) % (SEED_MAX + 1) for name, seed in seeds.items() if repeat}
            result = engine.run(plain, inputs=inputs, wanted=args.only, emit=Show(screen), cancelled=cancelled.is_set)
            outputs = list(outputs_of(result, engine))
            report.add(result, outputs)
            if not args.json:
                tell(result, outputs)
            if cancelled.is_set():
                break
    report.seconds = round(time.monotonic() - started, 3)
    if args.json:
        print(json.dumps(vars(report), ensure_ascii=False))
    else:
        screen.line(f"{report.state} in {report.seconds:.1f} s: {report.ran} nodes ran, {report.cached} were cached")
    return CODES[report.state]


def overrides(sets: Sequence[str]) -> dict[str, Any]:
    """Read `node.input=value` arguments; a value is JSON if it reads as such, else text."""
    found = {}
    for text in sets:
        target, equals, value = text.partition("=")
        if not equals or "." not in target:
            raise BadInput(f"--set needs NODE.INPUT=VALUE, for example sampler.seed=7; got {text!r}.")
        try:
            found[target] = json.loads(value)
        except (ValueError, RecursionError):
            found[target] = value
    return found


def first_seeds(parsed: workflow.Workflow, specs: Mapping[str, NodeSpec]) -> dict[str, int]:
    """Return `node.input` -> value of every seed that is written in the workflow or left at its default."""
    found = {}
    for name, node in parsed.nodes.items():
        spec = specs.get(node.type)
        for each in spec.inputs if spec else ():
            value = node.inputs.get(each.name, each.default)
            if each.widget == "seed" and isinstance(value, int):
                found[f"{name}.{each.name}"] = value
    return found


def outputs_of(result: RunResult, engine: Engine) -> Iterator[dict[str, Any]]:
    """Yield what the nodes saved or show: `{node, path, digest}` for a file, `{node, text}` for a text."""
    for node, shown in result.ui.items():
        for each in shown:
            for file in each["files"]:
                yield {"node": node, "path": str(path_of(file, engine)), "digest": file["digest"]}
            if each["text"]:
                yield {"node": node, "text": each["text"]}


def path_of(file: dict[str, str], engine: Engine) -> Path:
    """Return where a result lies: in the output folder under its name, or among the previews."""
    try:
        if engine.files.digest("output", file["name"]) == file["digest"]:
            return engine.files.find("output", file["name"])
    except NotFound:
        pass
    return engine.files.open(file["digest"])[0]


def tell(result: RunResult, outputs: Sequence[dict[str, Any]]) -> None:
    """Print the results on standard output, the problems on standard error."""
    for problem in result.problems:
        print(problem, file=sys.stderr)
    for output in outputs:
        print(output.get("path") or f"{output['node']}: {output['text']}", flush=True)


@contextmanager
def cancelling(screen: Screen) -> Iterator[threading.Event]:
    """Give a flag that the first Ctrl+C sets; the second one stops at once."""
    flag = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def cancel(number: int, frame: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)
        screen.line("Cancelling; what has finished is kept (Ctrl+C again stops at once)")

    signal.signal(signal.SIGINT, cancel)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
