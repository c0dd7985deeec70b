"""Several single-thread processes that share each step.

On a machine that others use too, threads of one process wait for each other at every operation; processes that
meet once a step, in one all-reduce, lose far less.
"""

import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from models.bozzetto import paths


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks."""

    rank: int = 0
    world: int = 1

    def share(self, batch: int) -> slice:
        """The part of a global batch that belongs to this rank."""
        each = batch // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def average(self, parameters: Iterable[torch.Tensor], extra: float) -> float:
        """Average the gradients over the ranks in place; returns the sum of `extra` over the ranks."""
        if self.world == 1:
            return extra
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads] + [torch.tensor([extra * self.world])])
        dist.all_reduce(flat)
        flat /= self.world
        start = 0
        for g in grads:
            g.copy_(flat[start : start + g.numel()].view_as(g))
            start += g.numel()
        return float(flat[-1])


def _enter(rank: int, world: int, meeting: str, work: Callable[[Ranks], None]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        work(Ranks(rank, world))
    finally:
        dist.destroy_process_group()


def start(work: Callable[[Ranks], None], world: int, threads: int = 1) -> None:
    """Run `work` in this process, or in `world` processes of one thread each."""
    if world == 1:
        torch.set_num_threads(threads)
        work(Ranks())
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    meeting = str(paths.train_dir() / f"meeting-{uuid.uuid4().hex}")
    torch.multiprocessing.start_processes(  # type: ignore[attr-defined]
        _enter, args=(world, meeting, work), nprocs=world, start_method="spawn"
    )
