"""All commands and flags. The flags of settings are made from `engine.settings.Settings`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from engine.errors import BadInput
from engine.settings import CacheMode, Settings, parse_bytes

COMMANDS = {
    "serve": "serve", "run": "run", "validate": "workflows", "convert": "workflows", "nodes": "nodes",
    "queue": "queue", "models": "models", "thumbnails": "thumbnails", "packs": "packs", "bench": "bench",
    "test": "suite",
}  # fmt: skip
PORT_MAX = 65_535
PLACES = ("data_dir", "models_dir", "extra_model_paths", "custom_nodes")
EPILOG = """\
examples:
  python3 main.py                                                serve on 127.0.0.1 and print the address
  python3 main.py run nodes/basics/text_to_image.json            make a picture
  python3 main.py run nodes/basics/text_to_image.json --set sampler.seed=7 --set prompt.text="a red car"
  python3 main.py nodes                                          list the nodes; nodes NAME explains one
  python3 main.py COMMAND --help                                 all about one command

exit codes: 0 done, 1 a node failed, 2 the workflow or the command line is invalid, 3 not found,
            4 the packages could not be installed, 130 cancelled

The first start makes .venv and installs the packages there; SFUMATO_NO_BOOTSTRAP=1 uses the present environment."""
RUN_EPILOG = """\
examples:
  main.py run nodes/basics/text_to_image.json
  main.py run shot.json --set sampler.seed=7 --set prompt.text="a red car on a beach"
  main.py run picture.png --repeat 4 --out ~/pictures      a picture holds the workflow that made it
  main.py run shot.json --only preview --json | jq -r '.outputs[].path'

Ctrl+C cancels after the present sampler step and keeps what has finished; twice stops at once."""
QUEUE_EPILOG = """\
examples:
  main.py queue                      what runs and what waits
  main.py queue cancel 3f2a          an id may be shortened as long as it is clear
  main.py queue cancel --all
  main.py queue pause                hold the whole queue; pause ID holds one job
  main.py queue resume
  main.py queue move 3f2a --before 91bc"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="main.py", description="A node-based visual workflow engine for diffusion image models.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str, epilog: str = "", settings: Sequence[str] = ()) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        add_settings(command, settings)
        return command

    every = [f.name for f in fields(Settings)]
    add("serve", "serve the API and the editor (also without a command)", settings=every)
    _run(add("run", "run a workflow", RUN_EPILOG, (*PLACES, "cache", "budget")))
    _workflow_file(add("validate", "check a workflow and list all its problems", settings=PLACES))
    convert = add("convert", "write the workflow that a picture or file holds, in the present format", settings=PLACES)
    _workflow_file(convert)
    convert.add_argument("--to", choices=("sfumato", "comfyui-api"), default="sfumato",
                         help="the format to write (default: sfumato)")  # fmt: skip
    convert.add_argument("--out", type=Path, metavar="FILE", help="write here instead of to standard output")
    nodes = add("nodes", "list the nodes, or explain one", settings=PLACES)
    nodes.add_argument("name", nargs="?", help="the node to explain")
    nodes.add_argument("--json", action="store_true", help="print the catalogue's form")
    _queue(add("queue", "see and change what waits", QUEUE_EPILOG, ("data_dir",)))
    models = add("models", "list the weights that are found, what they are recognised as and why", settings=PLACES)
    models.add_argument("--json", action="store_true", help="print one object")
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    convert = actions.add_parser("convert", help="write a .ckpt or .pt file as safetensors, in a process of its own")
    convert.add_argument("file", type=Path, metavar="FILE", help="the file; nothing in it can run")
    convert.add_argument("--out", type=Path, metavar="FILE", help="write here instead of beside it")
    thumbnails = add(
        "thumbnails", "make the gallery's pictures of ready-made workflows, and measure them", settings=PLACES
    )
    thumbnails.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a workflow file; all if left out")
    _packs(add("packs", "see ComfyUI's node packs, and let one's code run", settings=PLACES))
    _bench(add("bench", "measure how fast or how safe it is here"))
    add("test", "install what the tests need and run them; further arguments go to pytest")
    return parser


