"""From the command line to a command: parse, prepare the environment, run; errors become sentences and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from engine.cli import bootstrap
from engine.cli.parser import COMMANDS, make_parser
from engine.errors import Cancelled, NotFound, SfumatoError

FAILED, INVALID, MISSING, CANCELLED = 1, 2, 3, 130


def start(argv: Sequence[str]) -> int:
    """Run the command that `argv` names (`serve` if it names none) and return the exit code."""
    parser = make_parser()
    args, rest = parser.parse_known_args(with_command(argv))
    args.rest = rest
    if rest and args.command != "test":
        parser.error(f"{args.command} does not know {' '.join(rest)}; see: python3 main.py {args.command} --help")
    bootstrap.ensure("test" if args.command == "test" or getattr(args, "what", "") == "model" else "run")
    try:
        code: int = importlib.import_module(f"engine.cli.{COMMANDS[args.command]}").main(args)
    except SfumatoError as problem:
        for each in problem.problems:
            print(each if each.node else each.message, file=sys.stderr)
        return exit_code(problem)
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as problem:
        print(f"{problem.filename or 'The system'}: {problem.strerror or problem}.", file=sys.stderr)
        return INVALID
    return code


def with_command(argv: Sequence[str]) -> list[str]:
    """Return `argv` with `serve` put in front if it begins with no command and asks for no help."""
    if argv and (not argv[0].startswith("-") or argv[0] in {"-h", "--help"}):
        return list(argv)
    return ["serve", *argv]


def exit_code(problem: SfumatoError) -> int:
    """Return 3 for a name that nothing answers to, 130 for a cancelled run, 2 for what else a person can put right."""
    if isinstance(problem, NotFound):
        return MISSING
    return CANCELLED if isinstance(problem, Cancelled) else INVALID
