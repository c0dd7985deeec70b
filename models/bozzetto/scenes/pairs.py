"""Paired scenes with an instruction ("make the car red"), for instruction editing. Both pictures are exact."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.bozzetto.scenes import backgrounds, holdout
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.captions import caption
from models.bozzetto.scenes.render import Scene, render
from models.bozzetto.scenes.spec import START, ObjectSpec, SceneSpec, World, held_out, sample

Rng = np.random.Generator
Edit = Callable[[SceneSpec, Rng, World], tuple[SceneSpec, str] | None]


@dataclass(frozen=True)
class Pair:
    """A scene, the scene after the edit, the instruction, and the caption of each."""

    kind: str
    before: Scene
    after: Scene
    instruction: str
    captions: tuple[str, str]


def _choose(r: Rng, options: tuple[str, ...]) -> str:
    return options[int(r.integers(len(options)))]


def _recolour(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str] | None:
    o = spec.objects[0]
    taken = (o.colour, spec.background_colour)
    free = tuple(c for c in world.colours if c not in taken and (o.noun, c) not in holdout.COLOUR_PAIRS)
    if o.noun not in words.TINTABLE or spec.style == "ink":
        return None
    colour = _choose(r, free)
    text = _choose(
        r,
        (
            f"make the {o.noun} {colour}",
            f"turn the {o.noun} {colour}",
            f"change the color of the {o.noun} to {colour}",
        ),
    )
    return replace(spec, objects=(replace(o, colour=colour),)), text


def _swap(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str]:
    o = spec.objects[0]
    # Airborne things stay airborne, so that the new object stands where the old one stood.
    kind = o.noun in words.AIRBORNE
    noun = _choose(r, tuple(n for n in world.objects if n != o.noun and (n in words.AIRBORNE) == kind))
    colour = o.colour if noun in words.TINTABLE and (noun, o.colour) not in holdout.COLOUR_PAIRS else None
    text = (
        f"turn the {o.noun} into {words.article(noun)}"
        if r.random() < 0.6
        else f"replace the {o.noun} with {words.article(noun)}"
    )
    return replace(spec, objects=(replace(o, noun=noun, colour=colour, pose=int(r.integers(1 << 20))),)), text


def _room_beside(o: ObjectSpec) -> tuple[int, int]:
    """Left edge and width of the wider free strip beside an object."""
    left, right = o.x, 128 - o.x - o.side
    return (0, left) if left > right else (o.x + o.side, right)


def _add(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str] | None:
    o = spec.objects[0]
    start, width = _room_beside(o)
    if width < 36:
        return None
    noun = _choose(r, tuple(n for n in world.objects if n != o.noun))
    side = min(width, 56)
    new = ObjectSpec(
        noun,
        None,
        side,
        start + (width - side) // 2,
        min(o.y + o.side, 126) - side,
        pose=int(r.integers(1 << 20)),
    )
    relation = "right" if new.x < o.x else "left"
    after = replace(spec, objects=(o, new), relation=relation, position=None, size="normal")
    return after, f"add {words.article(noun)}"


def _remove(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str] | None:
    """The inverse of `_add`: returns the scene with more in it; `pair` exchanges the two."""
    added = _add(spec, r, world)
    return (added[0], f"remove the {added[0].objects[1].noun}") if added else None


def _move(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str]:
    kind = _choose(r, tuple(b for b in world.backgrounds if b not in ("plain", spec.background)))
    row = backgrounds.background(kind, None, spec.variant)[1] - spec.crop[1]
    o = spec.objects[0]
    if kind in backgrounds.GROUNDED and o.noun not in words.AIRBORNE and o.y + o.side < row + 6:
        o = replace(o, y=min(row + 8, 126) - o.side if row + 8 >= o.side else 126 - o.side)
    place = words.BACKGROUND_WORDS[kind][0]
    text = (
        "make it night" if kind == "night" else f"put it {place}" if r.random() < 0.6 else f"put the {o.noun} {place}"
    )
    return replace(spec, background=kind, background_colour=None, objects=(o,)), text


def _restyle(spec: SceneSpec, r: Rng, world: World) -> tuple[SceneSpec, str]:
    style = _choose(r, tuple(s for s in world.styles if s != spec.style))
    o = replace(spec.objects[0], colour=None) if style == "ink" else spec.objects[0]
    return replace(spec, style=style, objects=(o,)), f"make it {words.article(words.STYLE_SUFFIX[style])}"


EDITS: dict[str, Edit] = {
    "colour": _recolour,
    "swap": _swap,
    "add": _add,
    "remove": _remove,
    "place": _move,
    "style": _restyle,
}


def pair(seed: int, world: World = START, kind: str | None = None) -> Pair:
    """The pair of a seed; `kind` (a key of `EDITS`) fixes what is edited."""
    single = replace(world, two_objects=0.0, several=0.0)
    for attempt in range(200):
        r = np.random.default_rng((seed, attempt, 3))
        spec = sample(int(r.integers(800_000_000)), single)
        what = kind or _choose(r, tuple(EDITS))
        done = EDITS[what](spec, r, world)
        if done is None:
            continue
        before, (after, text) = spec, done
        if what == "remove":
            before, after = after, before
        if not held_out(after) and not held_out(before):
            told = [caption(s, np.random.default_rng((seed, 5)), full=True) for s in (before, after)]
            return Pair(what, render(before), render(after), text, (told[0], told[1]))
    raise ValueError(f"no pair of kind {kind!r} for seed {seed} in this world")
