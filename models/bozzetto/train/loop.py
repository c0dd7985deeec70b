"""The one training loop. A job says what is trained and what the loss of step n is; the loop does the rest.

Everything random in a step follows from (seed, step), so a resumed run continues as if it had never stopped.
"""

import math
import signal
import time
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models.bozzetto.train import state
from models.bozzetto.train.muon import Muon
from models.bozzetto.train.ranks import Ranks


@dataclass(frozen=True)
class Settings:
    """How a job is trained. `batch` is over all ranks; `steps` is where the final decay of `decay` steps ends."""

    name: str
    batch: int
    steps: int
    rate: float
    warmup: int = 100
    flat: int = 10_000  # steps after which the rate falls with the inverse square root
    decay: int = 0  # steps of linear decay to zero before the end
    ema: float = 0.999
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    focus: float = 1.0  # U-Net: weight of the objects' places in the loss against the background's
    compile: bool = False  # the U-Net by torch.compile: needs a C++ compiler and minutes before the first step
    seed: int = 0
    log_steps: int = 50
    save_minutes: float = 5.0
    sheet_minutes: float = 5.0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: warm-up, inverse square root, final decay."""
        scale = min(1.0, (step + 1) / self.warmup) * min(1.0, math.sqrt(self.flat / max(step, 1)))
        left = max(self.steps - step, 0)
        return self.rate * scale * (min(1.0, left / self.decay) if self.decay else 1.0)


class Job(Protocol):
    """What the loop needs to know about one training."""

    settings: Settings
    model: nn.Module

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Loss of this rank's share of step `step`, and figures for the log."""

    def measure(self, step: int) -> dict[str, float]:
        """Figures on held-out data; called with the EMA weights in place."""

    def sheet(self, step: int) -> np.ndarray | None:
        """A picture (H, W, 3) uint8 to look at; called with the EMA weights in place."""


@dataclass
class Run:
    """The moving parts of a run, as they are saved."""

    job: Job
    optimisers: list[torch.optim.Optimizer]
    ema: list[Tensor]
    step: int = 0
    seconds: float = 0.0  # time spent training, pauses between runs not counted
    samples: int = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "model": self.job.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "ema": self.ema,
            "step": self.step,
            "seconds": self.seconds,
            "samples": self.samples,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take everything from a checkpoint."""
        self.job.model.load_state_dict(saved["model"])
        for optimiser, theirs in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(theirs)
        for mine, theirs in zip(self.ema, saved["ema"], strict=True):
            mine.copy_(theirs)
        self.step, self.seconds, self.samples = saved["step"], saved["seconds"], saved["samples"]


def _optimisers(job: Job) -> list[torch.optim.Optimizer]:
    """Muon for the matrices that a job names, AdamW for everything else; a group's `scale` is of its rate."""
    s = job.settings
    scales, inner = getattr(job, "rate_scales", {}), getattr(job, "inner_matrices", lambda _name, _p: False)
    by_muon: list[Tensor] = []
    by_adam: dict[float, list[Tensor]] = {}
    for name, p in job.model.named_parameters():
        scale = next((v for prefix, v in scales.items() if name.startswith(prefix)), 1.0)
        (by_muon if inner(name, p) else by_adam.setdefault(scale, [])).append(p)
    groups = [{"params": params, "scale": scale} for scale, params in by_adam.items()]
    adam = torch.optim.AdamW(groups, lr=s.rate, betas=s.betas, weight_decay=s.weight_decay, fused=True)
    return [adam, Muon([{"params": by_muon, "scale": 1.0}], lr=s.rate)] if by_muon else [adam]


def new_run(job: Job) -> Run:
    """A run at step 0, or at its last checkpoint when there is one."""
    run = Run(job, _optimisers(job), [p.detach().clone() for p in job.model.parameters()])
    file = state.run_dir(job.settings.name) / "state.pt"
    if file.exists():
        run.restore(state.load(file))
    return run


