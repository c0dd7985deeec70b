"""Training of the judge, on every word of the world, held-out things included: it must know what it measures."""

from dataclasses import replace

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from models.bozzetto.judge.network import COLOUR_NAMES, Judge
from models.bozzetto.judge.read import WEIGHTS, read
from models.bozzetto.judge.score import accuracy, mask_iou
from models.bozzetto.pictures import to_tensor
from models.bozzetto.scenes import START, Scene, World, scene
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.scenes.spec import WIDE
from models.bozzetto.train import state
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.ranks import Ranks

OPEN = replace(START, allow_held_out=True)
# Things in pairs are small, and tinted ones are told by their outline alone: the judge learns these last.
PAIRED = replace(OPEN, two_objects=0.8, tinted=1.0)
# Everything there is, the held-out icons and style too.
EVERYTHING = replace(
    WIDE, objects=(*WIDE.objects, *words.HELD_OUT_OBJECTS), styles=words.STYLES,
    style_weights=(1.0,) * len(words.STYLES), allow_held_out=True,
)  # fmt: skip


def world_of(seed: int) -> World:
    """Three of four scenes are of the start world, whose accuracy the bars are about; two of those are mostly pairs."""
    return (EVERYTHING, OPEN, PAIRED, PAIRED)[seed % 4]


def targets(s: Scene) -> dict[str, np.ndarray]:
    """What the judge should say of a scene: maps of classes and colours (32, 32), mask (64, 64), indices."""
    classes, colours = np.zeros((128, 128), np.int64), np.full((128, 128), -1, np.int64)
    identity = np.full((128, 128), -1, np.int64)
    for o, mask in zip(s.spec.objects, s.masks, strict=True):
        noun = words.OBJECTS.index(o.noun)
        tint = COLOUR_NAMES.index(o.colour) if o.colour else -1
        classes[mask], colours[mask], identity[mask] = (
            noun + 1,
            tint,
            noun * (len(COLOUR_NAMES) + 1) + tint + 1,
        )
    tone = COLOUR_NAMES.index(s.spec.background_colour) if s.spec.background_colour else -1
    whole = np.array([words.STYLES.index(s.spec.style), words.BACKGROUNDS.index(s.spec.background), tone])
    nearest = identity[2::4, 2::4]
    return {"classes": classes[2::4, 2::4], "colours": colours[2::4, 2::4], "identity": nearest,
            "mask": (classes[1::2, 1::2] > 0).astype(np.float32), "whole": whole}  # fmt: skip


def disturb(x: Tensor, seed: int) -> Tensor:
    """Noise of a random strength, and half of the batch blurred: the judge must bear a decoder's softness."""
    g = torch.Generator().manual_seed(seed)
    noisy = x + torch.rand((len(x), 1, 1, 1), generator=g) * 0.04 * torch.randn(x.shape, generator=g)
    blurred = F.interpolate(F.avg_pool2d(noisy, 2), scale_factor=2, mode="bilinear")
    return torch.where(torch.rand((len(x), 1, 1, 1), generator=g) < 0.3, blurred, noisy)


class JudgeJob:
    """Segmentation, colours, style and background, and an identity embedding, from one network."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(1)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model = Judge().to(memory_format=torch.channels_last)

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Sum of the cross-entropies of all heads."""
        s, share = self.settings, ranks.share(self.settings.batch)
        seeds = [50_000_000 + step * s.batch + i for i in range(s.batch)][share]
        scenes = [scene(seed, world_of(seed)) for seed in seeds]
        want = {k: torch.from_numpy(np.stack([t[k] for t in map(targets, scenes)])) for k in targets(scenes[0])}
        x = disturb(to_tensor([one.image for one in scenes]), seeds[0])
        with torch.autocast("cpu", torch.bfloat16):
            out = {k: v.float() for k, v in self.model(x.contiguous(memory_format=torch.channels_last)).items()}
        style, background, tone = want["whole"].T
        parts = {
            "classes": 2 * F.cross_entropy(out["classes"], want["classes"]),
            "colours": F.cross_entropy(out["colours"], want["colours"], ignore_index=-1).nan_to_num(),
            "mask": F.binary_cross_entropy_with_logits(out["mask"], want["mask"]),
            "style": 0.7 * F.cross_entropy(out["style"], style),
            "background": 0.3 * F.cross_entropy(out["background"], background),
            "tone": 0.2 * F.cross_entropy(out["tone"], tone, ignore_index=-1).nan_to_num(),
            "identity": 0.1 * self._identity_loss(out["places"], want["identity"]),
        }
        return sum(parts.values(), torch.zeros(())), {k: float(v.detach()) for k, v in parts.items()}

    def _identity_loss(self, places: Tensor, identity: Tensor) -> Tensor:
        """Cosine softmax over all (object, colour) pairs, of the nearest object of each picture."""
        which = identity.flatten(1).amax(1)  # (B,) one of the objects of the picture
        cells = (identity == which[:, None, None]).float()
        similarity = self.model.embed(places, cells) @ F.normalize(self.model.proxies, dim=-1).T
        return F.cross_entropy(16 * similarity[which >= 0], which[which >= 0])

    def measure(self, step: int) -> dict[str, float]:
        """Accuracy by question and mask IoU on 300 held-out scenes of the start world, a third of them mostly pairs."""
        worlds = (OPEN, OPEN, PAIRED)
        scenes = [scene(FIRST_HELD_OUT_SEED + 5000 + i, worlds[i % 3]) for i in range(300)]
        readings = read(np.stack([s.image for s in scenes]), self.model)
        iou = [
            mask_iou(r, s.classes[-1], s.masks[-1]) for r, s in zip(readings, scenes, strict=True) if len(s.masks) == 1
        ]
        return {**accuracy(readings, [s.spec for s in scenes]), "iou": round(float(np.mean(iou)), 4)}

    def sheet(self, step: int) -> None:
        """The judge has no pictures to show; its weights are written out for `export` instead."""
        weights = {k: v.detach().half().contiguous() for k, v in self.model.state_dict().items()}
        save_file(weights, state.run_dir(self.settings.name) / WEIGHTS.name)
