"""A fast node to watch at work: figures that come while it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import torch

from engine.context import Context
from engine.node import Range, node
from engine.types import Image


@node(category="fake")
def fake_learning(ctx: Context, steps: Annotated[int, Range(2, 50)] = 12, until: str = "") -> Image:
    """Report a falling loss, then give a grey picture.

    Args:
        steps: How many figures are reported.
        until: It ends when the test opens the gate of this name.
    """
    for step in range(steps):
        time.sleep(0.21)  # figures closer together are dropped
        ctx.progress(step, steps, figures={"loss": 1 / (step + 1)})
    while until and not (Path(os.environ["SFUMATO_GATES"]) / until).exists():
        ctx.check()
        time.sleep(0.05)
    return Image(torch.full((1, 32, 32, 3), 0.5))
