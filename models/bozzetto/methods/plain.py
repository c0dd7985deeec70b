"""Without any method: how often the model draws what a prompt names. Other figures can hardly be better than that."""

from __future__ import annotations

from models.bozzetto.bed import Bed, subjects
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean


def text_to_image(bed: Bed, seeds: int) -> Measured:
    """A prompt's thing is found in its picture; control: another thing of the list is."""
    told = subjects(seeds)
    pictures = bed.sample([s.prompts[0] for s in told])
    readings = read(pictures)
    found = [r.find(s.noun) is not None for r, s in zip(readings, told, strict=True)]
    other = [r.find(s.other) is not None for r, s in zip(readings, told, strict=True)]
    placed = [r.background == s.place for r, s in zip(readings, told, strict=True)]
    turned = [r.background == s.place for r, s in zip(readings, [*told[1:], told[0]], strict=True)]
    figures = (
        Figure("named thing found", mean(found), 0.9, mean(other), seeds),
        Figure("named place seen", mean(placed), 0.95, mean(turned), seeds, "place"),
    )
    return Measured(figures, {s.prompts[0]: p for s, p in list(zip(told, pictures, strict=True))[:3]})
