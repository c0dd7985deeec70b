"""What is kept of a training run: checkpoint, JSON-lines log, loss plot, list of process ids."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bozzetto import paths


def run_dir(name: str) -> Path:
    """Folder of one run (`autoencoder`, `judge`, ...), made when missing."""
    folder = paths.train_dir() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old one or the new one."""
    temporary = file.with_suffix(".writing")
    torch.save(state, temporary)
    temporary.replace(file)


def load(file: Path) -> dict[str, Any]:
    """Read a checkpoint that `save` wrote. Tensors and plain values only."""
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def say(*things: object) -> None:
    """A line for whoever watches the training."""
    sys.stdout.write(" ".join(map(str, things)) + "\n")
    sys.stdout.flush()


def append_log(name: str, row: dict[str, Any]) -> None:
    """One line for the log of a run; the log is the source of every figure in the model card."""
    with (run_dir(name) / "log.jsonl").open("a") as out:
        out.write(json.dumps(row) + "\n")


def read_log(name: str) -> list[dict[str, Any]]:
    """The log of a run. Where a resumed run repeats steps, the later line counts."""
    file = run_dir(name) / "log.jsonl"
    if not file.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        rows = {step: old for step, old in rows.items() if step < row["step"]}
        rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def plot(name: str) -> None:
    """Draw every numeric column of the log over the number of samples, as `loss.png` in the run's folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = read_log(name)
    keys = [k for k in (rows[-1] if rows else {}) if k not in ("step", "samples", "seconds", "time", "rate", "lr")]
    if not keys:
        return
    columns = min(3, len(keys))
    figure, axes = plt.subplots(-(-len(keys) // columns), columns, figsize=(5 * columns, 3 * -(-len(keys) // columns)))
    for axis, key in zip(np.atleast_1d(axes).flat, keys, strict=False):
        points = [(row["samples"] / 1000, row[key]) for row in rows if isinstance(row.get(key), float)]
        if points:
            axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set(title=key, xlabel="thousand samples")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(run_dir(name) / "loss.png", dpi=70)
    plt.close(figure)


def write_pid(name: str, rank: int) -> Path:
    """Note the process id, one file per rank, so that a training can be paused (SIGSTOP) and continued (SIGCONT)."""
    folder = paths.train_dir() / "pids"
    folder.mkdir(exist_ok=True)
    file = folder / (name if rank == 0 else f"{name}.{rank}")
    file.write_text(f"{os.getpid()}\n")
    return file
