"""Captions of a scene: paraphrases, sometimes with attributes left unsaid, sometimes empty."""

import numpy as np

from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.puppet import pose_name
from models.bozzetto.scenes.solids import view_name
from models.bozzetto.scenes.spec import ObjectSpec, SceneSpec

EMPTY = 0.10  # share of empty captions
UNSAID = 0.25  # share of captions in which each attribute may be missing
FILLED = 0.01  # share of captions with a filler word before the object
Rng = np.random.Generator


def _noun(o: ObjectSpec, size: str | None, say_colour: bool) -> str:
    return " ".join(w for w in (size, o.colour if say_colour else None, o.noun) if w)


def _subject(spec: SceneSpec, r: Rng, full: bool) -> str:
    """The objects with their attributes and relation, without place and style."""
    say = full or r.random() >= UNSAID
    said_size = spec.size if spec.size != "normal" and (full or r.random() >= UNSAID) else None
    first = spec.objects[spec.named_first]
    if spec.count > 1:
        colour = f"{first.colour} " if first.colour and say else ""
        return f"{words.COUNTS[spec.count]} {colour}{words.plural(first.noun)}"
    phrase = _noun(first, said_size, say)
    if not full and r.random() < FILLED:
        phrase = f"{words.FILLERS[int(r.integers(len(words.FILLERS)))]} {phrase}"
    phrase = words.article(phrase)
    if first.noun == words.PUPPET and say and len(spec.objects) == 1:
        phrase = f"{phrase} {pose_name(first.pose)}"
    if first.noun in words.SOLIDS and say and len(spec.objects) == 1:
        phrase = f"a {view_name(first.view)} view of {phrase}"
    if len(spec.objects) == 2:
        second = spec.objects[1 - spec.named_first]
        options = words.RELATION_WORDS[spec.relation or "next"]
        return f"{phrase} {options[int(r.integers(len(options)))]} {words.article(_noun(second, None, say))}"
    if spec.position in ("left", "right") and (full or r.random() < 0.65):
        return f"{phrase} on the {spec.position}"
    return phrase


def _place(spec: SceneSpec, r: Rng) -> str:
    if spec.background == "plain":
        colour = spec.background_colour or "white"
        options: tuple[str, ...] = (f"on {words.article(colour)} background", f"on {colour}")
    else:
        options = words.BACKGROUND_WORDS[spec.background]
    return options[int(r.integers(len(options)))]


def _styled(text: str, spec: SceneSpec, r: Rng, full: bool) -> str:
    # 3d is what the model draws when nothing is said, so its words may be missing more often.
    said = full or r.random() < (0.5 if spec.style == "3d" else 0.92)
    if not said:
        return f"a picture of {text}" if r.random() < 0.2 else text
    if r.random() < 0.6:
        options = words.STYLE_PREFIX[spec.style]
        return f"{options[int(r.integers(len(options)))]} {text}"
    return f"{text}, {words.STYLE_SUFFIX[spec.style]}"


def caption(spec: SceneSpec, r: Rng, *, full: bool = False) -> str:
    """One caption of a scene; `full` says everything and is never empty."""
    if not full and r.random() < EMPTY:
        return ""
    text = _subject(spec, r, full)
    if full or r.random() < 0.93:
        text = f"{text} {_place(spec, r)}"
    return _styled(text, spec, r, full)


def captions(spec: SceneSpec, number: int = 4, *, full: bool = False) -> tuple[str, ...]:
    """`number` captions of a scene, always the same for the same scene."""
    r = np.random.default_rng((spec.seed, 7, int(full)))
    return tuple(caption(spec, r, full=full) for _ in range(number))
