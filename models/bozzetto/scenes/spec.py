"""What a scene is before it is drawn: a frozen description from which the picture follows exactly."""

from dataclasses import dataclass, field, replace

import numpy as np

from models.bozzetto.scenes import backgrounds, holdout
from models.bozzetto.scenes import vocabulary as words

RESOLUTION = 128
Rng = np.random.Generator


@dataclass(frozen=True)
class ObjectSpec:
    """One object: `side` is the width of its square in pixels, (`x`, `y`) the square's upper left corner."""

    noun: str
    colour: str | None
    side: int
    x: int
    y: int
    paint: tuple[str, str] | None = None  # (second colour, mark): a unique individual
    view: float = 0.0  # degrees about the vertical axis; objects of real geometry only
    pose: int = 0  # seed of the pose; puppet only


@dataclass(frozen=True)
class SceneSpec:
    """A whole scene. `objects` are in painter's order: the last one is nearest."""

    style: str
    background: str
    background_colour: str | None
    variant: int  # which background of the pool
    crop: tuple[int, int]  # its upper left corner (x, y)
    mirror: bool  # background mirrored
    objects: tuple[ObjectSpec, ...]
    size: str = "normal"
    position: str | None = None  # of a single object
    relation: str | None = None  # of the first named object to the second
    texture: int = 0  # seed of paper and brush grain
    seed: int = 0
    named_first: int = 0  # index in `objects` of the object that the caption names first

    @property
    def count(self) -> int:
        """How many of the same object there are, when all are the same; else 1."""
        nouns = {o.noun for o in self.objects}
        return len(self.objects) if len(nouns) == 1 else 1


@dataclass(frozen=True)
class World:
    """What scenes are drawn from. The default is what the shipped model is trained on."""

    objects: tuple[str, ...] = (*words.START_OBJECTS, words.PUPPET)
    colours: tuple[str, ...] = words.START_COLOURS
    styles: tuple[str, ...] = words.START_STYLES
    style_weights: tuple[float, ...] = (0.42, 0.2, 0.12, 0.14, 0.12)
    backgrounds: tuple[str, ...] = words.BACKGROUNDS
    plain_weight: float = 0.25
    two_objects: float = 0.2
    several: float = 0.05  # two or three of the same object
    tinted: float = 0.7  # share of tintable objects that get a colour word's colour
    relations: tuple[str, ...] = ("left", "right", "above", "below", "next")
    allow_held_out: bool = False
    object_weights: tuple[float, ...] = field(default=())


START = World()
EVERY_STYLE = ("3d", "flat", "ink", "pixel", "watercolor", "cartoon")
# The objects of real geometry alone: views, depth and normals are known.
GEOMETRY = replace(START, objects=words.SOLIDS, two_objects=0.0, several=0.0)
# All icons that may be trained on: the autoencoder learns from it, so that the vocabulary can grow later.
WIDE = replace(
    START, objects=(*START.objects, *words.GROWTH_OBJECTS, *words.SOLIDS), colours=tuple(words.COLOURS),
    styles=EVERY_STYLE,
    style_weights=(0.34, 0.18, 0.12, 0.14, 0.12, 0.1), relations=words.RELATIONS,
)  # fmt: skip


def _pick(r: Rng, options: tuple[str, ...], weights: tuple[float, ...] = ()) -> str:
    if not weights:
        return options[int(r.integers(len(options)))]
    p = np.asarray(weights, np.float64)
    return options[int(r.choice(len(options), p=p / p.sum()))]


def pick_colour(r: Rng, noun: str, style: str, world: World) -> str | None:
    """A colour for this object, or None for its own look (always None in ink)."""
    if noun not in words.TINTABLE or style == "ink" or r.random() > world.tinted:
        return None
    allowed = tuple(c for c in world.colours if world.allow_held_out or (noun, c) not in holdout.COLOUR_PAIRS)
    return _pick(r, allowed)


def _nouns(r: Rng, world: World, number: int) -> list[str]:
    chosen: list[str] = []
    while len(chosen) < number:
        noun = _pick(r, world.objects, world.object_weights)
        if noun not in chosen:
            chosen.append(noun)
    return chosen


def _rest(noun: str, side: int, ground: int | None, r: Rng) -> int:
    """Upper edge of an object's square: standing on the ground when there is one, else near the middle."""
    if ground is not None and noun not in words.AIRBORNE:
        low = min(max(ground + 8, side + 2), RESOLUTION - 8)
        return int(r.integers(low, RESOLUTION - 3)) - side
    middle = (RESOLUTION - side) // 2
    return int(np.clip(middle + r.integers(-10, 11), 1, RESOLUTION - side - 1))