def _run(command: argparse.ArgumentParser) -> None:
    _workflow_file(command)
    command.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", dest="sets",
                         help="override an input; the value is JSON if it reads as such, else text")  # fmt: skip
    command.add_argument("--repeat", type=_count, default=1, metavar="N",
                         help="run N times, every seed one higher each time")  # fmt: skip
    command.add_argument("--output-dir", "--out", type=Path, metavar="DIR", dest="output_dir",
                         help="folder for the results (default: output)")  # fmt: skip
    command.add_argument("--only", action="append", default=[], metavar="NODE",
                         help="compute this node and what it needs, nothing else; may be repeated")  # fmt: skip
    command.add_argument("--json", action="store_true", help="print one object on standard output")


def _workflow_file(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", type=Path, metavar="FILE", help="a workflow, or a picture that holds one")


def _queue(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one object")
    actions = command.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="what runs and what waits (the default)")
    cancel = actions.add_parser("cancel", help="end a job")
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="the job")
    which.add_argument("--all", action="store_true", help="every job that has not ended")
    for name, help in (("pause", "hold the queue, or one job"), ("resume", "let it go on")):
        action = actions.add_parser(name, help=help)
        action.add_argument("id", nargs="?", metavar="ID", help="the job; the queue if left out")
    move = actions.add_parser("move", help="put a waiting job before or after another")
    move.add_argument("id", metavar="ID", help="the job to move")
    where = move.add_mutually_exclusive_group(required=True)
    where.add_argument("--before", metavar="ID", help="the job that it shall run just before")
    where.add_argument("--after", metavar="ID", help="the job that it shall run just after")


def _packs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one object")
    actions = command.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="which packs there are (the default)")
    for name, help in (("trust", "let its code run, as its files are now"), ("distrust", "no longer let it run")):
        action = actions.add_parser(name, help=help)
        action.add_argument("name", metavar="PACK", help="the pack's folder")


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("what", choices=("engine", "start", "durability", "editor", "model", "methods", "compat",
                                          "sd", "memory"),
                         help="what to measure")  # fmt: skip
    command.add_argument("--seeds", "--count", dest="count", type=_count, metavar="N",
                         help="durability: kills; model: prompts; methods: seeds each; sd: steps "
                              "(100, 200, 8, 8)")  # fmt: skip
    command.add_argument("--method", metavar="NAME", help="methods: measure this one alone")
    command.add_argument("--write", action="store_true",
                         help="methods: keep figures and pictures for docs/methods.md")  # fmt: skip
    command.add_argument("--comfyui", nargs="?", const=True, metavar="PATH",
                         help="editor: measure ComfyUI's frontend as well (installed for that long); "
                              "sd: measure the checkout in PATH beside ours")  # fmt: skip
    command.add_argument("--json", action="store_true", help="print one object")


# Settings as flags -----------------------------------------------------------------------------------------------


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add a flag for each setting named; its help and its environment variable come from the dataclass."""
    for setting in (f for f in fields(Settings) if f.name in names):
        flag = f"--{setting.name.replace('_', '-')}"
        help = f"{setting.metadata['help']} [env: SFUMATO_{setting.name.upper()}]"
        parser.add_argument(flag, dest=setting.name, help=help.replace("%", "%%"), **_how(setting.name))


def _how(name: str) -> dict[str, Any]:
    """Return how argparse shall read the setting."""
    match name:
        case "no_token":
            return {"action": "store_const", "const": True}
        case "port" | "comfyui_port":
            return {"type": _port, "metavar": "N"}
        case "budget":
            return {"type": _size, "metavar": "SIZE"}
        case "cache":
            return {"choices": get_args(CacheMode)}
        case "custom_nodes":
            return {"type": Path, "action": "append", "metavar": "DIR"}
        case _ if name.endswith("_dir"):
            return {"type": Path, "metavar": "DIR"}
        case "extra_model_paths":
            return {"type": Path, "metavar": "FILE"}
    return {"metavar": name.upper()}


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings that the flags and the environment give."""
    given: dict[str, Any] = {f.name: getattr(args, f.name, None) for f in fields(Settings)}
    if given["custom_nodes"] is not None:
        given["custom_nodes"] = tuple(given["custom_nodes"])
    return Settings.from_env(**given)


def _read(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except BadInput as problem:
        raise argparse.ArgumentTypeError(problem.message) from problem


def _size(text: str) -> int:
    return _read(parse_bytes, text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"needs a number from 0 to {PORT_MAX}, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"needs a number from 1 to 10000, got {text!r}")
    return int(text)
