"""Marks in the initial noise: found again after what the world does to pictures, and not found where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.types import Image, Noise
from models.bozzetto.bed import Bed, Pixels, image_value, pairs, shown, subjects
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean

TURNED = ("crop", "turn")  # attacks after which only sizes of rings can be compared
BARS = {"none": 0.99, "jpeg": 0.85, "blur": 0.85, "noise": 0.8, "brightness": 0.85, "crop": 0.85, "turn": 0.85}
RATE = 0.01  # share of false alarms that the threshold is set for
SECRET = {"message": "1011001110001111", "secret": "a", "nonce": 0}


def tree_ring(bed: Bed, seeds: int) -> Measured:
    """Marked and unmarked pictures of the same seeds, attacked, inverted and told apart; control: another key."""
    n = 2 * seeds
    told = subjects(n)
    rings, other = bed("ring_noise", seed=0), bed("ring_noise", seed=0, key=7)
    guider = bed.guider(bed.texts([s.prompts[0] for s in told]))
    marked, plain = (bed.decode(bed.run(guider, bed.empty(n), noise)) for noise in (rings, Noise(0)))
    cut = bed("calibrate_mark", rings, bed.empty(), RATE)
    attacked = [bed("attack_pictures", image_value(x)) for x in (marked, plain)]
    real = np.stack([p.before.image for p in pairs(n, "swap")])
    clean = _Looked(bed, image_value(marked), rings)
    rows, areas = [], {}
    for name, one, without in zip(attacked[0].names, attacked[0].images, attacked[1].images, strict=True):
        kind = name.partition(" ")[0]
        looked = clean if kind == "none" else _Looked(bed, one, rings)
        unmarked = _Looked(bed, without, rings)
        area = _area(looked.scores(turned=kind in TURNED), unmarked.scores(turned=kind in TURNED))
        wrong = _area(looked.scores(other, turned=kind in TURNED), unmarked.scores(other, turned=kind in TURNED))
        areas[kind] = unmarked
        row = Figure(f"area under the ROC, {name} (control: another key)", area, BARS[kind], wrong, n,
                     "" if kind == "none" else kind)  # fmt: skip
        rows.append(row)
    found = mean(s <= cut for s in clean.scores())
    alarms = mean(s <= cut for s in areas["none"].scores())
    strangers = mean(s <= cut for s in _Looked(bed, image_value(real), rings).scores())
    good, usual = (
        mean(r.find(s.noun) is not None for r, s in zip(read(x), told, strict=True)) for x in (marked, plain)
    )
    figures = (
        *rows,
        Figure("found at the threshold for 1 % of 1000 unmarked noises (control: unmarked pictures)", found, 0.9,
               alarms, n, "found"),
        Figure("drawn scenes, unmarked, taken for marked", strangers, 0.02, None, n, "real", most=True),
        Figure("named thing found, less in unmarked pictures", good - usual, -0.02, None, n, "quality"),
        *_shading(bed, n, guider),
    )  # fmt: skip
    pictures = {"unmarked": plain[0], "marked": marked[0], "JPEG 75": shown(attacked[0].images[1])[0],
                "noise": shown(attacked[0].images[3])[0]}  # fmt: skip
    return Measured(figures, pictures)


class _Looked:
    """Inversions of pictures, in which marks can be looked for."""

    def __init__(self, bed: Bed, images: Image, mark: Noise) -> None:
        self.bed, self.mark = bed, mark
        latent = bed("vae_encode", images, bed.vae)
        self.trajectory = bed("ddim_invert", bed.model, bed.text(""), latent, bed.sigmas()).trajectory

    def scores(self, mark: Noise | None = None, *, turned: bool = False) -> list[float]:
        """Return chance, or distance of the sizes of rings, for each picture: small where a mark is."""
        found = []
        for i in range(self.trajectory.latents.shape[1]):
            one = replace(self.trajectory, latents=self.trajectory.latents[:, i : i + 1])
            seen = self.bed("detect_mark", mark or self.mark, one, turned=turned)
            found.append(seen.distance if turned else seen.p)
        return found


def _area(marked: Sequence[float], plain: Sequence[float]) -> float:
    """Return the chance that a marked picture has a lower score than an unmarked one."""
    a, b = np.array(marked)[:, None], np.array(plain)[None]
    return float((a < b).mean() + (a == b).mean() / 2)


def _shading(bed: Bed, n: int, guider: object) -> tuple[Figure, ...]:
    """Sixteen bits in the signs of the noise, read from the plain and the compressed picture; control: other secret."""
    made = [bed.decode(bed.run(guider, bed.empty(n), bed("shaded_noise", seed=0, **SECRET)))]
    jpeg = shown(bed("attack_pictures", image_value(made[0])).images[1])
    rows = []
    for name, pictures in (("", made[0]), ("jpeg", jpeg)):
        right, wrong = _bits(bed, pictures, "a"), _bits(bed, pictures, "b")
        told = f"bits of Gaussian shading read rightly{', JPEG 75' if name else ''} (control: other secret)"
        rows.append(Figure(told, right, 0.9, wrong, n, f"shading{'_' if name else ''}{name}"))
    return tuple(rows)


def _bits(bed: Bed, pictures: Pixels, secret: str) -> float:
    latent = bed.encode(pictures)
    made = bed("ddim_invert", bed.model, bed.text(""), latent, bed.sigmas()).trajectory
    right = []
    for i in range(len(pictures)):
        one = replace(made, latents=made.latents[:, i : i + 1])
        mark = bed("shaded_noise", **{**SECRET, "secret": secret, "nonce": i})
        seen = bed("detect_mark", mark, one)
        right.append(1 - seen.distance)
    return mean(right)