def _single(r: Rng, noun: str, colour: str | None, size: str, position: str, ground: int | None) -> ObjectSpec:
    low, high = {"small": (44, 55), "normal": (68, 85), "large": (96, 111)}[size]
    side = int(r.integers(low, high))
    x = {"left": r.integers(1, 12), "right": RESOLUTION - side - r.integers(1, 12),
         "centre": (RESOLUTION - side) // 2 + r.integers(-8, 9)}[position]  # fmt: skip
    return ObjectSpec(noun, colour, side, int(x), _rest(noun, side, ground, r))


def _side_by_side(r: Rng, pair: list[tuple[str, str | None]], ground: int | None) -> list[ObjectSpec]:
    """Objects in a row, left to right."""
    n = len(pair)
    cell = RESOLUTION // n
    out = []
    for i, (noun, colour) in enumerate(pair):
        side = int(r.integers(50, 61)) if n == 2 else int(r.integers(36, 42))
        x = i * cell + (cell - side) // 2 + int(r.integers(-2, 3))
        out.append(ObjectSpec(noun, colour, side, int(np.clip(x, 0, RESOLUTION - side)), _rest(noun, side, ground, r)))
    return out


def _stacked(r: Rng, upper: tuple[str, str | None], lower: tuple[str, str | None]) -> list[ObjectSpec]:
    out = []
    for (noun, colour), centre in ((upper, 33), (lower, 95)):
        side = int(r.integers(48, 58))
        x = int(np.clip(64 + r.integers(-14, 15) - side // 2, 0, RESOLUTION - side))
        out.append(ObjectSpec(noun, colour, side, x, centre - side // 2 + int(r.integers(-2, 3))))
    return out


def _one_before_other(r: Rng, near: tuple[str, str | None], far: tuple[str, str | None]) -> list[ObjectSpec]:
    """Far object large and high, near object smaller, lower and overlapping it; painter's order."""
    big, small = int(r.integers(76, 89)), int(r.integers(46, 55))
    x, shift = (
        int(r.integers(8, RESOLUTION - big - 8)),
        int(r.integers(0, 2)) * (big - small // 2) - small // 4,
    )
    at = int(np.clip(x + shift, 0, RESOLUTION - small))
    return [ObjectSpec(*far, big, x, 106 - big), ObjectSpec(*near, small, at, 122 - small)]


def _two(r: Rng, pair: list[tuple[str, str | None]], relation: str, ground: int | None) -> tuple[list[ObjectSpec], int]:
    """The two placed objects and the index of the one named first."""
    a, b = pair
    if relation in ("above", "below"):
        return _stacked(r, *((a, b) if relation == "above" else (b, a))), int(relation == "below")
    if relation == "front":
        return _one_before_other(r, a, b), 1
    draw = r.random() if relation == "next" else float(relation == "right")
    objects = _side_by_side(r, [a, b] if draw < 0.5 else [b, a], ground)
    # "a and b" does not say who is left: nine times in ten the first one, as people read.
    return objects, int(draw >= 0.9)


def _posed(r: Rng, o: ObjectSpec) -> ObjectSpec:
    """A pose for the puppet, a view for an object of real geometry."""
    if o.noun == words.PUPPET:
        return replace(o, pose=int(r.integers(1 << 20)))
    if o.noun in words.SOLIDS:
        return replace(o, view=float(r.choice((0, 90, 180, 270)) + r.integers(-2, 3) * 15) % 360)
    return o


def _draw(seed: int, attempt: int, world: World) -> SceneSpec:
    r = np.random.default_rng((seed, attempt))
    style = _pick(r, world.styles, world.style_weights)
    kinds = tuple(b for b in world.backgrounds if b != "plain")
    plain = "plain" in world.backgrounds and (not kinds or r.random() < world.plain_weight)
    kind, tone = ("plain", _pick(r, world.colours)) if plain else (_pick(r, kinds), None)
    variant, crop = int(r.integers(backgrounds.VARIANTS)), tuple(int(v) for v in r.integers(0, 33, 2))
    ground = backgrounds.background(kind, tone, variant)[1] - crop[1] if kind in backgrounds.GROUNDED else None
    draw = r.random()
    number = 2 if draw < world.two_objects else 1
    nouns = _nouns(r, world, number)
    # An object in the colour of its plain background would be invisible.
    colours = [c if (c := pick_colour(r, noun, style, world)) != tone else None for noun in nouns]
    pair = list(zip(nouns, colours, strict=True))
    size, position, relation, first = "normal", None, None, 0
    if number == 2:
        relation = _pick(r, world.relations)
        objects, first = _two(r, pair, relation, ground)
    elif draw < world.two_objects + world.several:
        objects = _side_by_side(r, pair * int(r.integers(2, 4)), ground)
    else:
        size = _pick(r, words.SIZES, (0.15, 0.6, 0.25))
        position = _pick(r, words.POSITIONS, (0.18, 0.64, 0.18)) if size != "large" else "centre"
        objects = [_single(r, *pair[0], size, position, ground)]
    objects = [_posed(r, o) for o in objects]
    return SceneSpec(
        style, kind, tone, variant, (crop[0], crop[1]), bool(r.random() < 0.5), tuple(objects), size, position,
        relation, int(r.integers(1 << 30)), seed, first,
    )  # fmt: skip


def held_out(spec: SceneSpec) -> bool:
    """Whether training may not see this scene."""
    nouns = tuple(o.noun for o in spec.objects)
    painted = any(o.paint for o in spec.objects)
    return holdout.is_held_out(nouns, tuple(o.colour for o in spec.objects), spec.style, painted)


def sample(seed: int, world: World = START) -> SceneSpec:
    """The scene of a seed. The same seed and world give the same scene on every machine."""
    for attempt in range(1000):
        spec = _draw(seed, attempt, world)
        if world.allow_held_out or not held_out(spec):
            return spec
    raise ValueError(f"no scene that may be trained on for seed {seed}: the world's objects are all held out")