class with_ema:
    """Context in which the model holds the EMA weights and is in evaluation mode."""

    def __init__(self, run: Run) -> None:
        self.model, self.ema = run.job.model, run.ema

    def __enter__(self) -> nn.Module:
        self.kept = [p.detach().clone() for p in self.model.parameters()]
        self._put(self.ema)
        return self.model.eval()

    def __exit__(self, *_: object) -> None:
        self._put(self.kept)
        self.model.train()

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for p, value in zip(self.model.parameters(), values, strict=True):
            p.copy_(value)


def one_step(run: Run, ranks: Ranks, stop: bool) -> tuple[dict[str, float], bool]:
    """One optimiser step. Returns the figures of the step, and whether any rank wants to stop."""
    job, s = run.job, run.job.settings
    for optimiser in run.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = s.rate_at(run.step) * group["scale"]
    loss, figures = job.loss(run.step, ranks)
    job.model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    stopping = ranks.average(job.model.parameters(), float(stop)) > 0
    norm = nn.utils.clip_grad_norm_(job.model.parameters(), s.clip)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"{s.name}: gradient is not finite at step {run.step}; the last checkpoint is good")
    for optimiser in run.optimisers:
        optimiser.step()
    run.step += 1
    run.samples += s.batch
    keep = min(s.ema, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        torch._foreach_lerp_(run.ema, [p.detach() for p in job.model.parameters()], 1 - keep)
    return {"loss": float(loss.detach()), **figures}, stopping


def _log(run: Run, rows: list[dict[str, float]], began: float, first: int) -> None:
    s = run.job.settings
    done = run.step - first
    means = {k: float(np.mean([row[k] for row in rows if k in row])) for k in rows[-1]}
    row = {"step": run.step, "samples": run.samples, "seconds": round(run.seconds, 1),
           "time": time.strftime("%H:%M:%S"), "rate": round(done * s.batch / (time.time() - began), 1),
           "lr": s.rate_at(run.step), **{k: round(v, 5) for k, v in means.items()}}  # fmt: skip
    state.append_log(s.name, row)
    state.say(row)


def _show(run: Run) -> None:
    """Measure and draw with the EMA weights, into the run's folder."""
    name = run.job.settings.name
    with with_ema(run), torch.no_grad():
        figures, picture = run.job.measure(run.step), run.job.sheet(run.step)
    if figures:
        state.append_log(
            f"{name}/held_out",
            {"step": run.step, "samples": run.samples, "seconds": round(run.seconds, 1), **figures},
        )
        state.say("held out", run.step, figures)
    if picture is not None:
        cv2.imwrite(str(state.run_dir(name) / f"sheet-{run.step:07d}.png"), picture[..., ::-1])
    state.plot(name)


def train(job: Job, ranks: Ranks, *, minutes: float = 1e9) -> Run:
    """Train until the job's steps, the minutes, or SIGTERM; rank 0 saves, measures and draws."""
    run, s, asked = new_run(job), job.settings, {"stop": False}
    signal.signal(signal.SIGTERM, lambda *_: asked.update(stop=True))
    pid = state.write_pid(s.name, ranks.rank)
    file, rows, lead = state.run_dir(s.name) / "state.pt", [], ranks.rank == 0
    job.model.train()
    start = saved = shown = logged = time.time()
    first, stopping = run.step, False
    while run.step < s.steps and not stopping:
        before = time.time()
        figures, stopping = one_step(run, ranks, asked["stop"] or before - start > minutes * 60)
        now = time.time()
        run.seconds += now - before
        rows.append(figures)
        if lead and run.step % s.log_steps == 0:
            _log(run, rows, logged, first)
            rows, logged, first = [], time.time(), run.step
        if lead and now - saved > s.save_minutes * 60:
            state.save(file, run.state())
            saved = time.time()
        if lead and now - shown > s.sheet_minutes * 60:
            _show(run)
            shown = time.time()
    if lead:
        state.save(file, run.state())
        if not asked["stop"]:  # whoever asks for a stop wants the cores now
            _show(run)
    pid.unlink(missing_ok=True)
    return run
