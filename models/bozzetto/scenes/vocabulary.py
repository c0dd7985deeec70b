"""The words of the world: objects, colours, styles, backgrounds, sizes, relations, counts.

Order matters: a class is known to the judge by its place in these tuples. Grow them at the end only.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The 24 objects that the model starts with; the rest have sprites and wait for more compute.
START_OBJECTS = _words(
    "cat dog rabbit penguin fish butterfly apple banana mushroom cake car bus boat rocket house castle tree "
    "cactus tulip chair teapot umbrella balloon hat"
)
GROWTH_OBJECTS = _words(
    "fox horse cow pig elephant panda tiger lion frog duck turtle whale monkey strawberry lemon watermelon grapes "
    "cupcake donut hamburger bicycle airplane train tent pine palm mountain backpack guitar clock shirt ball "
    "snowman gift bear book bed trumpet"
)
# Icons that no generative training ever sees; the judge alone knows them (subjects for customization tests).
HELD_OUT_OBJECTS = _words("owl octopus pineapple pizza tractor sunflower crown robot")
# Drawn by code, not from icons: an articulated figure with joints, and objects of real geometry with views.
PUPPET = "puppet"
SOLIDS = _words("mug lamp truck cottage")
OBJECTS = START_OBJECTS + GROWTH_OBJECTS + HELD_OUT_OBJECTS + (PUPPET,) + SOLIDS

# Objects whose main surface takes a colour word without becoming something else.
TINTABLE = _words(
    "puppet cat dog rabbit fish butterfly apple mushroom cake car house tulip chair teapot umbrella balloon hat "
    "octopus bicycle tent backpack guitar clock shirt gift book bed mug lamp truck cottage"
)
AIRBORNE = frozenset(_words("butterfly rocket balloon airplane"))
FLOATING = frozenset(_words("fish boat whale octopus"))

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 40), "orange": (245, 130, 32), "yellow": (250, 206, 36), "green": (48, 160, 70),
    "blue": (40, 100, 220), "purple": (130, 60, 190), "pink": (245, 120, 180), "black": (42, 42, 48),
    "white": (242, 242, 246), "brown": (130, 80, 45),
}  # fmt: skip
START_COLOURS = _words("red orange yellow green blue purple pink black white")

STYLES = ("3d", "flat", "ink", "pixel", "watercolor", "cartoon", "oil")
START_STYLES = ("3d", "flat", "ink", "pixel", "watercolor")
HELD_OUT_STYLE = "oil"

BACKGROUNDS = (
    "plain", "sky", "sunset", "snow", "forest", "beach", "desert", "night", "city", "water", "room", "field",
)  # fmt: skip
SIZES = ("small", "normal", "large")
POSITIONS = ("left", "centre", "right")
RELATIONS = ("left", "right", "above", "below", "next", "front")
COUNTS = {1: "a", 2: "two", 3: "three"}

STYLE_PREFIX = {
    "3d": ("a 3d render of", "a 3d picture of"),
    "flat": ("a flat illustration of", "a flat icon of"),
    "ink": ("an ink drawing of", "an ink sketch of"),
    "pixel": ("pixel art of", "a pixel art picture of"),
    "watercolor": ("a watercolor of", "a watercolor painting of"),
    "cartoon": ("a cartoon of", "a cartoon drawing of"),
    "oil": ("an oil painting of", "an oil picture of"),
}
STYLE_SUFFIX = {
    "3d": "3d render", "flat": "flat style", "ink": "ink drawing", "pixel": "pixel art",
    "watercolor": "watercolor", "cartoon": "cartoon style", "oil": "oil painting",
}  # fmt: skip
BACKGROUND_WORDS = {
    "sky": ("in the sky", "in a blue sky"),
    "sunset": ("at sunset", "in a sunset"),
    "snow": ("in the snow", "on snow"),
    "forest": ("in a forest", "in the forest"),
    "beach": ("on a beach", "on the beach"),
    "desert": ("in a desert", "in the desert"),
    "night": ("at night", "at night under the stars"),
    "city": ("in a city", "in the city"),
    "water": ("on the water", "in the water"),
    "room": ("in a room", "inside a room"),
    "field": ("in a field", "in a green field"),
}
RELATION_WORDS = {
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below",),
    "next": ("next to", "and"),
    "front": ("in front of",),
}
# Rare words put at random into about 1 % of captions, so that a new token for a subject has a neutral start.
FILLERS = _words("sks ohwx zwx vrn qel jub dax wug")
# Everyday words outside the grammar, single tokens so that a stranger's prompt is not all byte pieces.
EXTRA_WORDS = _words(
    "an the of in on at and or with without to left right above next under over behind between small large big tiny "
    "little huge photo picture image painting drawing sketch render icon illustration style art background sky "
    "night day star moon sun snowy winter summer spring autumn sea ocean street town lake river interior meadow "
    "grass gray grey cyan gold silver colorful bright dark happy old new one four many some animal fruit toy person "
    "man woman child bird sheep flower lamp cup truck ship plane bottle table door window wall floor tower bridge "
    "road mountain hill cloud rain fire plain indoors outdoors cute funny beautiful simple make turn into add remove "
    "it change color front side back top view facing standing sitting walking running jumping waving put replace"
)
# One object word is deliberately two tokens ("butter" + "fly"), for editing methods that must align tokens.
# Other words are single tokens, except "3d", which CLIP's own word pattern splits at the digit.
MULTI_TOKEN_WORD = "butterfly"


def article(words: str) -> str:
    """Put `a` or `an` before a phrase."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(noun: str) -> str:
    """English plural of an object word of this world."""
    irregular = {"fish": "fish", "butterfly": "butterflies", "cactus": "cacti", "strawberry": "strawberries",
                 "grapes": "grapes", "bus": "buses", "fox": "foxes", "octopus": "octopuses"}  # fmt: skip
    return irregular.get(noun, noun + "s")
