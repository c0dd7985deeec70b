"""The world of the small model: seeded scenes whose truth (masks, boxes, words, depth order) is known."""

from models.bozzetto.scenes.captions import caption, captions
from models.bozzetto.scenes.render import Scene, render
from models.bozzetto.scenes.spec import (
    RESOLUTION,
    START,
    WIDE,
    ObjectSpec,
    SceneSpec,
    World,
    held_out,
    sample,
)

__all__ = [
    "RESOLUTION", "START", "WIDE", "ObjectSpec", "Scene", "SceneSpec", "World", "caption", "captions", "held_out",
    "render", "sample", "scene",
]  # fmt: skip


def scene(seed: int, world: World = START) -> Scene:
    """Sample and draw the scene of a seed."""
    return render(sample(seed, world))
