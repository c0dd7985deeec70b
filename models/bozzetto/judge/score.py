"""Whether a reading agrees with what was asked for: the judge's verdicts on scenes and on generated pictures."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from models.bozzetto.judge.read import Reading, Seen
from models.bozzetto.scenes import SceneSpec

_APART = 4.0  # pixels between two centres before one is said to be left of, or above, the other


def relation_holds(first: Seen | None, second: Seen | None, relation: str) -> bool:
    """Whether the first object stands in `relation` (left, right, above, below) to the second."""
    if first is None or second is None:
        return False
    dx, dy = (a - b for a, b in zip(first.centre, second.centre, strict=True))
    return {"left": dx < -_APART, "right": dx > _APART, "above": dy < -_APART, "below": dy > _APART}[relation]


def verdict(reading: Reading, spec: SceneSpec) -> dict[str, list[bool]]:
    """Right or wrong, by question: object_one, object_two, colour, background, style, relation, count.

    A question that the scene does not ask has no entry. Colour is asked of objects that were found.
    """
    nouns = list(dict.fromkeys(o.noun for o in spec.objects))
    found = {noun: reading.find(noun) for noun in nouns}
    out: dict[str, list[bool]] = defaultdict(list)
    out["object_two" if len(nouns) == 2 else "object_one"].append(all(found.values()))
    for o in spec.objects:
        seen = found[o.noun]
        if o.colour and seen:
            out["colour"].append(seen.colour == o.colour)
    right_tone = spec.background != "plain" or reading.background_colour == spec.background_colour
    out["background"].append(reading.background == spec.background and right_tone)
    out["style"].append(reading.style == spec.style)
    if spec.count > 1:
        out["count"].append(reading.count(nouns[0]) == spec.count)
    if len(nouns) == 2 and spec.relation in ("left", "right", "above", "below"):
        first, second = (found[spec.objects[i].noun] for i in (spec.named_first, 1 - spec.named_first))
        out["relation"].append(relation_holds(first, second, spec.relation))
    return dict(out)


def accuracy(readings: Iterable[Reading], specs: Iterable[SceneSpec]) -> dict[str, float]:
    """Share of right answers by question over many pictures."""
    answers: dict[str, list[bool]] = defaultdict(list)
    for reading, spec in zip(readings, specs, strict=True):
        for question, marks in verdict(reading, spec).items():
            answers[question] += marks
    return {question: round(float(np.mean(marks)), 4) for question, marks in sorted(answers.items())}


def mask_iou(reading: Reading, noun: str, mask: np.ndarray) -> float:
    """Intersection over union of the judge's masks of a word and a (128, 128) bool truth."""
    seen = np.zeros_like(mask)
    for o in reading.objects:
        if o.noun == noun:
            seen |= o.mask
    union = (seen | mask).sum()
    return float((seen & mask).sum() / union) if union else 1.0
