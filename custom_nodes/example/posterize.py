"""A node in ten lines."""

from typing import Annotated

from engine.node import Range, node
from engine.types import Image


@node(category="example")
def posterize(image: Image, levels: Annotated[int, Range(2, 64)] = 4) -> Image:
    """Reduce pictures to a few tones per colour channel.

    Args:
        image: The pictures.
        levels: Number of tones.
    """
    steps = levels - 1
    return Image((image.pixels * steps).round() / steps)
