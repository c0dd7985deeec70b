"""The one list of what generative training never sees. Tests check that no training scene breaks it."""

from dataclasses import dataclass

from models.bozzetto.scenes import vocabulary as words

# Seeds at and above this are for evaluation; training draws below it.
FIRST_HELD_OUT_SEED = 900_000_000


@dataclass(frozen=True)
class Instance:
    """A unique painted individual of a known class: the lower part in a second colour, and a mark on it."""

    noun: str
    colour: str
    second: str
    mark: str


OBJECTS = words.HELD_OUT_OBJECTS
STYLES = (words.HELD_OUT_STYLE,)
INSTANCES = (
    Instance("car", "white", "red", "star"),
    Instance("teapot", "yellow", "blue", "dot"),
    Instance("cat", "orange", "white", "heart"),
    Instance("house", "pink", "green", "star"),
    Instance("hat", "purple", "yellow", "dot"),
    Instance("chair", "green", "orange", "heart"),
)
# One colour per tintable start object. Spread so that every colour is held out for some objects only.
COLOUR_PAIRS = frozenset(
    {
        ("cat", "green"), ("dog", "blue"), ("rabbit", "purple"), ("fish", "black"), ("butterfly", "red"),
        ("apple", "pink"), ("mushroom", "blue"), ("cake", "orange"), ("car", "purple"), ("backpack", "pink"),
        ("book", "black"), ("house", "yellow"), ("tulip", "white"), ("chair", "red"), ("teapot", "green"),
        ("umbrella", "orange"), ("balloon", "white"), ("hat", "yellow"),
    }
)  # fmt: skip


def is_held_out(nouns: tuple[str, ...], colours: tuple[str | None, ...], style: str, painted: bool) -> bool:
    """Whether a scene with these objects (and their colours, same order) may not be drawn for training."""
    if painted or style in STYLES or any(noun in OBJECTS for noun in nouns):
        return True
    return any((noun, colour) in COLOUR_PAIRS for noun, colour in zip(nouns, colours, strict=True))
