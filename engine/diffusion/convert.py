"""Pickled weights (.ckpt, .pt, .pth, .bin) to safetensors, in a process of its own that is thrown away.

A pickle is a program. torch reads it with `weights_only`, which knows tensors, numbers and plain containers and refuses
all else; and should that fail one day, it fails in a process that holds nothing. The server never does any of this.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import BadFile, BadInput

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
NESTED = ("state_dict", "params_ema", "params", "model", "model_state_dict", "module")  # where programs put weights
WORDS = "string_to_param"  # textual inversion: a placeholder and its vectors
STAND_INS = ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",)  # in the first Stable Diffusion files
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1800


def convert(source: Path, target: Path | None = None) -> dict[str, Any]:
    """Write `source` as safetensors beside it, or to `target`; return `{"file", "tensors", "left_out"}`.

    BadFile says what is wrong with the file, BadInput what with the request.
    """
    target = target or source.with_suffix(".safetensors")
    if source.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{source.name} is none of {', '.join(SUFFIXES)}; nothing else is converted.")
    if target.exists():
        raise BadInput(f"{target.name} is there already; name another with --out.")
    if not source.is_file():
        raise BadFile(f"{source.name} cannot be read: no such file.")
    if shutil.disk_usage(target.parent).free < source.stat().st_size:
        raise BadInput(
            f"{target.parent.name} has no room for {source.stat().st_size:,} bytes; name another with --out."
        )
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        said = _in_its_own_process(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return {"file": str(target), **said}


def _in_its_own_process(source: Path, part: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "engine.diffusion.convert", str(source.resolve()), str(part.resolve())]
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH")}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadFile(f"{source.name} was not read within {SECONDS} seconds; it is damaged or hostile.") from error
    with contextlib.suppress(ValueError, AttributeError):
        said: dict[str, Any] = json.loads(done.stdout.decode().strip().rpartition("\n")[2])
        if "refused" not in said:
            return said
        raise BadFile(said["refused"])
    raise BadFile(f"{source.name} could not be read: the process that tried ended with {done.returncode}.")


# In the process that is thrown away ----------------------------------------------------------------------------------


def read(source: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the tensors of a pickled file by name, and the names of what is left out; BadFile if there are none."""
    import torch

    stand_ins: list[Any] = [(type("StandIn", (), {}), name) for name in STAND_INS]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols
            loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wants = re.search(r"GLOBAL\s+(\S+)", str(error))
        what = f"it wants {wants[1]}, which may run code" if wants else "it holds more than tensors, which may run code"
        raise BadFile(f"{source.name} is refused: {what}. Ask its maker for a .safetensors file.") from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadFile(
            f"{source.name} could not be read: {' '.join(str(error).split())[:200] or 'it is empty'}."
        ) from error
    found = _weights(loaded)
    tensors = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    dense = {k: v.detach().contiguous().clone() for k, v in tensors.items() if v.layout == torch.strided}
    if not dense:
        raise BadFile(f"{source.name} holds no weights by name, so there is nothing to convert.")
    return dense, [str(k)[:100] for k in found if k not in dense]


def _weights(loaded: Any) -> Mapping[Any, Any]:
    """Return the mapping that holds the weights, wherever the program that wrote the file put it."""
    if not isinstance(loaded, Mapping):
        return {}
    if isinstance(loaded.get(WORDS), Mapping):
        return {"emb_params": next(iter(loaded[WORDS].values()), None)}
    inner = next((loaded[k] for k in NESTED if isinstance(loaded.get(k), Mapping)), None)
    return loaded if inner is None else inner


def main(source: str, target: str) -> dict[str, Any]:
    """Convert one file in this process; return what the parent is told."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        tensors, left_out = read(Path(source))
        save_file(tensors, target, {"format": "pt"})
    except BadFile as problem:
        return {"refused": problem.message}
    except (OSError, SafetensorError) as problem:
        return {"refused": f"{Path(target).name} could not be written: {problem}."}
    return {"tensors": len(tensors), "left_out": left_out}


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(main(*sys.argv[1:3]))}\n")
