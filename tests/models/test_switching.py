"""Where the bench of experts hands over: after a part of the steps, which is another part of the noise levels."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from engine.diffusion import schedules
from engine.diffusion.levels import scaled_linear
from models.bozzetto.methods.weights import EARLY, LATE, _part


@pytest.mark.parametrize(("steps", "before"), [(EARLY, 2), (LATE, 14)])
def test_a_part_of_the_steps_lies_before_the_switch(steps, before):
    levels = scaled_linear(start=0.00085, end=0.018)
    sigmas = schedules.get("karras")(levels, 20)
    models = SimpleNamespace(use=lambda model: nullcontext(SimpleNamespace(levels=levels)))
    bed = SimpleNamespace(model=None, ctx=SimpleNamespace(models=models))
    part = _part(bed, SimpleNamespace(values=sigmas), steps)
    assert sum(float(s) > levels.sigma_at(part) for s in sigmas[:-1]) == before
