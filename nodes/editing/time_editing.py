"""TIME: change what a model assumes where the prompt says nothing (Orgad et al. 2023, arXiv 2303.08084)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, NamedTuple

from engine.context import Context
from engine.diffusion import time_edit
from engine.errors import BadInput
from engine.node import Range, Text, node
from engine.types import Clip, Model, Patch


class Edited(NamedTuple):
    """The changed model, the change alone, and how well it fits."""

    model: Model
    patch: Patch
    report: str


@node(category="editing/time", title="TIME edit")
def time_edit_model(
    ctx: Context,
    model: Model,
    clip: Clip,
    source: Annotated[str, Text()] = "",
    target: Annotated[str, Text()] = "",
    strength: Annotated[float, Range(1e-6, 1e6)] = 0.1,
    *,
    relative: bool = False,
    keys: bool = True,
    values: bool = True,
    templates: bool = True,
    preserve: Annotated[str, Text()] = "",
) -> Edited:
    """Teach a model in a moment that "a rose" is "a blue rose", everywhere and without training.

    Take the change away by using the model from before it, or weaken it with Apply patch.

    Args:
        model: The model, with all its LoRAs laid on first.
        clip: Its text encoder.
        source: Prompts as people write them, one a line.
        target: What each shall mean, one a line: the same words in the same order, and more.
        strength: How strongly the old meaning is held: small changes more, and more else.
        relative: Count strength in units of the text's own size, which differs between encoders; try 0.1.
        keys: Change where words look.
        values: Change what words bring.
        templates: Learn the prompts inside sentences too.
        preserve: Prompts whose meaning must stay, one a line.
    """
    sources, targets, kept = ([line.strip() for line in t.splitlines() if line.strip()] for t in
                              (source, target, preserve))  # fmt: skip
    if not sources or len(sources) != len(targets):
        raise BadInput(f"Give as many targets as sources, one a line, got {len(targets)} and {len(sources)}.",
                       field="target")  # fmt: skip
    skip = clip.options.get("skip")
    with ctx.models.use(clip) as network:
        rows = [
            time_edit.rows_of(network, a, b, templates=templates, skip=skip)
            for a, b in zip(sources, targets, strict=True)
        ]
        rows += time_edit.preserved(network, kept, skip=skip)
    m = time_edit.solve(rows, strength, relative=relative)
    with ctx.models.use(model) as network, network.patched():
        changes = time_edit.deltas(network.module, m, keys=keys, values=values)
    left, size = time_edit.fit(rows, m)
    patch = Patch("delta", "unet", 1.0, tensors=changes)
    report = f"{left:.1%} of the difference is left; the projections change by {size:.1%}; {len(changes)} of them."
    return Edited(model.patched(patch), patch, report)


@node(category="load")
def apply_patch(model: Model, patch: Patch, strength: Annotated[float, Range(-10, 10, 0.05)] = 1.0) -> Model:
    """Lay a change of weights over a model; several in a row add up.

    Args:
        model: The model.
        patch: The change.
        strength: How strongly it acts; 0 is the model itself.
    """
    patched: Model = model.patched(replace(patch, strength=patch.strength * strength))
    return patched
